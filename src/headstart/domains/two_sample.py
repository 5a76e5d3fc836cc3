"""Do two samples come from one distribution? What moved, and which examples show it. Pure functions on features.

Everywhere A is (N, D), the source domain, and B is (M, D), the target domain, in one feature space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.score.ridge import SINGLE, SMALL, standardise

Floats = NDArray[np.float64]
Features = NDArray[np.float32]

FOLDS = 5
PERMUTATIONS = 500
FREEDOM = 0.15
"""Degrees of freedom of the domain classifier, as a share of the examples. It must not look at who is who."""


@dataclass(frozen=True)
class Told:
    """How well a classifier tells two domains apart.

    Args:
        auc: the probability that it puts a target example above a source example; 0.5: it cannot tell them.
        low: lower end of the 95 % interval of `auc`.
        high: upper end.
        accuracy: mean of the shares of both domains that it names right.
        p_value: of the permutation test that there is nothing to tell.
        source: (N,) scores of the source's examples by a classifier that was not trained on them; higher means more
            like the target.
        target: (M,) likewise.
    """

    auc: float
    low: float
    high: float
    accuracy: float
    p_value: float
    source: Floats
    target: Floats


def classifier_test(A: Features, B: Features, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Told:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017), with a linear classifier and a permutation p-value.

    A ridge classifier is fitted on four of five folds and scores the fifth. With hat matrix H and fold k, the scores of
    the fold by the model fitted without it are y_k - (I - H_kk)^-1 (y - H y)_k, so that permuted domains cost some
    matrix products and no fit. Domains are permuted within folds, and the penalty depends on the features alone: the
    p-value is exact. Its least value is 1 / (permutations + 1).

    The interval is that of DeLong et al. (1988), on the logit scale: it is about classifiers as good as these, fitted
    on so many examples, and not about the best there could be.

    Raises:
        ValueError: a domain has fewer than `FOLDS` examples, or the widths differ.
    """
    n, m = len(A), len(B)
    if min(n, m) < FOLDS or A.shape[1] != B.shape[1]:
        raise ValueError(
            f"two samples of one width and at least {FOLDS} rows are needed, found {A.shape} and {B.shape}"
        )
    rng = np.random.default_rng(seed)
    domain = np.repeat([-1.0, 1.0], [n, m])
    fold = np.concatenate([rng.permutation(np.arange(count) % FOLDS) for count in (n, m)])
    domains = np.tile(domain[:, None], (1, permutations + 1))
    held = [np.flatnonzero(fold == k) for k in range(FOLDS)]
    for rows in held:
        domains[rows, 1:] = rng.permuted(domains[rows, 1:], axis=0)
    scores = _held_out(np.concatenate([A, B]), domains, held)
    found = _aucs(scores, domains > 0)
    mine = scores[:, 0]
    source, target = mine[:n], mine[n:]
    low, high = auc_interval(source, target)
    middle = float(np.median(mine))
    accuracy = float(((source < middle).mean() + (target >= middle).mean()) / 2)
    p_value = float((1 + np.sum(found[1:] >= found[0] - 1e-12)) / (permutations + 1))
    return Told(float(found[0]), low, high, accuracy, p_value, source, target)


def _held_out(X: Features, Y: Floats, folds: list[NDArray[np.int64]]) -> Floats:
    """What each fold would be said to be, (N, P), by ridge regression of targets Y (N, P) on the other folds.

    The offset is free: the hat matrix is H + 1 / N. With fewer examples than features I - H is an N x N inverse; else
    H = W W' with W (N, D) = Z L'^-1 and L L' = Z'Z + penalty I. Where a fold is larger than W is wide, its inverse is
    (I - F F')^-1 = I + F (I - F'F)^-1 F' with F = [W, 1 / sqrt(N)].
    """
    from scipy.linalg import cholesky, solve_triangular

    mean, scale = standardise(X)
    Z = (X - mean) / scale
    gram, penalty = _gram(Z)
    Z, n, scores = Z.astype(gram.dtype, copy=False), len(Z), np.empty_like(Y)
    gram[np.diag_indices(len(gram))] += gram.dtype.type(penalty)
    factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    if n <= Z.shape[1]:
        outside = penalty * _inverse(factor)  # I - H
        residual = outside @ Y - Y.mean(axis=0)
        for rows in folds:
            scores[rows] = Y[rows] - np.linalg.solve(outside[np.ix_(rows, rows)] - 1 / n, residual[rows])
        return scores
    W = solve_triangular(factor, Z.T, lower=True, overwrite_b=True, check_finite=False).T
    residual = Y - W @ (W.T @ Y.astype(W.dtype)) - Y.mean(axis=0)
    for rows in folds:
        F = np.concatenate([W[rows], np.full((len(rows), 1), n**-0.5, W.dtype)], axis=1)
        if len(rows) <= F.shape[1]:
            inverted = np.linalg.solve(np.eye(len(rows)) - F @ F.T, residual[rows])
        else:
            inverted = residual[rows] + F @ np.linalg.solve(np.eye(F.shape[1]) - F.T @ F, F.T @ residual[rows])
        scores[rows] = Y[rows] - inverted
    return scores


