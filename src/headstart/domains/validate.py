"""Choosing an adapted model without target labels: validators, their noise, and how they agree.

A validator looks at what a model says, never at a target label. In every one of them larger is better. Each is a mean
of one number per example, or nearly so, so that its noise is found by drawing examples anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.domains.labels import softmax
from headstart.score.ridge import solve

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]
Rows = NDArray[np.int64]

RESAMPLES = 200
MOST_NEIGHBOURS = 1_000
"""Target examples whose neighbourhoods are looked at."""


@dataclass(frozen=True)
class Seen:
    """What validators may look at.

    Args:
        held: (N, C) log-probabilities of source examples that the model was not trained on.
        y: (N,) their labels.
        weights: (N,) density ratio of those, target over source, of mean 1.
        asked: (M, C) log-probabilities of the target's examples.
        Xs: (N, D) features of those source examples.
        Xt: (M, D) features of the target's examples.
    """

    held: NDArray[np.floating]
    y: Labels
    weights: Floats
    asked: NDArray[np.floating]
    Xs: Features
    Xt: Features

    def drawn(self, source: Rows, target: Rows) -> Seen:
        """The same on other examples."""
        return Seen(
            self.held[source],
            self.y[source],
            self.weights[source],
            self.asked[target],
            self.Xs[source],
            self.Xt[target],
        )


def importance_weighted(seen: Seen) -> float:
    """Accuracy on held-out source examples, weighted like the target (Sugiyama et al. 2007)."""
    right = seen.held.argmax(axis=1) == seen.y
    return float((seen.weights * right).sum() / max(float(seen.weights.sum()), 1e-300))


def deep_embedded(seen: Seen) -> float:
    """DEV (You et al. 2019): importance-weighted accuracy with the weights as a control variate.

    mean(w l) + eta mean(w) - eta with eta = -cov(w l, w) / var(w) for the loss l; given back as accuracy, 1 - risk.
    """
    loss = (seen.held.argmax(axis=1) != seen.y).astype(np.float64)
    w = seen.weights
    spread = float(w.var())
    eta = -float(((w * loss - (w * loss).mean()) * (w - w.mean())).mean()) / spread if spread > 1e-12 else 0.0
    return 1.0 - float((w * loss).mean() + eta * w.mean() - eta)


def entropy(seen: Seen) -> float:
    """Minus the mean entropy of target predictions (Morerio et al. 2018), in nats: a sure model is preferred."""
    p = softmax(seen.asked)
    return float((p * np.log(np.maximum(p, 1e-12))).sum(axis=1).mean())


def infomax(seen: Seen) -> float:
    """Mutual information of target examples and predictions (Shi & Sha 2012; Musgrave et al. 2022), in nats.

    Sure on each example, and not of the same class on all: where :func:`entropy` would prefer a model that collapsed.
    """
    mean = softmax(seen.asked).mean(axis=0)
    return entropy(seen) - float((mean * np.log(np.maximum(mean, 1e-12))).sum())


def densities(seen: Seen, temperature: float = 0.05) -> Floats:
    """Per target example the entropy of its likeness to the others: the terms of soft neighbourhood density.

    Likeness is the cosine of predicted probabilities over `temperature` (Saito et al. 2021).
    """
    p = softmax(seen.asked)
    p = p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12)
    others = p[:: max(1, -(-len(p) // MOST_NEIGHBOURS))]
    likeness = p @ others.T / temperature
    likeness[np.arange(0, len(p), max(1, -(-len(p) // MOST_NEIGHBOURS))), np.arange(len(others))] = -np.inf
    q = softmax(likeness)
    terms: Floats = -(q * np.log(np.maximum(q, 1e-12))).sum(axis=1)
    return terms


def reversed_right(seen: Seen) -> Floats:
    """Per source example whether a classifier of the target's pseudo-labels is right (Zhong et al. 2010).

    Each domain is standardised by its own moments, so that a shift of location is not held against the model. It is a
    ridge classifier whatever the model was.
    """
    guessed = seen.asked.argmax(axis=1)
    if len(np.unique(guessed)) < 2:
        return np.asarray(seen.y == guessed[0], dtype=np.float64)
    S, T = ((X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-6) for X in (seen.Xs, seen.Xt))
    found = solve(T.astype(np.float32), guessed, seen.asked.shape[1])
    return np.asarray((S @ found.weight.T + found.bias).argmax(axis=1) == seen.y, dtype=np.float64)


def neighbourhood(seen: Seen) -> float:
    """Soft neighbourhood density (Saito et al. 2021), in nats: predictions in dense groups are preferred."""
    return float(densities(seen).mean())


def circular(seen: Seen) -> float:
    """Reverse validation, as accuracy: the mean of :func:`reversed_right`."""
    return float(reversed_right(seen).mean())


VALIDATORS: dict[str, Callable[[Seen], float]] = {
    "importance_weighted": importance_weighted,
    "dev": deep_embedded,
    "entropy": entropy,
    "infomax": infomax,
    "neighbourhood": neighbourhood,
    "circular": circular,
}
"""Every validator by name."""

_TERMS: dict[str, tuple[Callable[[Seen], Floats], int]] = {
    "neighbourhood": (densities, 1),
    "circular": (reversed_right, 0),
}
"""Those too dear to be asked on every draw: their terms, and whether those are of the source (0) or the target (1)."""


@dataclass(frozen=True)
class Agreement:
    """What the validators say of several models together.

    Args:
        values: model -> validator -> value.
        lead: model -> validator -> (difference to the reference model, its standard error by paired bootstrap).
        rank: model -> mean over validators of its rank among the models; 1 is best.
        first: model -> share of draws in which its mean rank was the best.
        chosen: the model with the best mean rank.
        beyond: validators that prefer `chosen` to the reference beyond their noise.
        against: validators that prefer the reference to `chosen` beyond their noise.
    """

    values: dict[str, dict[str, float]]
    lead: dict[str, dict[str, tuple[float, float]]]
    rank: dict[str, float]
    first: dict[str, float]
    chosen: str
    beyond: tuple[str, ...]
    against: tuple[str, ...]


def agreement(
    models: Mapping[str, Seen],
    reference: str,
    *,
    validators: Mapping[str, Callable[[Seen], float]] = VALIDATORS,
    resamples: int = RESAMPLES,
    level: float = 1.96,
    seed: int = 0,
) -> Agreement:
    """Ask every validator about every model, and about their differences on the same drawn examples.

    Args:
        models: what validators may see of each; all on the same examples.
        reference: the model that is kept where they do not agree: source-only.
        validators: which.
        resamples: draws of source and target examples.
        level: standard errors that a difference must exceed to be beyond noise.
        seed: of the draws.
    """
    from scipy.stats import rankdata

    names = list(models)
    n, m = len(models[reference].y), len(models[reference].asked)
    rng = np.random.default_rng(seed)
    draws = [(rng.integers(0, n, n), rng.integers(0, m, m)) for _ in range(resamples)]
    whole, drawn = {}, {}
    for v, ask in validators.items():
        if v in _TERMS:
            terms_of, side = _TERMS[v]
            terms = np.stack([terms_of(models[name]) for name in names])
            whole[v] = terms.mean(axis=1)
            drawn[v] = np.stack([terms[:, rows[side]].mean(axis=1) for rows in draws])
        else:
            whole[v] = np.array([ask(models[name]) for name in names])
            drawn[v] = np.array([[ask(models[name].drawn(*rows)) for name in names] for rows in draws])
    at = names.index(reference)
    lead: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in names}
    for v in validators:
        errors = (drawn[v] - drawn[v][:, [at]]).std(axis=0, ddof=1)
        for i, name in enumerate(names):
            lead[name][v] = (float(whole[v][i] - whole[v][at]), float(errors[i]))
    ranks = np.mean([rankdata(-whole[v]) for v in validators], axis=0)
    firsts = np.zeros(len(names))
    for k in range(resamples):
        firsts[int(np.mean([rankdata(-drawn[v][k]) for v in validators], axis=0).argmin())] += 1 / resamples
    # Among equals the reference, which is surely safe.
    order = sorted(range(len(names)), key=lambda i: (ranks[i], names[i] != reference))
    chosen_name = names[order[0]]
    said = {v: (lead[chosen_name][v][0], level * lead[chosen_name][v][1]) for v in validators}
    return Agreement(
        {name: {v: float(whole[v][i]) for v in validators} for i, name in enumerate(names)},
        lead,
        {name: float(ranks[i]) for i, name in enumerate(names)},
        {name: float(firsts[i]) for i, name in enumerate(names)},
        chosen_name,
        tuple(v for v, (gap, noise) in said.items() if gap > noise and gap > 0),
        tuple(v for v, (gap, noise) in said.items() if -gap > noise and gap < 0),
    )


def guarded(found: Agreement, reference: str) -> tuple[str, str]:
    """Which model is shipped, and why, in a sentence: the chosen one only where validators agree beyond their noise.

    At least half of them must prefer it beyond their noise, and none the reference.
    """
    total = len(next(iter(found.values.values())))
    if found.chosen == reference:
        return reference, f"{reference} has the best mean rank over {total} validators."
    if found.against:
        against = ", ".join(found.against)
        return reference, f"{found.chosen} has the best mean rank, but {against} prefers {reference} beyond its noise."
    if 2 * len(found.beyond) < total:
        return reference, (
            f"{found.chosen} has the best mean rank, but only {len(found.beyond)} of {total} validators prefer it "
            f"to {reference} beyond their noise."
        )
    return found.chosen, (
        f"{len(found.beyond)} of {total} validators prefer {found.chosen} to {reference} beyond their noise, and none "
        "the reverse."
    )
