"""What moved: p-values that keep their word, intervals that cover, and planted shifts that are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from headstart.domains import two_sample
from headstart.domains.concept import concept_shift
from headstart.domains.two_sample import auc_interval, classifier_test, features_moved, in_the_plane, mmd
from headstart.score.ridge import standardise

pytestmark = pytest.mark.fast


def sample(n: int, width: int, seed: int, **moved: float) -> np.ndarray:
    X = np.random.default_rng(seed).normal(size=(n, width))
    X[:, 0] += moved.get("mean", 0.0)
    return X.astype(np.float32)


@pytest.mark.parametrize("test", [classifier_test, mmd])
def test_p_values_are_uniform_where_nothing_moved(test) -> None:
    p = np.array([test(sample(25, 40, s), sample(35, 40, 900 + s), permutations=39, seed=s).p_value for s in range(80)])
    # Of 80 uniform values 4 are expected up to 0.05, and their mean has a standard deviation of 0.032.
    assert (p <= 0.05).sum() <= 10
    assert abs(p.mean() - 0.5) < 0.1


@pytest.mark.parametrize("test", [classifier_test, mmd])
def test_a_planted_move_is_found(test) -> None:
    assert test(sample(60, 5, 1), sample(60, 5, 2, mean=1.5), permutations=199).p_value == pytest.approx(1 / 200)


def test_held_out_scores_do_not_part_two_samples_of_one_distribution_with_more_features_than_examples() -> None:
    told = classifier_test(sample(60, 300, 3), sample(60, 300, 4), permutations=19)
    assert told.low < 0.5 < told.high
    assert abs(told.auc - 0.5) < 0.15


def test_scores_are_those_of_models_fitted_without_the_fold() -> None:
    """The closed form equals a refit: an example's score does not change when its own domain is turned round."""
    A, B = sample(20, 3, 5), sample(20, 3, 6, mean=2.0)
    told = classifier_test(A, B, permutations=0)
    outlier = np.concatenate([A[:-1], 50 * np.ones((1, 3), np.float32)])
    far = classifier_test(outlier, B, permutations=0)
    # One wild source example would be scored as source had it been fitted on: out of fold it looks like the target.
    assert far.source[-1] > np.median(far.target)
    assert told.auc > 0.8


@pytest.mark.parametrize(
    "shape", [(40, 60), (40, 25), (90, 8), (600, 300)], ids=["wide", "folds of few", "folds of many", "single"]
)
def test_held_out_scores_are_those_of_ridge_regression_on_the_other_folds(shape) -> None:
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=shape).astype(np.float32), rng.normal(size=(shape[0], 2))
    folds = [np.arange(shape[0])[k::5] for k in range(5)]
    found = two_sample._held_out(X, Y, folds)
    mean, scale = standardise(X)
    Z = ((X - mean) / scale).astype(np.float64)
    penalty = two_sample._gram((X - mean) / scale)[1]
    freedom = np.linalg.eigvalsh(Z.T @ Z)
    assert (freedom / (freedom + penalty)).sum() == pytest.approx(min(0.15 * len(Z), 0.9 * min(shape)), rel=1e-3)
    for rows in folds:
        others = np.setdiff1d(np.arange(len(Z)), rows)
        centre, offset = Z[others].mean(axis=0), Y[others].mean(axis=0)
        A = Z[others] - centre
        weight = np.linalg.solve(A.T @ A + penalty * np.eye(shape[1]), A.T @ (Y[others] - offset))
        assert found[rows] == pytest.approx((Z[rows] - centre) @ weight + offset, abs=1e-4)


def test_the_interval_of_an_auc_covers_the_truth() -> None:
    rng, hits = np.random.default_rng(0), 0
    truth = norm.cdf(1 / math.sqrt(2))
    for _ in range(300):
        low, high = auc_interval(rng.normal(size=40), 1 + rng.normal(size=50))
        hits += low <= truth <= high
    assert hits >= 0.92 * 300


def test_an_auc_of_one_has_an_interval() -> None:
    low, high = auc_interval(np.arange(10.0), 20 + np.arange(10.0))
    assert 0.5 < low < high <= 1


def test_mmd_is_the_unbiased_estimate() -> None:
    A, B = sample(7, 2, 7), sample(5, 2, 8, mean=1.0)
    found = mmd(A, B, permutations=3)
    both = np.concatenate([A, B]).astype(float)
    Z = (both - both.mean(axis=0)) / both.std(axis=0)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return math.exp(-float(((x - y) ** 2).sum()) / (2 * found.width**2))

    S, T = Z[:7], Z[7:]
    naive = sum(k(S[i], S[j]) for i in range(7) for j in range(7) if i != j) / 42
    naive += sum(k(T[i], T[j]) for i in range(5) for j in range(5) if i != j) / 20
    naive -= 2 * sum(k(s, t) for s in S for t in T) / 35
    assert found.squared == pytest.approx(naive, abs=1e-6)


def test_only_the_feature_that_moved_is_named() -> None:
    A, B = sample(200, 30, 9), sample(200, 30, 10, mean=1.0)
    A[:, 5] = B[:, 5] = 3.0  # constant: says nothing
    moved = features_moved(A, B)
    assert np.flatnonzero(moved.adjusted < 0.01).tolist() == [0]
    assert moved.difference[0] == pytest.approx(1.0, abs=0.25)
    assert moved.difference[5] == 0


def test_the_axes_of_the_picture_are_uncorrelated() -> None:
    A, B = sample(50, 8, 11), sample(40, 8, 12, mean=1.0)
    told = classifier_test(A, B, permutations=0)
    source, target = in_the_plane(A, B, told)
    assert source.shape == (50, 2)
    assert target[:, 0].mean() > source[:, 0].mean()
    plane = np.concatenate([source, target])
    assert abs(np.corrcoef(plane.T)[0, 1]) < 1e-3


def test_concept_shift_is_claimed_only_where_nothing_else_explains_the_errors() -> None:
    rng = np.random.default_rng(0)
    n = 400
    y, yt = rng.integers(0, 2, n), rng.integers(0, 2, n)
    x = rng.normal(size=n)
    # The source model errs more where x is large, and the target has more of those: weights explain its errors.
    right = rng.random(n) < np.where(x > 0, 0.6, 0.95)
    weights = np.where(x > 0, 1.8, 0.2)
    moved_inputs = concept_shift(right, y, weights, rng.random(n) < 0.915 * 0.1 + 0.6 * 0.9, yt, overlap=0.8)
    assert moved_inputs.verdict == "not shown"
    assert moved_inputs.by_inputs == pytest.approx(0.635, abs=0.06)
    worse = concept_shift(right, y, weights, rng.random(n) < 0.3, yt, overlap=0.8)
    assert worse.verdict == "shown"
    assert concept_shift(right, y, weights, rng.random(n) < 0.3, yt, overlap=0.05).verdict == "cannot be told"
    alone = np.zeros(n)
    alone[0] = n
    assert concept_shift(right, y, alone, rng.random(n) < 0.3, yt, overlap=0.8).verdict == "cannot be told"
