"""What target labels are worth beside a source domain, and what each source domain gave: on the sealed examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.judge.evidence import TargetLabelPoint, Worth
from headstart.judge.intervals import score_interval

RESAMPLES = 2_000
SHOWN_RESAMPLES = 1_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Learned:
    """One route at one number of target labels.

    Args:
        route: its name.
        each: labels of each class of the target that it learned from.
        correct: (S, N) bool, on the sealed examples, a row for each draw of the labels.
    """

    route: str
    each: int
    correct: NDArray[np.bool_]


def points(rows: Sequence[Learned], labels: NDArray[np.int64], metric: str) -> list[TargetLabelPoint]:
    """Each route at each number of target labels, with its interval, in the order of routes and numbers."""
    found = []
    for row in sorted(rows, key=lambda row: (row.route, row.each)):
        score, low, high = score_interval(row.correct, labels, metric, resamples=SHOWN_RESAMPLES)
        found.append(
            TargetLabelPoint(route=row.route, each=row.each, score=score, low=low, high=high, draws=len(row.correct))
        )
    return found


def worth(
    rows: Sequence[Learned], alone: str, without: Learned, labels: NDArray[np.int64], *, seed: int = 0
) -> Worth | None:
    """How many labels of each target class, by themselves, score what the source gives without any.

    Between numbers that were tried the score of the route that knows target labels alone is a line over the logarithm
    of the number, and it never falls. The interval is over sealed examples, which all routes share, and draws.

    Args:
        rows: as for :func:`points`.
        alone: the route that learns from target labels alone.
        without: the route that learned from the source and from no target label.
        labels: (N,) of the sealed examples; every class counts alike.
        seed: of the bootstrap.

    Returns:
        None where the route was not tried at two numbers.
    """
    mine = sorted((row for row in rows if row.route == alone and row.each), key=lambda row: row.each)
    if len(mine) < 2:
        return None
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    numbers = np.log2([row.each for row in mine])
    found = []
    for k in range(RESAMPLES + 1):
        drawn = [own if k == 0 else rng.choice(own, len(own)) for own in members]
        goal = np.mean([without.correct[:, own].mean() for own in drawn])
        scores = []
        for row in mine:
            seeds = np.arange(len(row.correct)) if k == 0 else rng.integers(0, len(row.correct), len(row.correct))
            scores.append(np.mean([row.correct[np.ix_(seeds, own)].mean() for own in drawn]))
        found.append(_reached(numbers, np.maximum.accumulate(scores), float(goal)))
    low, high = np.quantile(found[1:], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    most = mine[-1].each
    return Worth(
        route=without.route,
        score=float(np.mean([without.correct[:, own].mean() for own in members])),
        each=_number(found[0]),
        low=_number(low),
        high=_number(high),
        most=most,
    )


def _reached(numbers: NDArray[np.float64], scores: NDArray[np.float64], goal: float) -> float:
    """log2 of the number of labels at which the scores reach `goal`; infinite where they do not."""
    at = int(np.searchsorted(scores, goal))
    if at == len(scores):
        return math.inf
    if at == 0:
        return float(numbers[0])
    share = (goal - scores[at - 1]) / (scores[at] - scores[at - 1])
    return float(numbers[at - 1] + share * (numbers[at] - numbers[at - 1]))


def _number(log: float) -> float | None:
    return None if math.isinf(log) else round(2**log, 1)


def worth_words(found: Worth, confidence: float = CONFIDENCE) -> str:
    """What it says, in a sentence."""
    has = f"{found.route} without a label of the target is right on {100 * found.score:.1f} % of the sealed examples"
    if found.each is not None and found.each <= 1 and found.high is not None and found.high <= 1:
        return f"{has}; by itself one label of each class of the target gives no less."
    numbers = (found.low, found.each, found.high)
    low, each, high = (f"more than {found.most}" if n is None else f"{n:g}" for n in numbers)
    return (
        f"{has}; target labels alone take {'' if found.each is None else 'about '}{each} of each class for that "
        f"({100 * confidence:.0f} % interval {low} to {high})."
    )
