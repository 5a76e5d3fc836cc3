"""Ridge regression in closed form with its leave-one-out predictions: a score, and the head of probes and baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.score.spectrum import labelled

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

PENALTIES = np.logspace(-2, 6, 25)
COARSE = PENALTIES[::3]  # a factor of ten apart: enough for a score
_BLOCK = 2048  # rows whose float64 copies are held at once: beside the features, memory hardly grows with N


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
class Solution:
    """A fitted ridge classifier: scores are X @ weight.T + bias.

    Args:
        weight: (C, D) float32, for raw vectors.
        bias: (C,) float32.
        penalty: the chosen lambda.
        left_out: (N, C) float32, leave-one-out scores at that lambda: what each example would have scored had it not
            been trained on.
    """

    weight: Floats
    bias: Floats
    penalty: float
    left_out: Floats


def linear_accuracy(features: ArrayLike, labels: ArrayLike) -> float:
    """Leave-one-out accuracy of a linear probe: of :func:`solve`, with its penalty from 0.01 to 10^6 in steps of ten.

    What headstart's own `probe` with a ridge head would get right of an example, had it been trained on all others.

    The frequencies of the classes are taken for known, from all examples: the offsets of the scores are not left out.
    Without an example its class is a little rarer, so that features which say nothing would otherwise be wrong on every
    example of balanced classes, and a leave-one-out accuracy of 0 would stand where chance is meant.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers.

    Returns:
        Between 0 and 1; larger transfers better. Unchanged by the order of examples, by shifts and by common scaling
        of the features; not by rotations, because features are standardised one by one.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    solution = solve(data.X.astype(np.float32), data.y, data.classes, COARSE)
    Y = np.where(data.y[:, None] == np.arange(data.classes), 1.0, -1.0)
    scores = solution.left_out + (Y - Y.mean(axis=0)) / (len(Y) - 1)
    # What is left where features say nothing is rounding, and must not tell the class.
    return float((scores.round(5).argmax(axis=1) == data.y).mean())


def solve(X: Floats, y: Labels, classes: int, penalties: NDArray[np.float64] = PENALTIES) -> Solution:
    """Ridge regression to one-hot targets in {-1, +1}, its penalty chosen by leave-one-out, all in closed form.

    With centred, standardised X and hat matrix H(lambda) = X (X'X + lambda I)^-1 X' + 11'/N, the prediction for
    example i by the model trained without it is y_i - (y_i - f_i) / (1 - H_ii) (Allen 1974; Rifkin & Lippert 2007),
    so one eigendecomposition, of the N x N or the D x D Gram matrix, whichever is smaller, serves every lambda. The
    lambda with the smallest leave-one-out squared error is kept.

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1.
        classes: C.
        penalties: (P,) float64, the lambdas to choose among.
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
        target = Q.T @ Yc  # f = Q diag(v / (v + lambda)) Q'Y
    else:
        gram, cross = np.zeros((D, D)), np.zeros((D, classes))
        for start in range(0, N, _BLOCK):
            Z = block(start)
            gram += Z.T @ Z
            cross += Z.T @ Yc[start : start + _BLOCK]
        values, V = np.linalg.eigh(gram)
        values = np.maximum(values, 1e-12)
        target = (V.T @ cross) / np.sqrt(values)[:, None]

    def basis(start: int) -> NDArray[np.float64]:
        """A block of the eigenvectors of the hat matrix: of Q, or of Z V / sqrt(v), which is never there as a whole."""
        return Q[start : start + _BLOCK] if N <= D else (block(start) @ V) / np.sqrt(values)

    def residuals(fitted: NDArray[np.float64], start: int, at: int) -> NDArray[np.float64]:
        """Leave-one-out residuals of a block of examples."""
        residual: NDArray[np.float64] = Yc[start : start + _BLOCK] - fitted
        residual /= np.maximum(1 - leverages[start : start + _BLOCK, at] - 1 / N, 1e-6)[:, None]
        return residual

    shrink = [values / (values + penalty) for penalty in penalties]
    factors, errors, leverages = np.stack(shrink, axis=1), np.zeros(len(penalties)), np.empty((N, len(penalties)))
    for start in range(0, N, _BLOCK):
        B = basis(start)
        leverages[start : start + _BLOCK] = (B**2) @ factors
        for at in range(len(penalties)):
            errors[at] += (residuals(B @ (shrink[at][:, None] * target), start, at) ** 2).sum()
    best = int(errors.argmin())
    penalty, factor, left_out = float(penalties[best]), shrink[best], np.empty_like(Yc)
    dual = factor / np.maximum(values, 1e-12)  # 1 / (v + lambda)
    if N <= D:
        coefficients = Z.T @ (Q @ (dual[:, None] * target))
    else:
        coefficients = V @ ((dual * np.sqrt(values))[:, None] * target)
    for start in range(0, N, _BLOCK):
        fitted = basis(start) @ (factor[:, None] * target) if N <= D else block(start) @ coefficients
        left_out[start : start + _BLOCK] = Y[start : start + _BLOCK] - residuals(fitted, start, best)
    weight = (coefficients / scale[:, None]).T
    bias = offset - weight @ mean
    return Solution(weight.astype(np.float32), bias.astype(np.float32), penalty, left_out.astype(np.float32))
