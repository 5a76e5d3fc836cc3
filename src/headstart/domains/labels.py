"""Label shift: P(X given Y) stayed, P(Y) moved. How the target's classes are distributed, without its labels.

Everywhere: `held` is (N, C), what a classifier says of source examples that it was not trained on, as logits or
log-probabilities; `y` is (N,), their labels; `asked` is (M, C), what it says of the target's examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

RESAMPLES = 200
_ROUNDS = 300


def softmax(logits: NDArray[np.floating]) -> Floats:
    """(N, C) logits to probabilities, in float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    probabilities: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


@dataclass(frozen=True)
class Calibrated:
    """Bias-corrected temperature scaling: softmax(scale * logits + bias)."""

    scale: float
    bias: Floats

    def __call__(self, logits: NDArray[np.floating]) -> Floats:
        """(N, C) logits to calibrated probabilities."""
        return softmax(self.scale * np.asarray(logits, dtype=np.float64) + self.bias)


def calibrate(
    held: NDArray[np.floating], y: Labels, *, prior: float = 1.0, start: Calibrated | None = None
) -> Calibrated:
    """Bias-corrected temperature scaling (Alexandari et al. 2020): a temperature and a bias for each class.

    Maximum likelihood lets EM estimate the target's classes only as well as the probabilities are calibrated. A weak
    prior, worth about `prior` examples, keeps both finite where every example is right.
    """
    from scipy.optimize import minimize

    logits = np.asarray(held, dtype=np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    n, classes = logits.shape
    truth = np.eye(classes)[y]

    def objective(theta: Floats) -> tuple[float, Floats]:
        scale, bias = np.exp(theta[0]), theta[1:]
        p = softmax(scale * logits + bias)
        loss = -np.log(np.maximum(p[np.arange(n), y], 1e-300)).sum() + prior * (theta @ theta) / 2
        error = p - truth
        return loss / n, np.concatenate([[scale * (error * logits).sum()], error.sum(axis=0)]) / n + prior * theta / n

    begin = np.zeros(classes + 1) if start is None else np.concatenate([[np.log(start.scale)], start.bias])
    found = minimize(objective, begin, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-7})
    return Calibrated(float(np.exp(found.x[0])), found.x[1:])


def bbse(held: NDArray[np.floating], y: Labels, asked: NDArray[np.floating]) -> Floats:
    """Black-box shift estimation (Lipton et al. 2018): the target's class shares, (C,).

    With C_ij the share of source examples of class j that are predicted i, and mu_i the share of target examples that
    are predicted i, the weights w = q / p solve C w = mu. Shares below zero are set to zero.
    """
    classes = held.shape[1]
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (held.argmax(axis=1), y), 1 / len(y))
    predicted = np.bincount(asked.argmax(axis=1), minlength=classes) / len(asked)
    weights = np.linalg.lstsq(confusion, predicted, rcond=1e-6)[0]
    shares = np.maximum(weights, 0.0) * np.bincount(y, minlength=classes) / len(y)
    total = float(shares.sum())
    return shares / total if total > 0 else predicted


def mlls(probabilities: Floats, shares: Floats) -> Floats:
    """Maximum likelihood label shift by EM (Saerens et al. 2002; Alexandari et al. 2020): the target's shares, (C,).

    Args:
        probabilities: (M, C) calibrated on the source, for the target's examples.
        shares: (C,) of the classes in the source.
    """
    prior = np.maximum(shares, 1e-12)
    likelihood = probabilities / prior
    found = prior / prior.sum()
    for _ in range(_ROUNDS):
        joint = likelihood * found
        new = (joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
        if np.abs(new - found).max() < 1e-7:
            return np.asarray(new)
        found = new
    return np.asarray(found)


def thinned(y: Labels, shares: Floats, *, seed: int = 0) -> NDArray[np.int64]:
    """Positions of as many examples as can be, in other class shares: what is left to tell is not label shift.

    Args:
        y: (N,) labels.
        shares: (C,) wanted; a class of less than one in five hundred is not waited for.
        seed: of which examples of a class they are.
    """
    counts = np.bincount(y, minlength=len(shares))
    wanted = shares > 0.002
    size = float(np.min(counts[wanted] / shares[wanted]))
    rng = np.random.default_rng(seed)
    parts = [
        rng.permutation(np.flatnonzero(y == c))[: min(int(counts[c]), round(size * float(shares[c])))]
        for c in range(len(shares))
    ]
    return np.concatenate(parts)


@dataclass(frozen=True)
class Shares:
    """The target's class shares, (C,) each, with the ends of their 95 % intervals."""

    estimate: Floats
    low: Floats
    high: Floats


def estimate(
    held: NDArray[np.floating], y: Labels, asked: NDArray[np.floating], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Shares]:
    """The target's class shares by `bbse` and by `mlls`, with bootstrap intervals.

    Source and target examples are drawn anew, the classifier is not fitted anew: the intervals are about this
    classifier. They hold if nothing but P(Y) moved, and cannot tell whether that is so.
    """
    classes = held.shape[1]
    shares = np.bincount(y, minlength=classes) / len(y)
    start = calibrate(held, y)

    def by_mlls(h: NDArray[np.floating], labels: Labels, a: NDArray[np.floating]) -> Floats:
        return mlls(calibrate(h, labels, start=start)(a), shares)

    rng = np.random.default_rng(seed)
    methods: dict[str, Callable[..., Floats]] = {"bbse": bbse, "mlls": by_mlls}
    drawn: dict[str, list[Floats]] = {name: [] for name in methods}
    members = [np.flatnonzero(y == c) for c in range(classes)]
    for _ in range(resamples):
        # Source examples within their classes, so that none is lost.
        rows = np.concatenate([rng.choice(own, len(own)) for own in members if len(own)])
        columns = rng.integers(0, len(asked), len(asked))
        for name, method in methods.items():
            drawn[name].append(method(held[rows], y[rows], asked[columns]))
    found = {}
    for name, method in methods.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975], axis=0) if drawn[name] else np.full((2, classes), np.nan)
        found[name] = Shares(method(held, y, asked), low, high)
    return found


def predictions_differ(held: NDArray[np.floating], asked: NDArray[np.floating]) -> float:
    """The p-value that predictions on held-out source and on target examples are distributed alike (chi-squared).

    Rabanser et al. 2019, "Failing Loudly": where P(X given Y) stayed, it is a test of label shift.
    """
    from scipy.stats import chi2_contingency

    classes = held.shape[1]
    counts = np.stack([np.bincount(part.argmax(axis=1), minlength=classes) for part in (held, asked)])
    counts = counts[:, counts.sum(axis=0) > 0]
    return 1.0 if counts.shape[1] < 2 else float(chi2_contingency(counts, correction=False).pvalue)


def shifted(log_probabilities: NDArray[np.floating], old: Floats, new: Floats) -> Floats:
    """Log-probabilities (N, C) under shares `new` where they were fitted under `old`: both (C,)."""
    moved = (
        np.asarray(log_probabilities, dtype=np.float64) + np.log(np.maximum(new, 1e-4)) - np.log(np.maximum(old, 1e-4))
    )
    out: Floats = moved - np.logaddexp.reduce(moved, axis=1, keepdims=True)
    return out
