"""Nearest class means: against scikit-learn, against brute force, and where there is hardly anything to learn from."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from headstart.budget import Budget
from headstart.source import find
from headstart.strategy import Bench
from headstart.strategy.adapt.prototypes import Prototypes
from headstart.strategy.means import ABSENT, nearest_means, shrunk
from headstart.target.inputs import StringInputs
from headstart.target.view import Examples, TrainView
from headstart.testing.texts import CLASSES, planted_texts

pytestmark = pytest.mark.fast


def blobs(n=40, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    stretched = rng.normal(size=(n, d)) * np.linspace(0.2, 3, d)
    return (rng.normal(size=(classes, d))[y] * 2 + stretched).astype(np.float32), y.astype(np.int64)


def test_without_covariance_it_is_the_nearest_centroid():
    X, y = blobs()
    new, _ = blobs(200, seed=1)
    ours = nearest_means(X, y, 3, covariance=False)
    theirs = NearestCentroid().fit(X, y).predict(new)
    np.testing.assert_array_equal(ours.head.logits(new).argmax(1), theirs)
    np.testing.assert_array_equal(ours.as_logits().logits(new).argmax(1), theirs)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (12, 30)])
def test_with_covariance_it_is_linear_discriminant_analysis(n, d):
    X, y = blobs(n, d)
    means = np.stack([X[y == c].mean(0) for c in range(3)]).astype(np.float64)
    S, share = shrunk(X, means, y)
    expected, alpha = ledoit_wolf(X - means[y], assume_centered=True)
    np.testing.assert_allclose(S, expected, rtol=1e-5, atol=1e-7)
    assert share == pytest.approx(alpha, rel=1e-5)
    ours = nearest_means(X, y, 3, covariance=True)
    assert ours.shrinkage == pytest.approx(share, rel=1e-5)
    # scikit-learn takes a covariance estimator; given ours, its equal-prior discriminants must be ours.
    new, _ = blobs(200, d, seed=1)

    class Given:
        def fit(self, X):
            self.covariance_ = S
            return self

    lda = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given(), priors=[1 / 3] * 3).fit(X, y)
    expected = lda.decision_function(new) - np.log(1 / 3)
    np.testing.assert_allclose(ours.head.logits(new), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("covariance", [False, True])
def test_left_out_scores_are_those_of_brute_force(covariance):
    X, y = blobs(14, 5)
    fitted = nearest_means(X, y, 4, covariance=covariance)  # of the last class there is nothing
    N, D = X.shape
    means = np.stack([X[y == c].mean(0) for c in range(3)]).astype(np.float64)
    residual = X - means[y]
    size = (residual**2).sum() / N / D
    for i in range(N):
        rest = np.arange(N) != i
        others = np.stack([X[rest & (y == c)].mean(0) for c in range(3)]).astype(np.float64)
        left = X[rest] - others[y[rest]]
        S = np.eye(D)
        if covariance:
            S = (1 - fitted.shrinkage) * left.T @ left / N + fitted.shrinkage * size * np.eye(D)
        P = np.linalg.inv(S)
        scores = others @ P @ X[i] - 0.5 * np.einsum("cd,de,ce->c", others, P, others)
        np.testing.assert_allclose(fitted.left_out[i, :3], scores, rtol=1e-5, atol=1e-5)


def test_lone_examples_are_not_left_out_and_absent_classes_are_never_chosen():
    X, y = blobs(9)
    y = np.where(y == 2, 4, y)
    y[0] = 3  # one alone; of class 2 there are none
    fitted = nearest_means(X, y, 5, covariance=True)
    assert len(fitted.labels) == 8
    head = fitted.as_logits()
    assert head.bias[2] == ABSENT
    assert not head.weight[2].any()
    logits = head.logits(X)
    assert (logits.argmin(1) == 2).all()
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("covariance", [False, True])
def test_one_example_of_each_class_is_enough(covariance):
    X = 5 + np.eye(4, 6, dtype=np.float32)
    y = np.arange(4)
    head = nearest_means(X, y, 4, covariance=covariance).as_logits()
    probabilities = np.exp(head.logits(X))
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(np.diag(probabilities), np.e**4 / (np.e**4 + 3), rtol=1e-3)
    assert nearest_means(X[:1], y[:1], 1, covariance=covariance).as_logits().logits(X).tolist() == [[0.0]] * 4


def test_logits_are_as_sure_as_they_may_be():
    X, y = blobs(3000, 20)
    X[:, :20] *= 30  # of whatever size
    new, truth = X[1500:], y[1500:]
    logits = nearest_means(X[:1500], y[:1500], 3, covariance=True).as_logits().logits(new)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert probabilities.max(1).mean() == pytest.approx((logits.argmax(1) == truth).mean(), abs=0.03)


@pytest.mark.parametrize("covariance", ["shrunk", "sphere"])
def test_on_texts_from_two_examples(covariance, tmp_path):
    raw = planted_texts(2, 120)
    y = np.array([CLASSES.index(label) for label in raw.labels])
    seen = TrainView(Examples(raw.inputs.take([0, 1]), y[:2]), CLASSES, "accuracy")
    source, bench = find("toy_text:words"), Bench(store=tmp_path / "store")
    made = Prototypes(covariance)(source, seen, budget=Budget(), seed=0, bench=bench)
    held = StringInputs([raw.inputs.text(i) for i in range(2, 122)])
    assert (made.predict_proba(held).argmax(1) == y[2:]).mean() > 0.9
    made.save(tmp_path / "model", check=held)  # raises unless it comes back identical
