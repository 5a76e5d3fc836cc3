"""What a source is worth in target labels: a planted crossing is found, and its absence is said."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.judge.adaptation import Learned, points, worth, worth_words

pytestmark = pytest.mark.fast

TRUTH = np.repeat([0, 1], 200)


def route(name: str, each: int, score: float, draws: int = 1, seed: int = 0) -> Learned:
    """Right on an exact share of each class, on examples that differ from draw to draw."""
    rng = np.random.default_rng([seed, each])
    rows = [np.concatenate([rng.permutation(200) < round(200 * score) for _ in range(2)]) for _ in range(draws)]
    return Learned(name, each, np.stack(rows))


def test_the_crossing_is_between_the_numbers_around_it() -> None:
    rows = [route("target-only", each, score, 3) for each, score in ((1, 0.5), (2, 0.6), (4, 0.7), (8, 0.8))]
    found = worth(rows, "target-only", route("coral", 0, 0.65), TRUTH)
    assert found is not None
    assert found.each == pytest.approx(2 * np.sqrt(2), abs=0.05)
    assert found.low is not None
    assert found.high is not None
    assert 1 < found.low < found.each < found.high < 8
    assert "about 2.8 of each class" in worth_words(found)


def test_a_source_that_target_labels_never_reach_is_worth_more_than_were_tried() -> None:
    rows = [route("target-only", each, score, 3) for each, score in ((1, 0.5), (2, 0.55))]
    found = worth(rows, "target-only", route("coral", 0, 0.9), TRUTH)
    assert found is not None
    assert (found.each, found.low, found.high) == (None, None, None)
    assert "more than 2 of each class" in worth_words(found)


def test_one_label_of_each_class_can_be_worth_more_than_a_source() -> None:
    rows = [route("target-only", each, 0.8, 3) for each in (1, 2)]
    found = worth(rows, "target-only", route("coral", 0, 0.3), TRUTH)
    assert found is not None
    assert found.each == 1
    assert "by itself one label of each class" in worth_words(found)
    assert worth(rows[:1], "target-only", route("coral", 0, 0.3), TRUTH) is None


def test_points_hold_the_mean_over_draws() -> None:
    (point,) = points([route("joint", 2, 0.6, 3)], TRUTH, "accuracy")
    assert point.score == pytest.approx(0.6)
    assert point.low < 0.6 < point.high
    assert point.draws == 3


def test_a_sealed_test_overrules_the_choice_unless_another_baseline_is_better() -> None:
    from headstart.judge import Round, compare, guard_adapted

    truth = np.repeat([0, 1], 50)
    right = np.eye(2)[truth]
    found = compare([Round(truth, right[None], right[None, :, ::-1], 10)], ["a", "b"], "accuracy")
    assert found.verdict == "helped"
    assert guard_adapted(found, "baseline", "Why.", "source-only")[0] == "transfer"
    side, why = guard_adapted(found, "baseline", "Why.", "source-only", ["target-only"])
    assert side == "baseline"
    assert why.endswith("less than target-only.")
