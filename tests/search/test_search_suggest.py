"""Which examples to label next: unsure ones, of every kind, and no copies. Clusters are planted."""

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.features.body import EmptyBody
from headstart.predictor import Predictor
from headstart.predictor.heads import LinearHead
from headstart.search.suggest import choose, suggest
from headstart.target.inputs import ArrayInputs

pytestmark = pytest.mark.fast


def places(seed=0):
    """300 sure examples in one place, and 20 unsure ones in each of three others."""
    rng = np.random.default_rng(seed)
    middles = np.repeat(5 * np.eye(4), [300, 20, 20, 20], axis=0)
    sure, unsure = [0.98, 0.01, 0.01], [0.36, 0.34, 0.3]
    probabilities = np.array([sure] * 300 + [unsure] * 60)
    return middles + 0.1 * rng.normal(size=middles.shape), probabilities, np.repeat([0, 1, 2, 3], [300, 20, 20, 20])


def test_unsure_ones_of_every_place_come_first():
    seen = np.zeros(4)
    for seed in range(20):
        vectors, probabilities, place = places(seed)
        chosen, sizes = choose(vectors, probabilities, 4, seed)
        assert sizes.sum() == 360, "each stands for its cluster"
        seen += np.bincount(place[chosen[:3]], minlength=4)
    # At random, the 300 sure ones would be 50 of 60, and each of the others 3.
    assert seen[0] <= 5
    assert seen[1:].min() >= 12


def test_of_what_is_alike_the_typical_one_is_chosen_and_not_the_odd_one():
    """One is far off, and as unsure as the rest: by distance alone it would be taken first."""
    rng = np.random.default_rng(0)
    vectors = np.array([[1.0, 0.0, 0.0]] * 30 + [[0.0, 1.0, 0.0]] * 30) + 0.05 * rng.normal(size=(60, 3))
    vectors[7] = [1.0, 0.0, 0.9]
    chosen, sizes = choose(vectors, np.tile([0.5, 0.5], (60, 1)), 2)
    assert 7 not in chosen
    assert sorted(chosen // 30) == [0, 1]
    assert sizes.tolist() == [30, 30]


def test_what_the_model_is_unsure_of_pulls_the_middle():
    """Two kinds of ten, one cluster: its middle lies with the kind that weighs more."""
    vectors = np.repeat(np.eye(2), 10, axis=0)
    for unsure in (0, 1):
        probabilities = np.tile([0.9, 0.1], (20, 1))
        probabilities[unsure * 10 : unsure * 10 + 10] = 0.5
        chosen, _ = choose(vectors, probabilities, 1)
        assert chosen[0] // 10 == unsure


def test_no_more_than_differ_and_a_pool_that_the_model_is_sure_of_is_covered():
    same = np.ones((9, 3))
    chosen, sizes = choose(same, np.tile([0.6, 0.4], (9, 1)), 5)
    assert (len(chosen), sizes.tolist()) == (1, [9])  # the others would teach what it does
    chosen, _ = choose(np.repeat(np.eye(3), 4, axis=0), np.tile([1.0, 0.0], (12, 1)), 3)
    assert sorted(chosen // 4) == [0, 1, 2]
    assert len(choose(np.empty((0, 3)), np.empty((0, 2)), 5)[0]) == 0


def test_of_a_large_pool_the_least_sure_are_looked_at(monkeypatch):
    monkeypatch.setattr("headstart.search.suggest.CLUSTERED", 60)
    vectors, probabilities, place = places()
    chosen, sizes = choose(vectors, probabilities, 3)
    assert sorted(place[chosen]) == [1, 2, 3]
    assert sizes.tolist() == [20, 20, 20]


def test_a_model_that_looks_at_nothing_is_refused():
    head = LinearHead(np.zeros((2, 0), np.float32), np.zeros(2, np.float32))
    blind = Predictor(("a", "b"), EmptyBody(), head)
    with pytest.raises(OptionError, match="majority class"):
        suggest(blind, ArrayInputs(np.zeros((3, 8, 8, 3), np.uint8)), count=2)
    with pytest.raises(OptionError, match="0 examples to suggest"):
        suggest(blind, ArrayInputs(np.zeros((3, 8, 8, 3), np.uint8)), count=0)
