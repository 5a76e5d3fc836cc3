"""Concept shift: P(Y given X) moved. It can only be claimed with labels of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.domains.weights import effective

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Verdict = Literal["shown", "not shown", "cannot be told"]

FEWEST = 30
"""Source examples that the weights must leave, in effect, for reweighting to explain anything."""

OVERLAP = 0.2
"""Where the domains overlap less than this, weights extrapolate, and nothing can be claimed."""


@dataclass(frozen=True)
class Concept:
    """Whether what the source model gets wrong in the target is explained without a change of P(Y given X).

    Args:
        verdict: `shown` if its accuracy is lower than both explanations allow.
        observed: accuracy of the source model on the target's labelled examples.
        by_inputs: accuracy it would have if only P(X) had moved: that on held-out source examples, weighted like the
            target.
        by_labels: accuracy it would have if only P(Y) had moved.
        gaps: for `by_inputs` and `by_labels`: observed minus explained, with the ends of its 95 % interval.
        effective: source examples that the weights leave, in effect: (sum w)^2 / sum w^2 (Kish 1965).
        overlap: of the domains: twice the error of the classifier that tells them apart; 1: the same, 0: disjoint.
        examples: labelled target examples.
    """

    verdict: Verdict
    observed: float
    by_inputs: float
    by_labels: float
    gaps: dict[str, tuple[float, float, float]]
    effective: float
    overlap: float
    examples: int


def concept_shift(
    right: NDArray[np.bool_],
    y: Labels,
    weights: Floats,
    right_target: NDArray[np.bool_],
    y_target: Labels,
    *,
    overlap: float,
    resamples: int = 1_000,
    seed: int = 0,
) -> Concept:
    """Test whether the source model errs more in the target than covariate shift alone, or label shift alone, explains.

    Args:
        right: (N,) whether held-out source examples are predicted right.
        y: (N,) their labels.
        weights: (N,) density ratio, target over source.
        right_target: (M,) whether the target's labelled examples are predicted right.
        y_target: (M,) their labels.
        overlap: twice the error of a classifier that tells the domains apart.
        resamples: of source and target examples.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    n, m = len(y), len(y_target)
    rows = np.concatenate([np.arange(n)[None], rng.integers(0, n, (resamples, n))])
    columns = np.concatenate([np.arange(m)[None], rng.integers(0, m, (resamples, m))])
    weight = weights[rows]
    by_inputs = (weight * right[rows]).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-300)
    observed = right_target[columns].mean(axis=1)
    by_labels = np.zeros(resamples + 1)
    for c in np.unique(y_target):
        mine = y[rows] == c
        recall = (mine * right[rows]).sum(axis=1) / np.maximum(mine.sum(axis=1), 1)
        by_labels += (y_target[columns] == c).mean(axis=1) * recall
    gaps = {}
    for name, explained in (("by_inputs", by_inputs), ("by_labels", by_labels)):
        gap = observed - explained
        low, high = np.quantile(gap[1:], [0.025, 0.975])
        gaps[name] = (float(gap[0]), float(low), float(high))
    left = effective(weights)
    verdict: Verdict = "shown" if all(high < 0 for _, _, high in gaps.values()) else "not shown"
    if left < FEWEST or overlap < OVERLAP:
        verdict = "cannot be told"
    return Concept(verdict, float(observed[0]), float(by_inputs[0]), float(by_labels[0]), gaps, left, overlap, m)
