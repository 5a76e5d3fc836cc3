"""The benchmark of domain adaptation: its shifts are what they are called, and a family is judged by the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import adapt
from benchmarks.adapt_tasks import SHIFTS, Task, bumps, planar
from benchmarks.adapt_units import routes
from docs.measured import adapt_table
from headstart.domains.record import Change
from headstart.domains.validate import VALIDATORS, Agreement, Seen

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("shift", SHIFTS)
def test_planar_shifts_are_what_they_are_called(shift: str) -> None:
    A, a, B, b = planar(shift, 0)
    assert len(A) == len(B) == (1200 if shift == "subspace" else 800)
    assert a.mean() == pytest.approx(0.5)
    share = {"covariate": b.mean(), "target": 0.1}.get(shift, 0.5)
    assert b.mean() == pytest.approx(share)
    middle = {c: (A[a == c].mean(axis=0), B[b == c].mean(axis=0)) for c in (0, 1)}
    for source, target in middle.values():
        if shift == "covariate":
            assert np.linalg.norm(target - (0, 2)) < np.linalg.norm(source - (0, 2))
        if shift == "target":
            assert target == pytest.approx(source, abs=0.5)
        if shift == "concept":
            assert target == pytest.approx(0.7 * source + 1, abs=0.2)
        if shift == "subspace":
            assert target == pytest.approx(-source, abs=0.1)
    assert not np.array_equal(planar(shift, 1)[0], A)
    S, T = bumps(A, B, 0)
    assert S.max() <= 1.0
    assert np.corrcoef(np.linalg.norm(A[0] - B, axis=1), ((S[0] - T) ** 2).sum(axis=1))[0, 1] > 0.5


def test_routes_are_named_as_a_run_names_them_and_source_only_is_first() -> None:
    names = [name for name, _ in routes()]
    assert names[0] == adapt.SOURCE_ONLY
    assert len(set(names)) == len(names)
    assert set(adapt.SHARED) <= set(names)


def record(
    right: dict[str, float], good: str, bad: str, n: int = 1000, apart: float = 1.0, flow: float = 0.0
) -> dict[str, Any]:
    """A pair on which one validator tells the truth about every route and another the opposite."""
    values = {name: {good: score, bad: -score} for name, score in right.items()}
    lead = {
        name: {v: (value - values[adapt.SOURCE_ONLY][v], 0.001) for v, value in by.items()}
        for name, by in values.items()
    }
    said = Agreement({good: 1.0, bad: 1.0}, values, lead, {}, {}, "", (), (), 0.0, apart)
    points = (np.zeros((1, 2), np.float32),) * 2  # as simulated pairs, which have no twin
    empty = np.zeros((1, 1), np.float32), np.zeros(1, np.int64)
    return {
        "name": "one to other",
        "task": Task("planted", "one to other", *empty, *empty, points),
        "examples": [n, n],
        "right": {name: np.arange(n) < n * score for name, score in right.items()},
        "change": dict.fromkeys(right, Change(0.5, flow, 0.0)),
        "cpu_seconds": dict.fromkeys(right, (2.0, 1.0)),
        "alone_cpu_seconds": dict.fromkeys(right, 3.0),
        "choosing_cpu_seconds": 1.0,
        "said": said,
        "twins": {},
    }


SCORES = {adapt.SOURCE_ONLY: 0.5, "better": 0.7, "worse": 0.3}
FIRST, SECOND = list(VALIDATORS)[:2]


def test_a_family_is_judged_with_the_trust_and_the_record_of_the_others() -> None:
    mine, others = record(SCORES, FIRST, SECOND), record(SCORES, SECOND, FIRST)
    assert adapt.reliability([mine]) == {FIRST: 1.0, SECOND: -1.0}
    found = adapt.picked([mine], [[others]])
    # Elsewhere the second was right: here, where it is wrong, it is believed all the same.
    assert (found.first, found.agreed) == (["worse"], ["worse"])
    assert (found.way, found.shipped) == ("better", ["better"])
    # What was better elsewhere is shipped here, though it is worse.
    turned = record({adapt.SOURCE_ONLY: 0.5, "better": 0.4, "worse": 0.6}, FIRST, SECOND)
    assert adapt.picked([turned], [[others], [others]]).shipped == ["better"]


def test_a_record_is_of_pairs_that_are_apart_and_no_pair_decides_alone() -> None:
    great = record({adapt.SOURCE_ONLY: 0.1, "better": 0.9, "worse": 0.1}, FIRST, SECOND)
    harmed = record({adapt.SOURCE_ONLY: 0.5, "better": 0.45, "worse": 0.5}, FIRST, SECOND)
    near = record(SCORES, FIRST, SECOND, apart=0.6)
    assert adapt.gained([great, harmed, near]) == pytest.approx({"better": 0.025, "worse": 0.0})
    assert adapt.gained([near]) is None
    assert adapt.picked([near], [[great]]).shipped == [adapt.SOURCE_ONLY]


def test_the_guard_asks_for_what_did_no_harm_elsewhere() -> None:
    """A way that is right but for pairs on which it changes only how often each class is said."""
    fine = [record(SCORES, FIRST, SECOND, flow=0.2) for _ in range(9)]
    lost = [record({adapt.SOURCE_ONLY: 0.7, "better": 0.5, "worse": 0.3}, FIRST, SECOND, flow=0.9)]
    flow, _ = adapt.asked_of([fine + lost, fine + lost])
    assert 0.2 < flow < 0.9
    assert adapt.picked(lost, [fine + lost, fine + lost]).shipped == [adapt.SOURCE_ONLY]


def test_a_twin_keeps_one_of_seven_of_half_of_the_classes() -> None:
    y = np.repeat([0, 1, 2, 3], 70)
    features = np.zeros((280, 2), np.float32)
    rows = adapt.thinned(Task("planted", "twin", features, y, features, y))
    assert sorted(np.bincount(y[rows]).tolist()) == [10, 10, 70, 70]


def test_a_case_holds_what_changes_and_what_is_gained() -> None:
    logs = np.log([[0.9, 0.1], [0.1, 0.9]]).astype(np.float32)
    y, truth = np.array([0, 1]), np.array([0, 0, 1, 1])
    empty = np.zeros((2, 2), np.float32)
    # Source-only says 0 0 0 1, the way 1 0 1 1: one mistake made, one mended, both towards class 1.
    reference = Seen(logs, y, np.ones(2), logs[[0, 0, 0, 1]], empty, empty)
    found = adapt.case_of(reference, logs[[1, 0, 1, 1]], truth, 0.9)
    assert found.gains.tolist() == [-1.0, 0.0, 1.0, 0.0]
    assert (found.change.changed, found.change.flow, found.apart) == (0.5, 1.0, 0.9)


def test_the_summary_counts_harm_and_the_pages_show_it() -> None:
    turned = {adapt.SOURCE_ONLY: 0.5, "better": 0.3, "worse": 0.7}
    records = {"pacs": [record(SCORES, FIRST, SECOND)], "digits": [record(turned, SECOND, FIRST)]}
    found = adapt.summary(records, "not asked for")
    # Each is judged by the other, in which the wrong way was right.
    assert [family["ways"]["pick"]["gain"][0] for family in found["families"].values()] == [-0.2, -0.2]
    assert found["families"]["pacs"]["ways"]["pick"]["worse"] == 1
    assert found["families"]["pacs"]["ways"]["oracle"]["accuracy"] == 0.7
    assert found["families"]["pacs"]["record"] == {"better": 0.1, "worse": -0.1}
    assert found["families"]["pacs"]["usual"] == "worse"
    assert found["families"]["pacs"]["whole_cpu_seconds"] == 10.0
    assert [line["met"] for line in found["targets"]] == [False, False, False]
    assert "| pacs | 1 | 50.0 % | 30.0 % | 30.0 % | -20.0, " in adapt_table(found)


def test_gains_are_means_over_pairs_with_intervals_over_examples() -> None:
    diffs = [np.repeat([1.0, 0.0], [20, 80]), np.repeat([-1.0, 0.0], [5, 45])]
    estimate, low, high = adapt.gain(diffs)
    assert estimate == pytest.approx((0.2 - 0.1) / 2)
    # Two independent means of 100 and 50 draws.
    error = np.sqrt(0.16 / 100 + 0.09 / 50) / 2
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.15)
