"""How the best of many settings is compared with others: on each fold as what the other folds choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def group(strategy: Any) -> str:
    """Which settings of a side are chosen from together: those of one strategy that trains networks, or all others.

    Settings that train no network take no time, so that dozens are tried, and are much alike.

    Args:
        strategy: an Adapt, or its class.

    Returns:
        The strategy's name; "" where it trains no network.
    """
    return strategy.name if strategy.needs.gradients else ""


def nested(scores: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """By fold: the score on it of the setting that is best on the other folds; of several equals, their mean.

    The best of many on all folds was lucky on some, the more so the more there were, and is not as good on others. What
    is chosen without a fold has no luck on it: an outer loop of cross-validation around the choice (Varma & Simon,
    "Bias in Error Estimation When Using Cross-Validation for Model Selection", 2006).

    Args:
        scores: of each setting, by fold; all of the same folds, two or more.

    Raises:
        ValueError: there is no setting, there are fewer than two folds, or not the same for all.
    """
    folds = scores[0].keys() if scores else set()
    if len(folds) < 2 or any(each.keys() != folds for each in scores):
        raise ValueError("expected the scores of one setting or more on the same two folds or more")
    totals = [sum(each.values()) for each in scores]
    found = {}
    for fold in folds:
        others = [total - each[fold] for total, each in zip(totals, scores, strict=True)]
        best = max(others) - 1e-9  # equal but for the order of a sum
        equal = [each[fold] for each, other in zip(scores, others, strict=True) if other >= best]
        found[fold] = sum(equal) / len(equal)
    return found
