"""Which adaptation may be shipped without a label: its record, what it changes, and when that may be a label shift."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headstart.domains.record import (
    AHEAD,
    DROP,
    FLOW,
    GRADUAL,
    LEAD_FLOW,
    RECORD,
    STEPS,
    Change,
    allowed,
    change,
    decided,
    leads_of,
    usual,
    wanted,
)
from headstart.domains.validate import APART, Agreement, Seen

pytestmark = pytest.mark.fast


def logs(labels: list[int], sure: float, classes: int = 3) -> np.ndarray:
    """Log-probabilities that say `labels`, each with probability `sure`."""
    p = np.full((len(labels), classes), (1 - sure) / (classes - 1))
    p[np.arange(len(labels)), labels] = sure
    return np.log(p)


def seen(asked: list[int], sure: float = 0.8) -> Seen:
    """A source model that is right on 8 of 10 held-out examples, and says so, and that says `asked` of the target."""
    y = np.tile([0, 1, 2, 0, 1], 20)
    held = y.copy()
    held[::5] = (held[::5] + 1) % 3
    nothing = np.zeros((1, 1), np.float32)
    return Seen(logs(held.tolist(), 0.8), y, np.ones(len(y)), logs(asked, sure), nothing, nothing)


def test_the_best_mean_record_is_usual_and_unknown_ways_are_not() -> None:
    families = [{"a": 0.04, "b": 0.01, "c": -0.1}, {"a": -0.02, "b": 0.02, "c": -0.1}]
    assert usual(["a", "b", "c", "new"], families) == "b"
    assert usual(["a", "c"], families) == "a"
    assert usual(["c", "new"], families) is None
    assert usual(["a"], []) is None


def test_flow_is_what_only_moves_how_often_each_class_is_said() -> None:
    reference = seen([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    # Two of the first class become the second: nothing but the balance.
    assert change(reference, seen([0, 0, 1, 1, 1, 1, 1, 1, 2, 2])) == Change(0.2, pytest.approx(1.0), pytest.approx(0))
    # Two of either become the other: the balance is the same.
    assert change(reference, seen([1, 1, 0, 0, 0, 0, 1, 1, 2, 2])).flow == 0.0
    # Three one way and one back.
    assert change(reference, seen([1, 1, 1, 0, 0, 1, 1, 1, 2, 2])).flow == pytest.approx(0.5)
    assert change(reference, reference) == Change(0.0, 0.0, pytest.approx(0))


def test_the_drop_is_of_calibrated_confidence() -> None:
    unsure = seen([0, 1, 2], sure=0.6)
    assert change(unsure, unsure).drop == pytest.approx(0.2, abs=0.01)
    # Twice as sure of everything, and right as often: temperature scaling takes that out.
    loud = replace(unsure, held=2 * unsure.held, asked=2 * unsure.asked)
    assert change(loud, loud).drop == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("what", "apart", "fine", "why"),
    [
        (Change(0.5, FLOW, 0.0), 0.99, True, "best record"),
        (Change(0.5, 1.0, DROP), 0.99, True, "points less sure"),
        (Change(0.5, FLOW + 0.01, DROP - 0.01), 0.99, False, "--target-labels"),
        (Change(0.5, 0.9, -0.05), 0.99, False, "5 points more sure"),
        (Change(0.5, 0.0, 0.5), APART - 0.01, False, "overlap"),
    ],
)
def test_when_a_way_with_a_record_may_be_shipped(what: Change, apart: float, fine: bool, why: str) -> None:
    may, reason = allowed("self-train", what, apart, "source-only")
    assert may is fine
    assert why in reason


def test_validators_decide_where_no_way_has_a_record() -> None:
    names = ["source-only", "new", "old"]
    said = Agreement({"v": 1.0}, {}, {}, dict.fromkeys(names, 1.0), {}, "new", ("v",), (), 1.0, 0.99)
    reference = seen([0, 0, 1, 1, 2, 2], sure=0.6)
    models = {"source-only": reference, "new": reference, "old": seen([1, 1, 0, 0, 2, 2], sure=0.6)}
    alone = decided(said, models, "source-only", ["new"], families=[{"old": 0.1}])
    assert (alone.shipped, alone.change) == ("new", None)
    assert "prefers new" in alone.reason
    both = decided(said, models, "source-only", ["new", "old"], families=[{"old": 0.1}])
    assert (both.rival, both.shipped) == ("old", "old")
    assert both.change == Change(pytest.approx(4 / 6), 0.0, pytest.approx(0.2, abs=0.01))
    near = decided(replace(said, apart=0.6), models, "source-only", ["new", "old"], families=[{"old": 0.1}])
    assert (near.rival, near.shipped) == ("old", "source-only")


def test_a_deep_way_is_wanted_before_the_usual_one_where_it_was_ahead_of_it() -> None:
    families, leads = [{"coral": 0.01, "old": 0.1}], [{"deep": 0.04, "worse": 0.2}, {"deep": -0.01, "worse": -0.02}]
    names = ["coral", "old", "deep", "worse", "new"]
    assert list(wanted(names, families, leads).items()) == [("deep", LEAD_FLOW), ("old", FLOW)]
    assert list(wanted(["coral", "worse"], families, leads)) == ["coral"], "what was behind somewhere is not wanted"
    assert list(wanted(["deep", "new"], families, leads)) == ["deep"]
    assert wanted(["new"], families, leads) == {}
    assert list(wanted(names, families, ())) == ["old"], "nobody has measured deep ways on such data"


def test_what_the_guard_refuses_of_the_deep_way_it_may_allow_of_the_usual_one() -> None:
    names = ["source-only", "deep", "old"]
    said = Agreement({"v": 1.0}, {}, {}, dict.fromkeys(names, 1.0), {}, "deep", ("v",), (), 1.0, 0.99)
    surely, unsurely = seen([0, 0, 1, 1, 2, 2]), seen([0, 0, 1, 1, 2, 2], sure=0.6)
    balance, swaps = seen([1, 1, 1, 1, 2, 2]), seen([1, 1, 0, 0, 2, 2])

    def found(reference: Seen, deep: Seen, old: Seen) -> tuple[str, str]:
        models = {"source-only": reference, "deep": deep, "old": old}
        made = decided(said, models, "source-only", ["deep", "old"], families=[{"old": 0.1}], leads=[{"deep": 0.01}])
        assert made.change == change(reference, models[made.rival])
        assert ("deep did better still, but is believed only where" in made.reason) is (made.rival == "old")
        return made.rival, made.shipped

    assert found(unsurely, swaps, swaps) == ("deep", "deep")
    assert found(unsurely, balance, swaps) == ("deep", "deep"), "there is something to mend"
    some = seen([1, 1, 1, 0, 2, 2])  # a third of what it changes is flow: little for a shallow way
    assert found(surely, some, some) == ("old", "old")
    assert found(surely, balance, balance) == ("deep", "source-only")


def test_the_record_is_what_was_measured() -> None:
    def measured(name: str) -> dict[str, dict[str, float]]:
        kept = Path(__file__).parents[2] / "benchmarks" / "results" / f"{name}.json"
        families = json.loads(kept.read_text(encoding="utf-8"))["measured"]["families"]
        return {family: found["record"] for family, found in families.items() if found["record"]}

    assert measured("adapt") == RECORD
    assert measured("adapt_deep") == AHEAD
    assert measured("adapt_gradual") == STEPS


def test_which_leads_count_follows_from_what_was_measured_on_such_data() -> None:
    assert leads_of("image", intermediate=False) == list(AHEAD.values())
    assert leads_of("text", intermediate=False) == [], "deep ways have no record on texts"
    pictures, texts = (leads_of(modality, intermediate=True) for modality in ("image", "text"))
    assert all("adabn-gradual" in family for family in pictures)
    assert len(texts) == len(pictures) + 1, "gradual learns from features, whatever they are of"
    names = ["tri-train", "adabn-tri-train", "adabn-gradual", *GRADUAL]
    assert list(wanted(names, leads=pictures)) == ["adabn-gradual", "tri-train"]
    assert next(iter(wanted(["tri-train", *GRADUAL], leads=pictures))) in GRADUAL, "of a network without batch norm"
