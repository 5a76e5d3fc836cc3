"""Successive halving: dear settings are tried on a quarter of the labels, and only what may still lead goes on.

Settings of one pair of source and strategy that train a network differ in hyper-parameters alone. The first of them is
trained on a quarter of the labels too, and tells how much the rest of the labels gave it; what another setting reaches
on all labels is extrapolated by that gain: learning curves of one network are taken to be parallel from there. A
setting goes on where that is not behind the side's leader by more than the noise, best first, and half of those that
were tried on the quarter at most.

Jamieson & Talwalkar 2016, *Non-stochastic Best Arm Identification and Hyperparameter Optimization*; that nobody waits
for the others of its rung is Li et al. 2020, *A System for Massively Parallel Hyperparameter Tuning* (ASHA).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Literal

from headstart.search.setting import Standing

SHARE = 0.25  # of the labels, on the rung
DEAR = 10.0  # seconds of a trial on all labels from which the rung is worth its own
PER_CLASS = 8  # labels of each class on the rung at least, on average; fewer say nothing of more
KEPT = 0.5  # of the settings on the rung go on, at most

Step = Literal["rung", "search"]


def labels(fitted: int, classes: int) -> int | None:
    """Labels on the rung, of `fitted` that a search trial learns from; None where a quarter is too few to say much."""
    count = round(SHARE * fitted)
    return count if count >= PER_CLASS * classes else None


def step(standing: Standing, family: Sequence[Standing], bar: float) -> tuple[Standing, Step] | None:
    """What comes next so that a setting which was not tried on all labels may be.

    Args:
        standing: of the setting.
        family: all settings of its source and strategy, one of which has a score on all labels.
        bar: the score that it must be extrapolated to.

    Returns:
        The rung of the pair's first setting, which tells the gain; the setting's own rung; or the setting on all
        labels. None where it is out.
    """
    first = min((other for other in family if 0 in other.scores), key=lambda other: other.setting.rank)
    if first.failed:
        return standing, "search"  # there is no telling
    for needed in (first, standing):
        if needed.rung is None:
            return needed, "rung"
    pairs = [(other.rung, other.scores.get(0)) for other in family if other.rung is not None]
    gain = mean(full - quarter for quarter, full in pairs if full is not None)
    others = [other for other in family if other.rung is not None and other not in (first, standing)]
    assert standing.rung is not None
    ahead = sum(bool(other.scores) or (other.rung or 0.0) > standing.rung for other in others)
    may = ahead < max(1, round(KEPT * (len(others) + 1)))
    return (standing, "search") if may and standing.rung + gain >= bar else None
