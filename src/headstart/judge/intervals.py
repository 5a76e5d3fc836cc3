"""Intervals: how far a score, or the difference of two routes, could be from the truth.

Everywhere: `correct` is (S, N), bool or float, S seeds by N test examples; `labels` is (N,) int; `metric` is `accuracy`
or `balanced_accuracy`. Both metrics are weighted means over examples, with weights fixed by the class counts of the
test set. How well the intervals keep their word is measured by `benchmarks/judge_simulation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Correct = NDArray[np.bool_] | NDArray[np.floating]

RESAMPLES = 10_000
# Share of luck that is not counted as uncertainty of the seeds' variance. Between 0 (intervals too wide where seeds
# hardly differ) and 1 (too narrow where they do); set by simulation.
LUCK = 0.25


class Estimate(NamedTuple):
    """An interval with what it was made from.

    Args:
        estimate: the observed value, a fraction.
        low: lower end.
        high: upper end.
        standard_error: of the estimate.
        critical: the interval reaches this many standard errors either way.
        n_effective: examples, or for balanced accuracy the number of balanced ones that would say as much.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    critical: float
    n_effective: float


def class_weights(labels: NDArray[np.integer], metric: str) -> dict[int, float]:
    """What each class that occurs counts in the metric; the weights sum to one.

    Raises:
        ValueError: the metric is neither `accuracy` nor `balanced_accuracy`.
    """
    classes, counts = np.unique(labels, return_counts=True)
    if metric == "accuracy":
        weights = counts / counts.sum()
    elif metric == "balanced_accuracy":
        weights = np.full(len(classes), 1 / len(classes))
    else:
        raise ValueError(f"metric must be accuracy or balanced_accuracy, not {metric!r}")
    return {int(c): float(w) for c, w in zip(classes, weights, strict=True)}


