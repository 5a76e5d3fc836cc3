"""Linear and kernel machines against independent formulas: brute force and scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC

from headstart.score.ridge import PENALTIES, standardise
from headstart.strategy import linear

pytestmark = pytest.mark.fast

SHAPES = {"N < D": (24, 40), "N > D": (60, 12), "N = D": (20, 20)}


def problem(N, D, classes=3, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(N) % classes).astype(np.int64)
    centres = rng.normal(size=(classes, D))
    X = (centres[y] + noise * rng.normal(size=(N, D))) * rng.uniform(0.5, 3, D) + rng.normal(size=D)
    return X.astype(np.float32), y


def targets(y, classes):
    return np.where(y[:, None] == np.arange(classes), 1.0, -1.0)


def refit(Z, Y, penalty):
    """Ridge with a free intercept, by the normal equations of the augmented problem: weights and intercept."""
    A = np.column_stack([Z, np.ones(len(Z))])
    P = penalty * np.eye(A.shape[1])
    P[-1, -1] = 0.0
    return np.linalg.solve(A.T @ A + P, A.T @ Y)


def brute_force(X, y, classes, penalty):
    """Leave-one-out by refitting N times.

    Fixed: the standardisation (mean and scale of all N, the features' only) and the penalty. Refitted without the
    example: the weights and the intercept.
    """
    mean, scale = standardise(X)
    Z = (X.astype(np.float64) - mean) / scale
    Y = targets(y, classes)
    out = np.empty_like(Y)
    for i in range(len(Z)):
        keep = np.arange(len(Z)) != i
        out[i] = np.append(Z[i], 1.0) @ refit(Z[keep], Y[keep], penalty)
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_leave_one_out_is_what_refitting_gives(shape):
    X, y = problem(*SHAPES[shape])
    fitted = linear.ridge(X, y, 3)
    np.testing.assert_allclose(fitted.left_out, brute_force(X, y, 3, fitted.penalty), atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("noise", [0.3, 4.0])
def test_the_penalty_is_the_best_of_all_by_brute_force(shape, noise):
    X, y = problem(*SHAPES[shape], noise=noise)
    errors = [((brute_force(X, y, 3, p) - targets(y, 3)) ** 2).mean() for p in PENALTIES]
    fitted = linear.ridge(X, y, 3)
    at = int(np.flatnonzero(fitted.penalty == PENALTIES)[0])
    assert errors[at] == pytest.approx(min(errors), rel=1e-4)
    assert max(errors) > 1.01 * min(errors), "any penalty would have passed"


def test_noise_is_penalised_more_than_signal():
    clear, noisy = (linear.ridge(*problem(60, 12, noise=n), 3).penalty for n in (0.2, 8.0))
    assert clear < noisy


@pytest.mark.parametrize("shape", SHAPES)
def test_the_head_is_scikit_learn_s_ridge(shape):
    X, y = problem(*SHAPES[shape])
    fitted = linear.ridge(X, y, 3)
    mean, scale = standardise(X)
    model = SklearnRidge(alpha=fitted.penalty).fit((X.astype(np.float64) - mean) / scale, targets(y, 3))
    new, _ = problem(50, SHAPES[shape][1], seed=5)
    expected = model.predict((new.astype(np.float64) - mean) / scale)
    np.testing.assert_allclose(fitted.head.logits(new), expected, atol=2e-3)


def test_both_branches_agree(monkeypatch):
    """The dual (N x N) and the primal (D x D) on one problem: a zero column more than N forces the dual."""
    X, y = problem(30, 29)
    primal = linear.ridge(X, y, 3)
    dual = linear.ridge(np.hstack([X, np.zeros((30, 5), dtype=np.float32)]), y, 3)
    assert primal.penalty == dual.penalty
    # The zero columns change the floor of the scale; it does not bind here, so the maps are the same.
    np.testing.assert_allclose(primal.left_out, dual.left_out, atol=2e-4)
    np.testing.assert_allclose(primal.head.weight, dual.head.weight[:, :29], atol=2e-4)
    assert not np.any(dual.head.weight[:, 29:])


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_change_nothing(shape, monkeypatch):
    X, y = problem(*SHAPES[shape])
    whole = linear.ridge(X, y, 3)
    monkeypatch.setattr("headstart.score.ridge._BLOCK", 7)
    blocks = linear.ridge(X, y, 3)
    assert whole.penalty == blocks.penalty
    np.testing.assert_allclose(whole.left_out, blocks.left_out, atol=1e-4)
    np.testing.assert_allclose(whole.head.weight, blocks.head.weight, atol=1e-4)


def test_standardise_by_hand_and_with_large_offsets():
    rng = np.random.default_rng(0)
    X = (1000 + rng.normal(size=(500, 6)) * [1, 2, 1, 2, 1, 2]).astype(np.float32)
    mean, scale = standardise(X)
    np.testing.assert_allclose(mean, X.astype(np.float64).mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale, X.astype(np.float64).std(0), rtol=1e-3)


def test_a_feature_that_hardly_moves_is_not_blown_up():
    X = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    X[:, 3] = 7.0
    X[:, 5] *= 1e-4
    _, scale = standardise(X)
    floor = 0.1 * np.sqrt((X.astype(np.float64).std(0) ** 2).mean())
    np.testing.assert_allclose(scale[[3, 5]], floor, rtol=1e-3)
    assert (standardise(np.full((5, 2), 3, dtype=np.float32))[1] == 1).all()


def test_ridge_as_logits_keeps_labels_and_is_likelier():
    X, y = problem(360, 40, noise=3.0)
    X, y, new, truth = X[:60], y[:60], X[60:], y[60:]
    fitted = linear.ridge(X, y, 3)
    logits = fitted.as_logits(y)
    raw, scaled = fitted.head.logits(new), logits.logits(new)
    assert (raw.argmax(1) == scaled.argmax(1)).all()
    ratio = scaled / raw
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)

    def loss(z):
        z = z - z.max(1, keepdims=True)
        return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), truth]).mean())

    assert loss(scaled) < loss(raw)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("C", [0.01, 1.0])
def test_logistic_gives_scikit_learn_s_probabilities(classes, C):
    X, y = problem(80, 10, classes)
    head = linear.logistic(X, y, classes, C)
    mean, scale = standardise(X)
    new, _ = problem(40, 10, classes, seed=4)
    logits = head.logits(new).astype(np.float64)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    Z, Q = (X - mean) / scale, (new - mean) / scale
    same = LogisticRegression(C=C, max_iter=300, tol=1e-3).fit(Z, y).predict_proba(Q)
    np.testing.assert_allclose(probabilities, same, atol=1e-4)
    optimum = LogisticRegression(C=C, max_iter=5000, tol=1e-9).fit(Z, y).predict_proba(Q)
    np.testing.assert_allclose(probabilities, optimum, atol=0.05)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_kernel_machine_is_one_versus_rest_svc(classes):
    X, y = problem(70, 6, classes, noise=1.5)
    head = linear.kernel_machine(X, y, classes, 3.0)
    mean, scale = standardise(X)
    Z = ((X - mean) / scale).astype(np.float64)
    machines = [SVC(C=3.0, gamma=1 / 6).fit(Z, y == c) for c in range(classes)]
    new, _ = problem(50, 6, classes, seed=3, noise=1.5)
    Q = ((new - mean) / scale).astype(np.float64)
    expected = np.column_stack([machine.decision_function(Q) for machine in machines])
    np.testing.assert_allclose(head.logits(new), expected, atol=1e-2)
    if classes > 2:
        wrapped = OneVsRestClassifier(SVC(C=3.0, gamma=1 / 6)).fit(Z, y).decision_function(Q)
        np.testing.assert_allclose(head.logits(new), wrapped, atol=1e-2)
    assert len(head.support) < len(X), "only support vectors are kept"


MACHINES = {
    "ridge": lambda X, y, C: linear.ridge(X, y, C).head,
    "ridge as logits": lambda X, y, C: linear.ridge(X, y, C).as_logits(y),
    "logistic": lambda X, y, C: linear.logistic(X, y, C, 1.0),
    "svm": lambda X, y, C: linear.kernel_machine(X, y, C, 1.0),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("present", [[0], [4], [1, 3], [0, 2, 4], [0, 1, 2, 3]])
@pytest.mark.parametrize("shape", ["N < D", "N > D"])
def test_a_class_without_examples_is_never_preferred(machine, present, shape):
    """A fold may leave a class out."""
    X, y = problem(*SHAPES[shape], classes=len(present), noise=3.0)
    head = MACHINES[machine](X, np.array(present)[y], 5)
    far = np.concatenate([X, 10 * X, np.random.default_rng(8).normal(0, 20, X.shape).astype(np.float32)])
    logits = head.logits(far)
    assert logits.shape == (len(far), 5)
    assert np.isfinite(logits).all()
    assert set(logits.argmax(1)) <= set(present)


@pytest.mark.parametrize("machine", MACHINES)
def test_two_examples_and_repeated_rows_are_enough(machine):
    X = np.array([[0, 0, 1], [0, 2, 1]], dtype=np.float32)
    y = np.array([0, 1])
    for X_, y_ in ((X, y), (np.repeat(X, 6, axis=0), np.repeat(y, 6))):
        assert (MACHINES[machine](X_, y_, 2).logits(X).argmax(1) == y).all()
