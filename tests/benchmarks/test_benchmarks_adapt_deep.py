"""The benchmark of the deep ways: those that a run tries, and sums with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import adapt_deep
from benchmarks import adapt_deep_record as deep_record
from benchmarks import adapt_deep_units as units
from benchmarks.adapt import SOURCE_ONLY, Case
from benchmarks.adapt_units import Unit
from docs.measured import deep_table, record_table
from headstart import strategy as strategies
from headstart.domains.record import Change
from headstart.domains.validate import Agreement

pytestmark = pytest.mark.slow

N = 1000


def test_every_deep_way_is_measured_by_the_name_that_a_run_gives_it() -> None:
    found = units.settings()
    needed = {kind.name: kind.needs for kind in strategies.ADAPTATIONS.values()}
    deep = {name for name, needs in needed.items() if needs.cuts and not needs.intermediate}
    assert {setting.strategy.name for setting in found.values()} == deep
    assert {"dann", "dan (joint True)", "adabn"} <= set(found)
    assert set(adapt_deep.SHARED) | set(deep_record.WAYS) <= set(found)
    assert SOURCE_ONLY not in found


def test_units_of_one_task_are_joined_in_order() -> None:
    held = np.arange(3)

    def one(*names: str) -> Unit:
        values = np.array([float(len(name)) for name in names], dtype=np.float32)[:, None, None]
        return Unit(names, held, np.tile(values, (1, 5, 2)), np.tile(values, (1, 3, 2)), np.ones((len(names), 2)))

    both = units.joined(one("a", "bb"), one("ccc"))
    assert both.names == ("a", "bb", "ccc")
    assert both.asked[:, 0, 0].tolist() == both.left_out[:, 2, 1].tolist() == [1.0, 2.0, 3.0]
    assert both.cpu.shape == (3, 2)


def record(theirs: dict[str, float], seconds: float, after: int = 1) -> dict[str, Any]:
    """A pair on which source-only is right on half of the examples, every shared way on three quarters.

    skada is so right `after` so many epochs of one or ten, and on half before; ten take it ten times the seconds.
    """
    scores = {SOURCE_ONLY: 0.5, "shallow": 0.6} | dict.fromkeys(adapt_deep.SHARED, 0.75)
    values: dict[str, dict[str, float]] = {name: {} for name in scores}
    lead: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in scores}
    methods = {
        way: {
            str(epochs): {
                # Class 1 is the truth of every example.
                str(seed): {
                    "predictions": (np.arange(N) < N * (share if epochs >= after else 0.5)).astype(int).tolist(),
                    "fit_cpu_seconds": epochs * seconds - 1.0,
                    "predict_cpu_seconds": 1.0,
                }
                for seed in range(2)
            }
            for epochs in (1, 10)
        }
        for way, share in theirs.items()
    }
    return {
        "name": "photo to sketch",
        "examples": [N, N],
        "yt": np.ones(N, dtype=np.int64),
        "right": {name: np.arange(N) < N * score for name, score in scores.items()},
        "cpu_seconds": dict.fromkeys(scores, (10.0, 8.0)),
        "by_seed": {way: [0.7, 0.8] for way in adapt_deep.SHARED},
        "before_training_cpu_seconds": 20.0,
        "choosing_cpu_seconds": 1.0,
        "said": Agreement({}, values, lead, {}, {}, "", (), (), 0.0, 0.99),
        "first": "shallow",
        "pick": "dann",
        "why": "",
        "skada": {
            "cut": {"methods": methods, "cpu_seconds": {"decode": 4.0, "cut": 6.0}, "versions": {"skada": "0"}},
        },
    }


def test_either_side_pays_once_for_what_its_ways_share() -> None:
    found = adapt_deep.compared([record(dict.fromkeys(adapt_deep.SHARED, 0.75), 50.0)], "cut")
    dann = found["ways"]["dann"]
    once = dann["skada"]["1"]
    assert once["cpu_seconds"] == {"ours": {"own": 10.0, "whole": 30.0}, "skada": {"own": 50.0, "whole": 60.0}}
    assert once["ratio"] == {"own": 5.0, "whole": 2.0}
    # Three ways: what is before them is counted once.
    assert found["all"]["ratio"] == {"own": 5.0, "whole": 3.2}
    assert (dann["accuracy"], once["accuracy"], once["ahead"][0]) == (0.75, 0.75, 0.0)
    assert adapt_deep.compared([record({}, 1.0)], "pictures") == {}


@pytest.mark.parametrize(
    ("share", "after", "equal", "counts", "ratio"),
    [(0.75, 1, "1", "1", 0.5), (0.9, 1, "1", "1", 0.5), (0.75, 10, "10", "10", 5.0), (0.7, 1, None, "10", 5.0)],
)
def test_skadas_time_is_that_until_it_is_as_right(
    share: float, after: int, equal: str | None, counts: str, ratio: float
) -> None:
    found = adapt_deep.compared([record(dict.fromkeys(adapt_deep.SHARED, share), 5.0, after)], "cut")
    assert {(way["equal_after"], way["counts"]) for way in found["ways"].values()} == {(equal, counts)}
    assert found["all"]["ratio"]["own"] == ratio


def test_time_counts_only_at_equal_accuracy_and_the_pages_show_it() -> None:
    worse, equal = dict.fromkeys(adapt_deep.SHARED, 0.7), dict.fromkeys(adapt_deep.SHARED, 0.75)
    better = equal | {"cdan": 0.9}
    fast = ((equal, 50.0, True), (equal, 49.0, False), (better, 50.0, False))
    for theirs, seconds, met in (*fast, (equal, 5.0, False), (worse, 5.0, True), (worse, 4.0, False)):
        found = adapt_deep.summary([record(theirs, seconds)], "")
        own = next(line for line in found["targets"] if "values at the cut" in str(line["what"]))
        assert own["met"] is met
    assert "dann 4.0, not so after 10: ours +5.0 points" in str(own["found"])
    assert found["ways"]["pick"]["gain"][0] == 0.25
    assert found["ways"]["oracle"]["accuracy"] == 0.75
    row = "| photo to sketch | 50.0 % | 60.0 % (shallow) | 75.0 % (dann) | +25.0, "
    assert row in deep_table(found)


SHALLOW, DEEP = "tri-train", deep_record.WAYS[0]


def case(gain: float, *, apart: float = 0.99, flow: float = 0.1, drop: float = 0.2) -> Case:
    """A way that gains so much on every example, of a source-only that is unsure of the target."""
    return Case(Change(0.5, flow, drop), apart, np.full(N, gain))


def pair(shallow: Case, deep: Case, twins: tuple[Case, Case]) -> deep_record.Examined:
    """Source-only is right on half of the examples; every deep way does the same."""
    right = {SOURCE_ONLY: np.arange(N) < N / 2, SHALLOW: np.arange(N) < N * (0.5 + shallow.gain)}
    right |= {way: np.arange(N) < N * (0.5 + deep.gain) for way in deep_record.WAYS}

    def both(one: Case, other: Case) -> dict[str, Case]:
        return {SHALLOW: one} | dict.fromkeys(deep_record.WAYS, other)

    return deep_record.Examined("one to other", (N, N), right, both(shallow, deep), both(*twins))


def test_a_lead_is_over_the_usual_way_and_is_capped_pair_by_pair() -> None:
    twins = (case(0.0), case(0.0))
    pairs = [
        pair(case(0.2), case(0.24), twins),  # both gain more than the cap of a record
        pair(case(0.0), case(0.4), twins),
        pair(case(0.3), case(0.0, apart=0.99), twins),
        pair(case(0.0, apart=0.5), case(0.4, apart=0.5), twins),  # domains that overlap do not count
    ]
    assert deep_record.led(pairs)[DEEP] == pytest.approx((0.04 + 0.1 - 0.1) / 3)


def test_a_family_is_judged_by_the_others_and_what_the_guard_refuses_falls_back() -> None:
    good = pair(case(0.1), case(0.2), (case(0.1), case(0.15)))
    # Sure of the target: deep ways are refused; the usual one only where all that it changes is flow.
    sure = {"drop": 0.0}
    refused = pair(case(0.1, **sure), case(0.2, **sure), (case(0.1, flow=1.0, **sure), case(-0.3, flow=1.0, **sure)))
    bad = pair(case(0.1), case(0.095), (case(0.1), case(0.0)))
    found = deep_record.summary({"pacs": [good, refused], "digit pictures": [bad], "corrupted": [good]}, {})
    # Digits are judged by the other two, where deep ways are ahead.
    assert found["digit pictures"]["chosen"] == [DEEP, SHALLOW]
    assert found["digit pictures"]["ways"]["pick"]["gain"][0] == 0.095
    assert found["digit pictures"]["ways"]["otherwise"]["gain"][0] == 0.1
    assert found["digit pictures"]["record"][DEEP] == -0.005
    assert [each["shipped"] for each in found["pacs"]["pairs"]] == [DEEP, SHALLOW]
    assert found["pacs"]["ways"]["pick"]["gain"][0] == pytest.approx((0.2 + 0.1) / 2)
    assert found["pacs"]["twins"]["pick"]["gain"][0] == pytest.approx(0.15 / 2)
    assert found["pacs"]["twins"]["pick"]["adapted"] == 1
    assert found["pacs"]["twins"][DEEP]["worse"] == 1
    assert [line["met"] for line in deep_record.targets(found)] == [True] * 6
    assert "| pacs | 2 | 50.0 % | +10.0 | +15.0, " in record_table({"families": found})


def test_a_family_is_judged_without_what_the_same_data_said() -> None:
    from headstart.domains.record import RECORD

    for family, left_out in (("pacs", "pacs"), ("digit pictures", "digits"), ("corrupted", None)):
        expected = [found for name, found in RECORD.items() if name != left_out]
        assert deep_record.without(RECORD, family) == expected