def score_interval(
    correct: Correct,
    labels: NDArray[np.integer],
    metric: str,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Estimate, low, high of one route's score: :func:`paired_interval` without a partner.

    The imaginary examples are two right and two wrong ones, as in Agresti & Coull, "Approximate Is Better than Exact"
    (1998), so that a route that is never wrong is not said to be perfect.
    """
    return bootstrap([correct], labels, metric, confidence=confidence, resamples=resamples, seed=seed)[:3]


def paired_interval(
    transfer_correct: Correct,
    baseline_correct: Correct,
    labels: NDArray[np.integer],
    metric: str,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Estimate, low, high of transfer minus baseline on the same examples: a paired, class-stratified bootstrap.

    1. Each example's value is how often transfer is right on it minus how often the baseline is, over their seeds.
    2. Each class is resampled by itself. Its pool holds, beside its examples, its share (its weight in the metric) of
       two imaginary ones, one won by transfer and one by the baseline, as large as a typical disagreement (1 if there
       is none). Without them two routes that never disagreed would have an interval of no width; with them it is about
       the rule of three. For one seed and one class this is nearly the interval of Bonett & Price, "Adjusted Wald
       Confidence Interval for a Difference of Binomial Proportions Based on Paired Data" (2012).
    3. The interval is the symmetric bootstrap-t (Hall, "On Symmetric Bootstrap Confidence Intervals", 1988): the
       `confidence` quantile of |resampled mean - mean| / resampled standard error, but no less than Student's t, times
       the standard error. Variances within a class of n are multiplied by n / (n - 1), which the plain bootstrap
       forgets.
    4. Three or five seeds are too few to resample. What they add to the variance is estimated by analysis of variance
       and the interval is widened by Student's t with Satterthwaite's degrees of freedom. The seeds of one route have
       nothing to do with those of the other. With one seed the interval is about that very model.

    Args:
        transfer_correct: (S1, N).
        baseline_correct: (S2, N).
        labels: (N,).
        metric: `accuracy` or `balanced_accuracy`.
        confidence: probability that the interval covers the truth.
        resamples: how many.
        seed: of the resampling.
    """
    routes = [transfer_correct, baseline_correct]
    return bootstrap(routes, labels, metric, confidence=confidence, resamples=resamples, seed=seed)[:3]


def bootstrap(
    routes: Sequence[Correct],
    labels: NDArray[np.integer],
    metric: str,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """What :func:`score_interval` (one route) and :func:`paired_interval` (two routes) share and explain."""
    from scipy.stats import t as student

    correct = [np.atleast_2d(np.asarray(route, dtype=np.float64)) for route in routes]
    weights = class_weights(labels, metric)
    exact = correct[0].mean(axis=0) - sum(route.mean(axis=0) for route in correct[1:])
    # Rounded so that equal values meet in one cell, whatever the order of the additions.
    values = np.round(exact, 9)
    imaginary = _imaginary(values, paired=len(routes) == 2)
    rng = np.random.default_rng(seed)

    estimate = centre = variance = 0.0
    deviations, variances = np.zeros(resamples), np.zeros(resamples)
    for c, weight in weights.items():
        own = values[labels == c]
        n = len(own)
        # One example says nothing about its class's spread: lend it that of the whole test set.
        pool = values if n == 1 else own
        # The distinct values are few (multiples of 1/S), so a resample is a draw of how often each occurs: neither
        # memory nor time grows with N.
        cells, cell_of = np.unique(np.concatenate([pool, imaginary]), return_inverse=True)
        real = np.bincount(cell_of[: len(pool)], minlength=len(cells)) * (n / len(pool))
        added = np.bincount(cell_of[len(pool) :], minlength=len(cells)) * weight
        total = n + added.sum()
        share = (real + added) / total
        mean = float(share @ cells)
        # Variance of the class's part: n - 1 mends the bootstrap's bias, n / total is the pull of the imaginary ones.
        factor = weight**2 * (n / total) ** 2 / max(n - 1, 1)
        variance += factor * float(share @ cells**2 - mean**2)
        score = float(exact[labels == c].mean())
        estimate += weight * score
        centre += weight * (mean if n > 1 else score)

        counts = rng.multinomial(n, share, size=resamples)
        deviations += weight * (n / total) * (counts @ cells / n - mean)
        shares = (counts + added) / total
        variances += factor * (shares @ cells**2 - (shares @ cells) ** 2)

    upper = 0.5 + confidence / 2
    freedom = max(1, len(labels) - len(weights))
    # Right and wrong are whole numbers, so the bootstrap's quantile comes in steps; Student's is the least it may be.
    critical = max(
        float(np.quantile(np.abs(deviations) / np.sqrt(variances), confidence)), float(student.ppf(upper, freedom))
    )
    between, uncertainty = _seed_variance(correct, labels, weights)
    if uncertainty > 0:
        whole = max(variance + between, variance / 2)
        with_seeds = whole**2 / (variance**2 / freedom + uncertainty)
        # What luck explains was taken off, so that the sum may be smaller than its parts; of parts that add up it would
        # have no fewer degrees of freedom than the part with the fewest.
        with_seeds = max(with_seeds, min(len(route) for route in correct if len(route) > 1) - 1)
        critical *= float(student.ppf(upper, with_seeds) / student.ppf(upper, freedom))
        variance = whole
    reach = critical * math.sqrt(variance)
    return Estimate(
        estimate,
        min(max(centre - reach, -1.0 if len(routes) == 2 else 0.0), estimate),
        max(min(centre + reach, 1.0), estimate),
        math.sqrt(variance),
        critical,
        1 / sum(w**2 / int(np.sum(labels == c)) for c, w in weights.items()),
    )


def _imaginary(values: NDArray[np.float64], *, paired: bool) -> NDArray[np.float64]:
    """The values of the imaginary examples: as large as is typical (root mean square) of those that are not 0.

    A single route's are counted from 1, so that what is typical is the size of its errors.
    """
    values = values if paired else 1 - values
    found = values[values != 0]
    size = float(np.sqrt(np.mean(found**2))) if len(found) else 1.0
    return np.array([-size, size]) if paired else np.array([1 - size, 1 - size, 1.0, 1.0])


def _seed_variance(
    correct: Sequence[NDArray[np.float64]], labels: NDArray[np.integer], weights: dict[int, float]
) -> tuple[float, float]:
    """What the seeds add to the variance of the routes' mean scores, and Satterthwaite's term for its uncertainty.

    Scores of S seeds on the same examples differ because the seeds differ and because each example's luck does. The
    latter is in the examples' part already and is taken off, so what is added may come out below zero.
    """
    added = uncertainty = 0.0
    for route in correct:
        seeds = len(route)
        if seeds == 1:
            continue
        scores = np.zeros(seeds)
        luck = 0.0
        for c, weight in weights.items():
            own = route[:, labels == c]
            scores += weight * own.mean(axis=1)
            luck += weight**2 * float(own.var(axis=0, ddof=1).mean()) / own.shape[1]
        observed = float(scores.var(ddof=1))
        added += (observed - luck) / seeds
        uncertainty += ((observed - LUCK * min(luck, observed)) / seeds) ** 2 / (seeds - 1)
    return added, uncertainty


def mean_score(correct: Correct, labels: NDArray[np.integer], metric: str) -> float:
    """The metric, mean over the seeds of `correct` (S, N)."""
    right = np.atleast_2d(correct).mean(axis=0)
    return float(sum(w * right[labels == c].mean() for c, w in class_weights(labels, metric).items()))


def corrected_resampled_t(
    differences: NDArray[np.floating], n_train: float, n_test: float, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Nadeau & Bengio's interval for the mean of differences from repeated cross-fitting.

    The J differences share training examples, so that their spread says too little. The corrected variance of the
    mean is (1/J + n_test/n_train) s^2, with J - 1 degrees of freedom: Nadeau & Bengio, "Inference for the
    Generalization Error" (2003), section 4.

    Args:
        differences: (J,) transfer minus baseline, one per fold and repeat; J = repeats x folds.
        n_train: examples learned from in each.
        n_test: examples judged on in each.
        confidence: e.g. 0.95.

    Returns:
        Estimate, low, high. With J = 1 nothing is known: minus infinity to infinity.
    """
    return resampled_t(differences, n_test / n_train, n_train + n_test, confidence=confidence)[:3]


def resampled_t(
    differences: NDArray[np.floating],
    correction: float,
    n: float,
    *,
    confidence: float = 0.95,
    least_variance: float = 0.0,
    freedom: float | None = None,
) -> Estimate:
    """Student's interval for the mean of J differences, where that has the variance (1/J + correction) s^2.

    Args:
        differences: (J,).
        correction: n_test / n_train for repeated cross-fitting; for few-shot draws see :func:`draws_t`.
        n: examples that they say as much as.
        confidence: e.g. 0.95.
        least_variance: s^2 is taken to be so much at least.
        freedom: degrees of freedom; None: J - 1.

    Returns:
        With J = 1 nothing is known: minus infinity to infinity.
    """
    from scipy.stats import t as student

    differences = np.asarray(differences, dtype=np.float64)
    count, estimate = len(differences), float(np.mean(differences))
    if count < 2:
        return Estimate(estimate, -math.inf, math.inf, math.inf, 1.0, n)
    variance = max(float(differences.var(ddof=1)), least_variance)
    error = math.sqrt((1 / count + correction) * variance)
    critical = float(student.ppf(0.5 + confidence / 2, freedom or count - 1))
    return Estimate(estimate, estimate - critical * error, estimate + critical * error, error, critical, n)


def draws_t(
    differences: NDArray[np.floating],
    share: float,
    n: float,
    *,
    confidence: float = 0.95,
    least_variance: float = 0.0,
) -> Estimate:
    """Student's interval for the mean over few-shot draws: judged on different examples, but they may share labels.

    The part of a draw's variance that comes from its labels is common to two draws at most as far as the labels are:
    Cov <= share Var, with equality where it is a sum over labels (Hoeffding, "A Class of Statistics with Asymptotically
    Normal Distribution", 1948). Were all variance from labels, the mean of J draws would have the variance
    (1/J + share / (1 - share)) E s^2, and s^2 about (1 - share) (J - 1) degrees of freedom: exactly so many where
    labels are dealt from shuffled decks of whole hands. Other variance is not shared, so intervals are rather too wide.
    Without shared labels it is Student's paired t.

    Args:
        differences: (J,) one per draw.
        share: mean share of its labels that a draw has in common with another, 0 to below 1.
        n: judged examples, all draws together.
        confidence: e.g. 0.95.
        least_variance: s^2 is taken to be so much at least.
    """
    return resampled_t(
        differences,
        share / (1 - share),
        n,
        confidence=confidence,
        least_variance=least_variance,
        freedom=max(1.0, (1 - share) * (len(differences) - 1)),
    )


def wilson(k: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion k/n. Wilson, "Probable Inference" (1927).

    Raises:
        ValueError: n is zero, or k is not in 0..n.
    """
    from scipy.stats import norm

    if n <= 0 or not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n and n > 0, found k = {k}, n = {n}")
    z2 = float(norm.ppf(0.5 + confidence / 2)) ** 2
    centre = (k + z2 / 2) / (n + z2)
    reach = math.sqrt(z2 * (k * (n - k) / n + z2 / 4)) / (n + z2)
    return max(0.0, centre - reach), min(1.0, centre + reach)
