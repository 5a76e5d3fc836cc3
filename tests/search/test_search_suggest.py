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


def clusters(seed=0):
    """300 sure examples in one place, and 20 unsure ones in each of three others."""
    rng = np.random.default_rng(seed)
    places = np.concatenate([np.eye(4)[0][None].repeat(300, 0), *(np.eye(4)[k][None].repeat(20, 0) for k in (1, 2, 3))])
    vectors = 5 * places + 0.1 * rng.normal(size=places.shape)
    sure, unsure = [0.98, 0.01, 0.01], [0.36, 0.34, 0.3]
    probabilities = np.array([sure] * 300 + [unsure] * 60)
    return vectors, probabilities, np.repeat([0, 1, 2, 3], [300, 20, 20, 20])


def test_unsure_ones_of_every_cluster_come_first():
    seen = np.zeros(4)
    for seed in range(20):
        vectors, probabilities, cluster = clusters(seed)
        first = cluster[choose(vectors, probabilities, 3, seed)]
        seen += np.bincount(first, minlength=4)
    # At random, the 300 sure ones would be 50 of 60, and each of the others 3.
    assert seen[0] <= 5
    assert seen[1:].min() >= 12


def test_distances_are_those_of_the_gradients():
    """Against gradients that are written out: each next one has its drawn share of squared distance."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, 5))
    probabilities = rng.dirichlet(np.ones(3), 30)
    q = probabilities - np.eye(3)[probabilities.argmax(1)]
    gradients = np.einsum("nc,nd->ncd", q, vectors).reshape(30, -1)
    expected = [int((gradients**2).sum(1).argmax())]
    draws = np.random.default_rng(7)
    for _ in range(5):
        nearest = np.min([((gradients - g) ** 2).sum(1) for g in (0, *gradients[expected])], axis=0)
        nearest[expected] = 0
        expected.append(int(draws.choice(30, p=nearest / nearest.sum())))
    assert choose(vectors, probabilities, 6, 7).tolist() == expected


def test_no_more_than_differ():
    same = np.ones((9, 3))
    assert len(choose(same, np.tile([0.6, 0.4], (9, 1)), 5)) == 1  # the others would teach what it does
    assert len(choose(same, np.tile([1.0, 0.0], (9, 1)), 5)) == 0
    assert len(choose(np.empty((0, 3)), np.empty((0, 2)), 5)) == 0


def test_a_model_that_looks_at_nothing_is_refused():
    head = LinearHead(np.zeros((2, 0), np.float32), np.zeros(2, np.float32))
    blind = Predictor(("a", "b"), EmptyBody(), head)
    with pytest.raises(OptionError, match="majority class"):
        suggest(blind, ArrayInputs(np.zeros((3, 8, 8, 3), np.uint8)), count=2)
    with pytest.raises(OptionError, match="0 examples to suggest"):
        suggest(blind, ArrayInputs(np.zeros((3, 8, 8, 3), np.uint8)), count=0)
