"""The label curve: how the finalists' errors fall with the number of labels, and what more labels would give.

Error against labels follows a power law with a floor in very many settings, err(n) = a n^-b + c: Cortes et al.,
"Learning Curves: Asymptotic Values and Rate of Convergence" (1993); Hestness et al., "Deep Learning Scaling Is
Predictable, Empirically" (2017). Fitted to a few points of a few hundred test examples it is uncertain, so everything
that is read off it comes with an interval, and nothing is read off it far outside of what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.judge.evidence import CurveFit, CurveLine, CurvePoint, LabelCurve, LabelsNeeded, MoreLabels, Side
from headstart.judge.intervals import class_weights, score_interval

Floats = NDArray[np.float64]

RESAMPLES = 1_000
REACH = 10.0  # times the labels there are: as far as a crossing is looked for
LEAST_POINTS = 3  # numbers of labels that a power law is fitted to
LEAST_ERRORS = 5  # on the sealed test, at all labels
MISFIT = 3.5  # standard errors: a point this far off the curve says that it is none
LINE = 24  # numbers of labels at which the fitted curve is written down
EXPONENTS = np.geomspace(0.05, 2.0, 60)
WORDS: dict[Side, str] = {"transfer": "transfer", "baseline": "the baseline"}
OTHER: dict[Side, Side] = {"transfer": "baseline", "baseline": "transfer"}


@dataclass(frozen=True)
class Measured:
    """A finalist trained with some of the labels, once for each seed, and judged on the sealed examples.

    Args:
        labels: how many it was trained on.
        correct: (S, N) bool, which seed is right on which sealed example. Each seed draws its own labels.
        validation: its score on labelled examples that it was not trained on; None where there are none.
    """

    labels: int
    correct: NDArray[np.bool_]
    validation: float | None = None


class PowerLaw(NamedTuple):
    """err(n) = scale n^-exponent + floor. Each is a number, or (R,): one for each resample."""

    scale: Floats
    exponent: Floats
    floor: Floats

    def error(self, labels: float) -> Floats:
        """The error with so many labels."""
        return np.asarray(self.scale * labels**-self.exponent + self.floor)

    def labels(self, error: Floats | float) -> Floats:
        """The labels at which the error has come down to `error`; infinity where it never does."""
        above = np.asarray(error - self.floor, dtype=np.float64)
        able = (above > 0) & (self.scale > 0)
        with np.errstate(over="ignore"):
            needed = (self.scale / np.where(able, above, 1.0)) ** (1 / self.exponent)
        return np.where(able, needed, np.inf)


def fit_power_law(labels: Floats, errors: Floats, variances: Floats) -> PowerLaw:
    """The power law with a >= 0, c >= 0 and b in [0.05, 2] that has the least weighted squares.

    For a given exponent the law is linear in scale and floor, so each of a grid of exponents is solved exactly, and
    the best is taken.

    Args:
        labels: (K,) numbers of labels.
        errors: (..., K) errors with so many.
        variances: (K,) of the errors; their inverses are the weights.

    Returns:
        A law for each row of errors.
    """
    weights = 1 / variances
    powers = labels ** -EXPONENTS[:, None]  # (B, K)
    total, weighted = weights.sum(), powers @ weights
    squares = powers**2 @ weights
    mean, product = errors @ weights, errors @ (weights * powers).T  # (...), (..., B)
    determinant = total * squares - weighted**2
    scale = (total * product - weighted * mean[..., None]) / determinant
    floor = (squares * mean[..., None] - weighted * product) / determinant
    # Where one of the two would be below zero it is zero, and the other is solved for alone.
    scale = np.where(floor < 0, product / squares, scale)
    floor = np.where(scale < 0, mean[..., None] / total, np.maximum(floor, 0.0))
    scale = np.maximum(scale, 0.0)
    fitted = scale[..., None] * powers + floor[..., None]
    loss = ((errors[..., None, :] - fitted) ** 2 @ weights) + 0.0
    best = np.argmin(loss, axis=-1)[..., None]
    return PowerLaw(
        np.take_along_axis(scale, best, -1)[..., 0],
        EXPONENTS[best[..., 0]],
        np.take_along_axis(floor, best, -1)[..., 0],
    )


def label_curve(
    measured: Mapping[Side, Sequence[Measured]],
    labels: NDArray[np.integer],
    metric: str,
    shipped: Side,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LabelCurve:
    """What labels are worth to both finalists. It is read out after everything was chosen, and chooses nothing.

    Intervals are percentiles of a bootstrap: the sealed examples are resampled within their classes, alike for all
    points of both sides, and the seeds of each point; of n one draws n - 1, so that the variance is right for few (Rao
    and Wu, "Resampling Inference With Complex Survey Data", 1988). A side with a point of one seed is not fitted: the
    luck of which labels were drawn would be left out.

    Args:
        measured: for each side its points, at two or more numbers of labels; the last is all of them.
        labels: (N,) of the sealed examples.
        metric: `accuracy` or `balanced_accuracy`.
        shipped: which side's gain from more labels is asked for.
        confidence: of the intervals.
        resamples: how many.
        seed: of the resampling.
    """
    points, curves = [], {}
    for side, rows in measured.items():
        rows = sorted(rows, key=lambda row: row.labels)
        for row in rows:
            score, low, high = score_interval(
                row.correct, labels, metric, confidence=confidence, resamples=resamples, seed=seed
            )
            points.append(
                CurvePoint(
                    labels=row.labels,
                    side=side,
                    score=score,
                    low=low,
                    high=high,
                    seeds=len(row.correct),
                    validation_score=row.validation,
                )
            )
        curves[side] = rows
    draws = _resampled(curves, labels, metric, resamples, seed)
    tail = 50 * (1 - confidence)
    percentiles = [tail, 100 - tail]
    found = LabelCurve(points=points)
    laws: dict[Side, _Fitted] = {}
    for side, rows in curves.items():
        fitted, why = _fitted(rows, draws[side], labels)
        if fitted is None:
            found.notes.append(f"For {WORDS[side]} nothing can be foretold: {why}.")
        else:
            laws[side] = fitted
            found.fits.append(_fit(side, rows, fitted, percentiles))
    full = max(row.labels for rows in curves.values() for row in rows)
    if len(curves) == 2:
        _match(found, curves, draws, laws, percentiles, confidence)
    if shipped in laws:
        found.more = _more(shipped, laws[shipped], full, percentiles)
        found.sentences.insert(1 if found.needed else 0, _more_words(found.more, confidence))
    return found


def _match(
    found: LabelCurve,
    curves: Mapping[Side, Sequence[Measured]],
    draws: Mapping[Side, Drawn],
    laws: Mapping[Side, _Fitted],
    percentiles: Sequence[float],
    confidence: float,
) -> None:
    """Say with how many labels one side would match the other."""
    end = {side: np.append(draws[side][0][-1], draws[side][1][:, -1]) for side in curves}  # the estimate first
    behind: Side = "baseline" if end["transfer"][0] <= end["baseline"][0] else "transfer"
    ahead, full = OTHER[behind], curves[behind][-1].labels
    if np.percentile(end[behind][1:] - end[ahead][1:], percentiles[0]) <= 0:
        found.notes.append(
            f"With {_count(full)} labels the two cannot be told apart, so how many labels one would need to match the "
            "other is not said."
        )
        return
    if behind in laws:
        found.needed = _needed(behind, laws[behind], end[ahead], REACH * full, percentiles)
        found.sentences.append(_needed_words(found.needed, full, confidence))
    fewest = curves[ahead][0]
    lead = end[behind][1:] - draws[ahead][1][:, 0]
    low, high = np.percentile(lead, percentiles)
    if fewest.labels < full and len(fewest.correct) > 1 and low > 0:
        found.sentences.append(
            f"{WORDS[ahead].capitalize()} with {_count(fewest.labels)} labels is already better than {WORDS[behind]} "
            f"with {_count(full)}: {100 * (end[behind][0] - draws[ahead][0][0]):+.1f} points "
            f"({100 * confidence:g} % interval {100 * low:+.1f} to {100 * high:+.1f})."
        )
    elif ahead in laws:
        found.suffices = _needed(ahead, laws[ahead], end[behind], full, percentiles)
        found.sentences += _suffices_words(found.suffices, full, confidence)


Drawn = tuple[Floats, Floats]
"""Errors (K,) at each number of labels, and (R, K) in each resample."""


def _resampled(
    curves: Mapping[Side, Sequence[Measured]], labels: NDArray[np.integer], metric: str, resamples: int, seed: int
) -> dict[Side, Drawn]:
    """The errors of all points, as measured and in resamples that all points share."""
    rng = np.random.default_rng(seed)
    weights = class_weights(labels, metric)
    wrong = {side: [~np.asarray(row.correct, dtype=bool) for row in rows] for side, rows in curves.items()}
    fixed = np.zeros(len(labels))
    for c, weight in weights.items():
        fixed[labels == c] = weight / np.sum(labels == c)
    drawn: dict[Side, list[Floats]] = {side: [np.empty(resamples) for _ in rows] for side, rows in curves.items()}
    chunk = max(1, int(4e6 // len(labels)))  # about 32 MB of weights at once
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = np.empty((size, len(labels)))
        for c, weight in weights.items():
            own = np.flatnonzero(labels == c)
            n = max(1, len(own) - 1)
            counts[:, own] = rng.multinomial(n, np.full(len(own), 1 / len(own)), size=size) * (weight / n)
        for side, rows in wrong.items():
            # A seed's draws of labels are nested, so that a lucky one is lucky at every point: drawn alike for all.
            of_seeds = {}
            for n in sorted({len(row) for row in rows}):
                of_seeds[n] = rng.multinomial(max(1, n - 1), np.full(n, 1 / n), size=size) / max(1, n - 1)
            for k, row in enumerate(rows):
                errors = counts @ row.T.astype(np.float64)  # (size, S)
                drawn[side][k][start : start + size] = (errors * of_seeds[len(row)]).sum(axis=1)
    return {
        side: (np.array([float((row @ fixed).mean()) for row in rows]), np.stack(drawn[side], axis=1))
        for side, rows in wrong.items()
    }


class _Fitted(NamedTuple):
    """The law of the errors as measured, and those of the resamples (R,)."""

    law: PowerLaw
    resampled: PowerLaw


def _fitted(rows: Sequence[Measured], drawn: Drawn, labels: NDArray[np.integer]) -> tuple[_Fitted | None, str]:
    """The power law of one side; or None and why the data carry none."""
    errors, resampled = drawn
    numbers = np.array([row.labels for row in rows], dtype=np.float64)
    if len(rows) < LEAST_POINTS:
        return None, f"it was measured at fewer than {LEAST_POINTS} numbers of labels"
    if any(len(row.correct) == 1 for row in rows[:-1]):
        return None, "it was trained once for some number of labels, so the luck of that draw is not known"
    mistakes = float((~rows[-1].correct).sum(axis=1).mean())
    if mistakes < LEAST_ERRORS:
        return None, f"with all labels it makes {mistakes:.2g} errors on the sealed test, too few to measure"
    if np.percentile(resampled[:, 0] - resampled[:, -1], 2.5) <= 0:
        return None, f"with {_count(numbers[-1])} labels it is not better than with {_count(numbers[0])}, beyond chance"
    # No error is known better than a quarter of an example.
    variances = np.maximum(resampled.var(axis=0, ddof=1), (0.25 / len(labels)) ** 2)
    law = fit_power_law(numbers, errors, variances)
    fitted = np.array([float(law.error(n)) for n in numbers])
    if np.any(np.abs(errors - fitted) > MISFIT * np.sqrt(variances)):
        return None, "its errors do not fall along a power law"
    return _Fitted(law, fit_power_law(numbers, resampled, variances)), ""


def _fit(side: Side, rows: Sequence[Measured], found: _Fitted, percentiles: Sequence[float]) -> CurveFit:
    """A fit as evidence, with its curve from the fewest labels to twice as many as there are."""
    line = []
    for n in np.unique(np.round(np.geomspace(rows[0].labels, 2 * rows[-1].labels, LINE))):
        score = 1 - float(found.law.error(n))
        high, low = (1 - float(v) for v in np.percentile(found.resampled.error(n), percentiles))
        line.append(CurveLine(labels=int(n), score=score, low=min(low, score), high=max(high, score)))
    low, high = (float(v) for v in np.percentile(found.resampled.exponent, percentiles))
    law = found.law
    return CurveFit(
        side=side,
        scale=float(law.scale),
        exponent=float(law.exponent),
        exponent_low=low,
        exponent_high=high,
        floor=float(law.floor),
        line=line,
    )


def _needed(side: Side, found: _Fitted, goal: Floats, reach: float, percentiles: Sequence[float]) -> LabelsNeeded:
    """The labels at which a side's error comes down to `goal`: the estimate, then one for each resample."""
    # By rank, because infinities cannot be interpolated.
    low, high = np.percentile(found.resampled.labels(goal[1:]), percentiles, method="nearest")
    estimate = float(found.law.labels(goal[0]))
    return LabelsNeeded(
        side=side,
        score=1 - float(goal[0]),
        labels=_whole(estimate, reach),
        low=_whole(low, reach),
        high=_whole(high, reach),
        reach=round(reach),
    )


