"""LogME: how probable the labels are under the best Bayesian linear model on the features."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from headstart.score.spectrum import Floats, labelled, spectrum

SMALLEST, LARGEST = 1e-10, 1e8  # of alpha / beta, in units of the largest eigenvalue of X'X
_STEP = 0.5  # of the first search, in natural logarithms
_GOLDEN = (math.sqrt(5) - 1) / 2
_HALVINGS = 45  # a bracket of 2 steps shrinks to 1e-9


def logme(features: ArrayLike, labels: ArrayLike) -> float:
    r"""Logarithm of maximum evidence (You et al. 2021, "LogME: practical assessment of pre-trained models").

    For each class the labels y in {0, 1}^N are modelled as y = Xw + e with w ~ N(0, I / alpha), e ~ N(0, I / beta),
    so that y ~ N(0, C) with C = I / beta + XX' / alpha. The score is max over alpha and beta of log p(y) / N, averaged
    over classes. Nothing is centred, as in the paper.

    With t = alpha / beta and the eigenvalues v of XX', the best beta at a given t is N / q(t), where
    q(t) = y'(I + XX' / t)^-1 y, and what is left is one maximisation over t:

        log p(y) / N = -1/2 [log(2 pi q(t) / N) + sum_j log(1 + v_j / t) / N + 1].

    It is done by a grid and golden sections, so that it neither depends on a starting point nor stops at a local
    maximum, as the fixed-point iteration of the paper may. Only the r <= min(N, D) positive eigenvalues matter: with
    fewer examples than features the evidence is that of N numbers, not of D. (Code that sums over all D axes of a full
    eigenbasis but keeps N of them ranks noise above signal there.) t stays within 1e-10 and 1e8 of the largest
    eigenvalue: labels that fit exactly would otherwise have unbounded evidence.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers.

    Returns:
        Nats per example; larger transfers better. Unchanged by rotations and common scaling of the features, by the
        order of examples and by the names of classes.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    known = spectrum(data.X, data.one_hot())
    N, v = len(data.X), known.values
    if not len(v):  # features that are all zero
        return float(_evidence(data.sizes, np.zeros(1), N).mean())
    squares = known.projections**2
    rest = np.maximum(data.sizes - squares.sum(axis=0), 0.0)  # what no combination of features explains

    def at(log_t: Floats) -> Floats:
        """(K,) or, for the first search, (G, 1) -> (G, K): log evidence over N."""
        t = np.exp(log_t)
        if log_t.ndim == 2:
            q = rest + (t / (t + v)) @ squares
            return _evidence(q, np.log1p(v / t).sum(axis=1, keepdims=True), N)
        q = rest + (t / (t + v[:, None]) * squares).sum(axis=0)
        return _evidence(q, np.log1p(v[:, None] / t).sum(axis=0), N)

    top = float(np.log(v[-1]))
    grid = np.arange(top + math.log(SMALLEST), top + math.log(LARGEST) + _STEP, _STEP)
    best = grid[at(grid[:, None]).argmax(axis=0)]
    low, high = np.maximum(best - _STEP, grid[0]), np.minimum(best + _STEP, grid[-1])
    for _ in range(_HALVINGS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        lower = at(left) > at(right)
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    return float(at((low + high) / 2).mean())


def _evidence(q: Floats, determinant: Floats, N: int) -> Floats:
    evidence: Floats = -0.5 * (np.log(2 * math.pi * q / N) + determinant / N + 1)
    return evidence
