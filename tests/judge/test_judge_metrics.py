"""Metrics against scikit-learn and by hand."""

import math
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from headstart.judge import metrics

pytestmark = pytest.mark.fast


def drawn(n, classes, seed, present=None):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.7), size=n)
    return probabilities, rng.integers(0, present or classes, n)


@pytest.mark.parametrize(("n", "classes", "present"), [(200, 2, 2), (150, 5, 5), (60, 12, 12), (80, 6, 4)])
def test_metrics_equal_scikit_learns(n, classes, present):
    probabilities, labels = drawn(n, classes, n, present)
    predicted = probabilities.argmax(1)
    found = metrics.all_metrics(probabilities, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
        assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
        assert found["log_loss"] == pytest.approx(sk.log_loss(labels, probabilities, labels=range(classes)))
    if present == classes > 2:
        assert found["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"))
    elif classes == 2:
        assert found["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]))


def test_auroc_by_counting_pairs():
    probabilities, labels = drawn(40, 3, 1)
    per_class = []
    for c in range(3):
        ours, others = probabilities[labels == c, c], probabilities[labels != c, c]
        per_class.append(np.mean([(a > b) + 0.5 * (a == b) for a in ours for b in others]))
    assert metrics.auroc(probabilities, labels) == pytest.approx(np.mean(per_class))


def test_undefined_metrics_are_absent():
    probabilities, _ = drawn(10, 3, 2)
    found = metrics.all_metrics(probabilities, np.zeros(10, dtype=np.int64))
    assert set(found) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece"}
    with pytest.raises(ValueError, match="at least two classes"):
        metrics.auroc(probabilities, np.zeros(10, dtype=np.int64))


def test_log_loss_of_a_certain_mistake_is_finite():
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(np.finfo(float).eps))


def test_reliability_and_ece_by_hand():
    # Two bins of (0, 0.5] and (0.5, 1]: confidences 0.5, 0.9, 0.7 with right, right, wrong.
    probabilities = np.array([[0.5, 0.5], [0.1, 0.9], [0.7, 0.3]])
    labels = np.array([0, 1, 1])
    bins = metrics.reliability(probabilities, labels, bins=2)
    assert [tuple(np.round(b, 6)) for b in bins] == [(0.5, 1.0, 1), (0.8, 0.5, 2)]
    assert metrics.ece(probabilities, labels, bins=2) == pytest.approx((1 * 0.5 + 2 * 0.3) / 3)


def test_ece_of_a_calibrated_model_is_near_zero_and_of_a_boaster_is_not():
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 40_000)
    labels = (rng.uniform(size=p.size) < p).astype(np.int64)
    assert metrics.ece(np.stack([1 - p, p], 1), labels) < 0.01
    certain = np.stack([p < 0.5, p >= 0.5], 1).astype(float)
    assert metrics.ece(certain, labels) == pytest.approx(0.25, abs=0.01)


def test_among_the_most_probable():
    probabilities = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])
    labels = np.array([1, 0, 2])
    assert metrics.among_top(probabilities, labels, 1).tolist() == [False, False, False]
    assert metrics.among_top(probabilities, labels, 2).tolist() == [True, False, False]
    assert metrics.among_top(probabilities, labels, 3).tolist() == [True, False, True]
    assert metrics.among_top(np.stack([probabilities] * 2), labels, 4).tolist() == [[True] * 3] * 2
    first = metrics.among_top(probabilities, labels, 1)
    assert (first == (probabilities.argmax(axis=1) == labels)).all()