def _gram(Z: Features) -> tuple[NDArray[Any], float]:
    """The smaller Gram matrix, and the penalty with `FREEDOM` degrees of freedom for each example, by eigenvalues.

    The matrix is in float32 where the penalty is so large that rounding does not matter.
    """
    from scipy.linalg import eigvalsh

    for dtype in (np.float32, np.float64) if min(Z.shape) > SMALL else (np.float64,):
        rows: NDArray[Any] = Z.astype(dtype, copy=False)
        gram: NDArray[Any] = rows @ rows.T if len(Z) <= Z.shape[1] else rows.T @ rows
        values = np.maximum(eigvalsh(gram, check_finite=False).astype(np.float64), 0.0)
        penalty = _penalty(values, len(Z))
        if penalty > SINGLE * float(values[-1]):
            break
    return gram, penalty


def _penalty(values: Floats, examples: int) -> float:
    wanted = min(max(1.0, FREEDOM * examples), 0.9 * float((values > 1e-9 * max(values[-1], 1e-300)).sum()))
    low, high = -30.0, 30.0  # of log penalty, relative to the largest value
    for _ in range(60):
        middle = (low + high) / 2
        freedom = float((values / (values + values[-1] * math.exp(middle) + 1e-300)).sum())
        low, high = (middle, high) if freedom > wanted else (low, middle)
    return float(values[-1]) * math.exp(low) + 1e-300


def _inverse(factor: NDArray[Any]) -> NDArray[Any]:
    """(L L')^-1 of a lower triangle L, which is lost."""
    from scipy.linalg import lapack

    potri = lapack.spotri if factor.dtype == np.float32 else lapack.dpotri
    lower = np.tril(potri(factor, lower=1, overwrite_c=1)[0])
    return np.asarray(lower + np.tril(lower, -1).T)


