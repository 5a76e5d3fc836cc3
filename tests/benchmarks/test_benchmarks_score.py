"""The benchmark of scores, small: what it measures, and that its result fits on the page."""

import pytest

from benchmarks import score
from headstart.score import SCORES

pytestmark = pytest.mark.fast


def test_every_closed_form_score_is_timed():
    measured = score.main(examples=60, features=16, classes=3)
    closed = {name for name, each in SCORES.items() if each.closed and not each.probabilities}
    assert set(measured["seconds"]) == set(measured["median_seconds"]) == closed
    assert all(len(taken) == score.ROUNDS for taken in measured["seconds"].values())
    assert measured["logme_few_examples"]["above_noise"] == score.SEEDS == 10
    assert [each["met"] for each in measured["targets"]] == [True, True]
