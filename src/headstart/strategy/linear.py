"""Linear and kernel machines on vectors: what probes and classical baselines share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.predictor import KernelHead, LinearHead
from headstart.predictor.calibration import fit_temperature
from headstart.predictor.heads import gaussian

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

PENALTIES = np.logspace(-2, 6, 25)
_BLOCK = 8192  # rows whose float64 copy is held at once


def standardise(X: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation per feature, (D,) each.

    No deviation is smaller than a tenth of the root mean square of all: a feature that is all but constant in a few
    training examples would otherwise outweigh all others in the first example where it is not.
    """
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    total = np.zeros(X.shape[1])
    for start in range(0, len(X), _BLOCK):
        total += ((X[start : start + _BLOCK] - mean).astype(np.float64) ** 2).sum(axis=0)
    scale = np.sqrt(total / max(1, len(X)))
    floor = 0.1 * float(np.sqrt((scale**2).mean())) if len(scale) else 0.0
    return mean, np.maximum(scale, floor or 1.0).astype(np.float32)


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge classifier.

    Args:
        head: the linear map on raw vectors.
        penalty: the chosen lambda.
        left_out: (N, C) leave-one-out scores at that lambda: what each example would have scored had it not been
            trained on.
    """

    head: LinearHead
    penalty: float
    left_out: Floats

    def as_logits(self, y: Labels) -> LinearHead:
        """The head, scaled so that the leave-one-out scores are likely as logits.

        Ridge scores lie near -1 and +1; under a softmax they would be far too timid.

        Args:
            y: (N,) int64, the labels it was fitted on.
        """
        scale = np.float32(1.0 / fit_temperature(self.left_out, y))
        return LinearHead(self.head.weight * scale, self.head.bias * scale)


def ridge(X: Floats, y: Labels, classes: int) -> Ridge:
    """Ridge regression to one-hot targets in {-1, +1}, its penalty chosen by leave-one-out, all in closed form.

    With centred, standardised X and hat matrix H(lambda) = X (X'X + lambda I)^-1 X' + 11'/N, the prediction for
    example i by the model trained without it is y_i - (y_i - f_i) / (1 - H_ii) (Allen 1974; Rifkin & Lippert 2007),
    so one eigendecomposition, of the N x N or the D x D Gram matrix, whichever is smaller, serves every lambda. The
    lambda with the smallest leave-one-out squared error is kept.

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1.
        classes: C.
    """
    N, D = X.shape
    mean, scale = standardise(X)
    Y = np.where(y[:, None] == np.arange(classes), 1.0, -1.0)
    offset = Y.mean(axis=0)
    Yc = Y - offset

    def block(start: int) -> NDArray[np.float64]:
        return ((X[start : start + _BLOCK] - mean) / scale).astype(np.float64)

    if N <= D:
        Z = block(0) if N <= _BLOCK else np.concatenate([block(s) for s in range(0, N, _BLOCK)])
        values, Q = np.linalg.eigh(Z @ Z.T)
        values = np.maximum(values, 0)
        hat_basis, target = Q, Q.T @ Yc  # f = Q diag(v / (v + lambda)) Q'Y
        shrink = [values / (values + penalty) for penalty in PENALTIES]
    else:
        gram, cross = np.zeros((D, D)), np.zeros((D, classes))
        for start in range(0, N, _BLOCK):
            Z = block(start)
            gram += Z.T @ Z
            cross += Z.T @ Yc[start : start + _BLOCK]
        values, V = np.linalg.eigh(gram)
        values = np.maximum(values, 1e-12)
        # Left singular vectors U = Z V / sqrt(v), in float32: (N, D) once.
        hat_basis = np.empty((N, D), dtype=np.float32)
        for start in range(0, N, _BLOCK):
            hat_basis[start : start + _BLOCK] = (block(start) @ V) / np.sqrt(values)
        target = (V.T @ cross) / np.sqrt(values)[:, None]
        shrink = [values / (values + penalty) for penalty in PENALTIES]

    best = None
    for penalty, factor in zip(PENALTIES, shrink, strict=True):
        fitted, leverage = np.empty_like(Yc), np.empty(N)
        for start in range(0, N, _BLOCK):
            B = hat_basis[start : start + _BLOCK].astype(np.float64)
            fitted[start : start + _BLOCK] = B @ (factor[:, None] * target)
            leverage[start : start + _BLOCK] = (B**2) @ factor
        residual = (Yc - fitted) / np.maximum(1 - leverage - 1 / N, 1e-6)[:, None]
        error = float((residual**2).mean())
        if best is None or error < best[0]:
            best = (error, float(penalty), factor, Y - residual)
    assert best is not None
    _, penalty, factor, left_out = best
    dual = factor / np.maximum(values, 1e-12)  # 1 / (v + lambda)
    if N <= D:
        coefficients = Z.T @ (Q @ (dual[:, None] * target))
    else:
        coefficients = V @ ((dual * np.sqrt(values))[:, None] * target)
    weight = (coefficients / scale[:, None]).T
    bias = offset - weight @ mean
    return Ridge(LinearHead(weight.astype(np.float32), bias.astype(np.float32)), penalty, left_out.astype(np.float32))


def logistic(X: Floats, y: Labels, classes: int, C: float) -> LinearHead:
    """Multinomial logistic regression on standardised vectors, L2 penalty 1 / C (scikit-learn, lbfgs).

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1; a class without examples gets a logit below all others.
        classes: number of classes.
        C: inverse penalty, as scikit-learn defines it.
    """
    import warnings

    with profile.phase("import"):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

    if len(present := np.unique(y)) == 1:
        return LinearHead(
            np.zeros((classes, X.shape[1]), dtype=np.float32),
            np.where(np.arange(classes) == present[0], 0.0, -1e4).astype(np.float32),
        )
    mean, scale = standardise(X)
    model = LogisticRegression(C=C, max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # 300 steps are enough for a probe; an optimum to the last digit changes no prediction worth having.
        warnings.simplefilter("ignore", ConvergenceWarning)
        with threadpool_limits(1, user_api="blas"):  # hundreds of small products: threads only wait
            model.fit((X - mean) / scale, y)
    weight, bias = np.zeros((classes, X.shape[1])), np.full(classes, -1e4)
    if len(model.classes_) == 2:
        first, second = model.classes_
        weight[second], weight[first] = model.coef_[0] / 2, -model.coef_[0] / 2
        bias[second], bias[first] = model.intercept_[0] / 2, -model.intercept_[0] / 2
    else:
        weight[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    weight /= scale
    return LinearHead(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))


def kernel_machine(X: Floats, y: Labels, classes: int, C: float) -> KernelHead:
    """One-versus-rest support vector machines with one Gaussian kernel, width by the usual 1 / D rule (libsvm).

    Args:
        X: (N, D) float32; the N x N kernel is held in memory.
        y: (N,) int64.
        classes: number of classes.
        C: the price of an example on the wrong side.
    """
    with profile.phase("import"):
        from sklearn.svm import SVC

    mean, scale = standardise(X)
    Z = (X - mean) / scale
    gamma = 1.0 / X.shape[1]
    K = gaussian(Z, Z, gamma)
    coefficients, bias = np.zeros((len(X), classes)), np.full(classes, -1e4)
    for c in range(classes):
        positive = y == c
        if positive.all() or not positive.any():
            bias[c] = 1.0 if positive.all() else -1e4
            continue
        machine = SVC(C=C, kernel="precomputed", random_state=0).fit(K, positive)
        coefficients[machine.support_, c] = machine.dual_coef_[0]
        bias[c] = machine.intercept_[0]
    used = np.flatnonzero(np.abs(coefficients).sum(axis=1) > 0)
    return KernelHead(
        support=Z[used],
        coefficients=coefficients[used].astype(np.float32),
        bias=bias.astype(np.float32),
        gamma=np.array(gamma, dtype=np.float32),
        mean=mean,
        scale=scale,
    )