def _aucs(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """The area under the ROC curve of each column; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    above = positive.sum(axis=0)
    total = np.where(positive, ranks, 0.0).sum(axis=0)
    areas: Floats = (total - above * (above + 1) / 2) / (above * (len(scores) - above))
    return areas


def auc(negative: Floats, positive: Floats) -> float:
    """The probability that a positive stands above a negative; ties count half."""
    scores = np.concatenate([negative, positive])[:, None]
    return float(_aucs(scores, np.arange(len(scores))[:, None] >= len(negative))[0])


def auc_interval(negative: Floats, positive: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """DeLong's interval for the probability that a positive stands above a negative, on the logit scale.

    Where all stand above, its variance would be nil; it is then that of one pair that does not.
    """
    from scipy.stats import norm, rankdata

    n, m = len(negative), len(positive)
    ranks = rankdata(np.concatenate([negative, positive]))
    of_positive = (ranks[n:] - rankdata(positive)) / n  # share of negatives below each
    of_negative = 1 - (ranks[:n] - rankdata(negative)) / m
    auc = float(of_positive.mean())
    variance = float(of_positive.var(ddof=1) / m + of_negative.var(ddof=1) / n)
    least = 1 / (2 * n * m)
    auc = min(max(auc, least), 1 - least)
    variance = max(variance, auc * (1 - auc) / (min(n, m) ** 2))
    logit, reach = math.log(auc / (1 - auc)), norm.ppf(0.5 + confidence / 2) * math.sqrt(variance) / (auc * (1 - auc))
    low, high = (1 / (1 + math.exp(-min(max(v, -30), 30))) for v in (logit - reach, logit + reach))
    return low, high


@dataclass(frozen=True)
class Discrepancy:
    """Maximum mean discrepancy: its unbiased square, its p-value, and the width of the kernel."""

    squared: float
    p_value: float
    width: float


def mmd(A: Features, B: Features, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Discrepancy:
    """Maximum mean discrepancy with a Gaussian kernel (Gretton et al. 2012), its width the median distance.

    The estimate of its square is unbiased, so it may be below zero; the p-value is exact, by permutation.
    """
    n, m = len(A), len(B)
    mean, scale = standardise(np.concatenate([A, B]))
    Z = ((np.concatenate([A, B]) - mean) / scale).astype(np.float64)
    distances = squared_distances(Z, Z)
    width = math.sqrt(max(float(np.median(distances[np.triu_indices(len(Z), 1)])), 1e-12))
    K = np.exp(-distances / (2 * width**2))
    np.fill_diagonal(K, 0.0)
    rng = np.random.default_rng(seed)
    inside = np.zeros((n + m, permutations + 1))
    inside[:n] = 1.0
    inside[:, 1:] = rng.permuted(inside[:, 1:], axis=0)
    product = K @ inside
    both, mine = (inside * product).sum(axis=0), inside.T @ K.sum(axis=1)
    across, theirs = mine - both, float(K.sum()) - 2 * mine + both
    found = both / (n * (n - 1)) + theirs / (m * (m - 1)) - 2 * across / (n * m)
    p_value = float((1 + np.sum(found[1:] >= found[0] - 1e-15)) / (permutations + 1))
    return Discrepancy(float(found[0]), p_value, width)


def squared_distances(X: NDArray[np.floating], Y: NDArray[np.floating]) -> NDArray[Any]:
    """(N, M) squared Euclidean distances, in the precision of X and Y."""
    squared: NDArray[Any] = X @ Y.T
    squared *= -2
    squared += np.einsum("ij,ij->i", X, X)[:, None]
    squared += np.einsum("ij,ij->i", Y, Y)
    np.maximum(squared, 0.0, out=squared)
    return squared


@dataclass(frozen=True)
class Moved:
    """How single features moved.

    Args:
        difference: (D,) mean of the target minus mean of the source, in pooled standard deviations within domains.
        adjusted: (D,) p-value of the rank-sum test, adjusted for the number of features (Benjamini & Hochberg 1995).
    """

    difference: Floats
    adjusted: Floats


def features_moved(A: Features, B: Features) -> Moved:
    """Which features are distributed otherwise in the two domains: a rank-sum test of each (Mann & Whitney 1947)."""
    from scipy.stats import false_discovery_control, mannwhitneyu

    spread = np.sqrt((A.astype(np.float64).var(axis=0, ddof=1) + B.astype(np.float64).var(axis=0, ddof=1)) / 2)
    difference = (B.mean(axis=0, dtype=np.float64) - A.mean(axis=0, dtype=np.float64)) / np.maximum(spread, 1e-12)
    constant = np.ptp(np.concatenate([A, B]), axis=0) == 0
    p = np.ones(A.shape[1])
    if not constant.all():
        p[~constant] = mannwhitneyu(A[:, ~constant], B[:, ~constant], axis=0, method="asymptotic").pvalue
    return Moved(np.where(constant, 0.0, difference), false_discovery_control(np.clip(p, 0, 1)))


def in_the_plane(A: Features, B: Features, told: Told) -> tuple[Floats, Floats]:
    """(N, 2) and (M, 2): both domains in one picture.

    Across: what tells the domains apart, as :func:`classifier_test` scored examples that it was not fitted on; with
    more features than examples a fitted direction would part any two samples. Up: the first principal component of
    what is left when the features' correlation with that is taken away.
    """
    Z = np.concatenate([A, B]).astype(np.float64)
    mean, scale = standardise(np.concatenate([A, B]))
    Z = (Z - mean) / scale
    across = np.concatenate([told.source, told.target])
    centred = across - across.mean()
    rest = Z - np.outer(centred, (centred @ Z) / max(float(centred @ centred), 1e-12))
    values, Q = np.linalg.eigh(rest @ rest.T)
    up = Q[:, -1] * math.sqrt(max(float(values[-1]), 0.0))
    if up[np.abs(up).argmax()] < 0:  # the sign of an eigenvector means nothing, so it is always chosen alike
        up = -up
    plane = np.stack([across, up], axis=1)
    return plane[: len(A)], plane[len(A) :]
