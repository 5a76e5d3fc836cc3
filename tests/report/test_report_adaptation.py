"""The page of an adaptation's choice."""

import re

import pytest

from headstart.domains.validate import VALIDATORS, Agreement
from headstart.report import adaptation_html
from headstart.report.adaptation import VALIDATORS as WORDS
from headstart.search.adapt import Choice

pytestmark = pytest.mark.fast


def choice(**given):
    routes = ("source-only", "coral")
    values = {name: dict.fromkeys(VALIDATORS, 0.5) for name in routes}
    lead = {name: dict.fromkeys(VALIDATORS, (0.0, 0.1)) for name in routes}
    trust = dict(zip(VALIDATORS, range(len(VALIDATORS)), strict=True))
    ranks = dict.fromkeys(routes, 1.5)
    said = Agreement(trust, values, lead, ranks, ranks, "source-only", (), (), 0.0, 0.9)
    told = {"names": {name: (name, {}) for name in routes}, "labelled": {}, "said": {}, "domains": None}
    about = {"target_labels": "none", "learned": 0, "sealed": 0, "shipped": "source-only", "reason": "no other is."}
    return Choice("photos", "sketches", (50, 40), **about, **told, agreement=said, **given)


def test_every_validator_is_explained_and_its_trust_is_said():
    assert WORDS.keys() == VALIDATORS.keys()
    page = adaptation_html(choice())
    shares = [int(share) for share in re.findall(r"; (\d+) % of all trust", page)]
    assert len(shares) == len(VALIDATORS)
    assert shares[0] == 0
    assert sum(shares) == pytest.approx(100, abs=3)
    assert "Not tried" not in page


def test_what_was_not_tried_is_on_the_page():
    assert "shot, tent: the budget had no room, or they failed" in adaptation_html(choice(untried=("shot", "tent")))