def _whole(labels: float, reach: float) -> int | None:
    return math.ceil(labels) if labels <= reach else None


def _more(side: Side, found: _Fitted, full: int, percentiles: Sequence[float]) -> MoreLabels:
    """What as many more labels as there are, rounded down to 1, 2 or 5 with zeros, should give."""
    more = _round_down(full)
    gains = found.resampled.error(full) - found.resampled.error(full + more)
    estimate = float(found.law.error(full) - found.law.error(full + more))
    low, high = (float(v) for v in np.percentile(gains, percentiles))
    return MoreLabels(side=side, labels=more, gain=estimate, low=min(low, estimate), high=max(high, estimate))


def _round_down(n: int) -> int:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is not above n.

    >>> _round_down(244), _round_down(99), _round_down(5452)
    (200, 50, 5000)
    """
    power = int(10 ** (len(str(n)) - 1))
    return max(step * power for step in (1, 2, 5) if step * power <= n)


# -- sentences --------------------------------------------------------------------------------------------------------


def _needed_words(needed: LabelsNeeded, full: int, confidence: float) -> str:
    who, whom = WORDS[needed.side].capitalize(), WORDS[OTHER[needed.side]]
    goal = f"to match the {100 * needed.score:.1f} % of {whom} with {_count(full)}"
    if needed.low is None:
        return f"{who} would need more than {_count(needed.reach)} labels {goal}, as far as its curve can be followed."
    low, beyond = _count(_figures(needed.low)), f"more than {_count(needed.reach)}"
    if needed.labels is None:
        return f"{who} would need more than {low} labels {goal}; how many more, its curve does not say."
    high = beyond if needed.high is None else _count(_figures(needed.high))
    return (
        f"{who} would need about {_count(_figures(needed.labels))} labels {goal} "
        f"({100 * confidence:g} % interval {low} to {high})."
    )


def _suffices_words(found: LabelsNeeded, full: int, confidence: float) -> list[str]:
    if found.labels is None or found.low is None or found.high is None:
        return []
    return [
        f"{WORDS[found.side].capitalize()} needs about {_count(_figures(found.labels))} labels to do as well as "
        f"{WORDS[OTHER[found.side]]} with {_count(full)} ({100 * confidence:g} % interval "
        f"{_count(_figures(found.low))} to {_count(_figures(found.high))})."
    ]


def _more_words(more: MoreLabels, confidence: float) -> str:
    return (
        f"{_count(more.labels)} more labels should give {WORDS[more.side]} {100 * more.gain:+.1f} points "
        f"({100 * confidence:g} % interval {100 * more.low:+.1f} to {100 * more.high:+.1f})."
    )


def _figures(n: float) -> int:
    """To two figures, as far as an extrapolation goes.

    >>> _figures(1894), _figures(87), _figures(7)
    (1900, 87, 7)
    """
    return int(float(f"{n:.2g}"))


def _count(n: float) -> str:
    return f"{n:,.0f}"
