"""The benchmark of fine-tuning: what it says runs try first is what they try first, and its targets are told apart."""

import pytest

from benchmarks import family
from headstart.source import find
from headstart.strategy import find as strategy
from headstart.strategy import make

pytestmark = pytest.mark.fast


def test_the_first_route_is_the_first_of_the_grid():
    kind, parameters = family.ROUTES[family.FIRST]
    assert make(kind, parameters) == strategy(kind).grid(find(family.SOURCE).card)[0]


def test_the_first_route_is_judged_by_itself_and_the_best_with_an_allowance():
    def route(gain, allowing):
        return {"gain": gain, "allowing": allowing}

    routes = {"probe": {}, family.FIRST: route([0.04, 0.01, 0.07], [0.04, -0.01, 0.09])}
    routes["other"] = route([0.05, 0.02, 0.08], [0.05, 0.01, 0.1])
    measured = {part: dict.fromkeys(family.SETS, routes) for part in ("even", "skewed")}
    found = family.targets(measured)
    assert len(found) == 6
    assert all(each["met"] for each in found)
    del routes["other"]
    assert [each["met"] for each in family.targets(measured)] == [True, True, False, False, False, False]
