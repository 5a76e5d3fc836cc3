"""Nearest class means on vectors, with or without a shared covariance: what prototypes are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.predictor import LinearHead
from headstart.predictor.calibration import fit_temperature

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

ABSENT = -1e4  # the logit of a class without examples
APART = 4.0  # by how many logits a class mean is its own rather than another's, where no second example tells
_BLOCK = 8192  # rows whose float64 copy is held at once


@dataclass(frozen=True)
class Means:
    """Class means, and the inverse of the covariance that measures the distance to them.

    Both make a linear classifier: under one covariance for all classes, the squared distances of x to two means differ
    by a linear function of x.

    Args:
        head: scores `m' P x - m' P m / 2`, for which the nearest mean's is the highest.
        left_out: (M, C) float64: the scores of the M examples whose class has another one, each without itself, in
            its class's mean as in the covariance (not in the shrinkage).
        labels: (M,) theirs.
        apart: the mean squared distance between two class means; 0 where there is one class.
        shrinkage: share of the sphere in the covariance, in 0..1.
    """

    head: LinearHead
    left_out: Doubles
    labels: Labels
    apart: float
    shrinkage: float

    def as_logits(self) -> LinearHead:
        """The head, scaled so that the left-out scores are likely as logits.

        With one example of every class nothing tells how far a class spreads: a mean's own score is then four above
        that of another class at the usual distance.
        """
        present = self.head.bias > ABSENT
        scale = 1.0
        if len(self.labels):
            # The temperature has bounds; scores of about 1 are well within them.
            scores = self.left_out[:, present]
            spread = float(np.abs(scores - scores.mean(axis=1, keepdims=True)).mean()) or 1.0
            scale = 1.0 / (spread * fit_temperature(scores / spread, (np.cumsum(present) - 1)[self.labels]))
        elif self.apart > 0:
            scale = 2 * APART / self.apart
        # Only differences count; with the mean class at 0, that of an absent one is far below all of them.
        weight, bias = self.head.weight.astype(np.float64), self.head.bias.astype(np.float64)
        weight = np.where(present[:, None], scale * (weight - weight[present].mean(axis=0)), 0.0)
        bias = np.where(present, scale * (bias - bias[present].mean()), ABSENT)
        return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def nearest_means(X: Floats, y: Labels, classes: int, *, covariance: bool) -> Means:
    """The means of the classes, and their distances: Euclidean, or under the covariance within classes.

    The covariance S of what is left when each example's class mean is taken off is shrunk towards a sphere of the same
    size, (1 - a) S + a (tr S / D) I, with the a of Ledoit & Wolf (2004), which needs no validation. Fewer examples than
    dimensions are no obstacle, and with one of each class (S = 0) the distance is Euclidean.

    Leaving example i of a class with n members out of S takes n / (n - 1) r r' / N off, r = x - m, so its score
    without itself follows from the inverse of all by the formula of Sherman & Morrison (1950).

    Args:
        X: (N, D) float32.
        y: (N,) int64 in 0..classes-1; a class without examples gets a score below all others.
        classes: C.
        covariance: whether to use it.
    """
    N, D = X.shape
    counts = np.bincount(y, minlength=classes).astype(np.float64)
    means = np.zeros((classes, D))
    for start in range(0, N, _BLOCK):
        np.add.at(means, y[start : start + _BLOCK], X[start : start + _BLOCK].astype(np.float64))
    means /= np.maximum(counts, 1)[:, None]
    inverse: Doubles = np.eye(1)
    shrinkage = 1.0
    if covariance:
        S, shrinkage = shrunk(X, means, y)
        inverse = np.asarray(np.linalg.inv(S)) if S.any() else np.eye(1)
    plain = len(inverse) == 1
    weight = means if plain else means @ inverse
    present = counts > 0
    half = 0.5 * (weight * means).sum(axis=1)
    bias = np.where(present, -half, ABSENT)

    rows = np.flatnonzero(counts[y] > 1)
    left_out = np.empty((len(rows), classes))
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        left_out[start : start + _BLOCK] = _without_itself(
            X[part].astype(np.float64), y[part], means, weight, bias, counts, None if plain else inverse, shrinkage, N
        )
    centre = means[present] - means[present].mean(axis=0)
    spread = (centre * (weight[present] - weight[present].mean(axis=0))).sum()
    apart = 2 * float(spread) / max(1, int(present.sum()) - 1)
    head = LinearHead(weight.astype(np.float32), bias.astype(np.float32))
    return Means(head, left_out, y[rows], apart, shrinkage)


def shrunk(X: Floats, means: Doubles, y: Labels) -> tuple[Doubles, float]:
    """The covariance within classes, (D, D), shrunk as Ledoit & Wolf (2004) say, and the share of the sphere in it.

    Args:
        X: (N, D) float32.
        means: (C, D), of the classes.
        y: (N,) int64.
    """
    N, D = X.shape
    S, fourth = np.zeros((D, D)), 0.0
    for start in range(0, N, _BLOCK):
        R = X[start : start + _BLOCK] - means[y[start : start + _BLOCK]]
        S += R.T @ R
        fourth += float(((R**2).sum(axis=1) ** 2).sum())
    S /= N
    size = np.trace(S) / D
    off = float((S**2).sum()) - D * size**2  # the squared distance of S from the sphere
    noise = (fourth / N - float((S**2).sum())) / N  # and how much of it is chance
    share = float(np.clip(noise / off, 0, 1)) if off > 1e-12 * D * size**2 else 1.0
    return (1 - share) * S + share * size * np.eye(D), share


def _without_itself(
    X: Doubles,
    y: Labels,
    means: Doubles,
    weight: Doubles,
    bias: Doubles,
    counts: Doubles,
    inverse: Doubles | None,
    shrinkage: float,
    N: int,
) -> Doubles:
    """(M, C) scores of examples, each left out of its class's mean and of the covariance."""
    n = counts[y][:, None]
    R = X - means[y]
    own = means[y] - R / (n - 1)  # the class mean without the example
    if inverse is None:
        scores = X @ weight.T + bias
        scores[np.arange(len(X)), y] = (own * X).sum(axis=1) - 0.5 * (own**2).sum(axis=1)
        return np.asarray(scores)
    # P_i = P + k u u' / (1 - k r'u), u = P r; then the score is m'P_i x - m'P_i m / 2.
    k = (1 - shrinkage) * n[:, 0] / (n[:, 0] - 1) / N
    U = R @ inverse
    gain = (k / np.maximum(1 - k * (R * U).sum(axis=1), 1e-9))[:, None]
    along = U @ means.T  # (M, C)
    scores = X @ weight.T + bias + gain * (along * (U * X).sum(axis=1)[:, None] - 0.5 * along**2)
    mine = (own * U).sum(axis=1)
    P = own @ inverse
    exact = (P * X).sum(axis=1) - 0.5 * (P * own).sum(axis=1)
    scores[np.arange(len(X)), y] = exact + gain[:, 0] * (mine * (U * X).sum(axis=1) - 0.5 * mine**2)
    return np.asarray(scores)
