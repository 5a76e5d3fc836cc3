"""Density ratios: how much more common in the target each source example is, w(x) = p_target(x) / p_source(x).

Every function takes A (N, D) of the source and B (M, D) of the target and gives (N,) weights, not negative, of mean 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from headstart.domains.two_sample import Told, classifier_test, squared_distances
from headstart.score.ridge import standardise

Floats = NDArray[np.float64]
Features = NDArray[np.floating]

CENTRES = 100
WIDTHS = (0.3, 0.5, 1.0, 2.0)  # of kernels, times the median distance
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5


def effective(weights: Floats) -> float:
    """How many examples weights leave, in effect (Kish 1965): (sum w)^2 / sum w^2."""
    return float(weights.sum() ** 2 / max(float((weights**2).sum()), 1e-300))


def discriminator(A: Features, B: Features, *, seed: int = 0) -> Floats:
    """Weights from the odds of a domain classifier (Bickel et al. 2007).

    Ridge scores of each example by a classifier that was not fitted on it, made probabilities by a sigmoid fitted to
    them (Platt 1999). In-sample odds would be infinite wherever there are more features than examples.
    """
    return odds(classifier_test(np.asarray(A, np.float32), np.asarray(B, np.float32), permutations=0, seed=seed))


def odds(told: Told) -> Floats:
    """(N,) weights of the source's examples, by what a domain classifier says of them."""
    slope, offset = _platt(told.source, told.target)
    return _mean_one(np.exp(np.clip(slope * told.source + offset, -30, 30)))


def _platt(negative: Floats, positive: Floats) -> tuple[float, float]:
    """Slope and offset of the log odds, each domain counting alike, by damped Newton steps with a weak prior."""
    scores = np.concatenate([negative, positive])
    truth = np.repeat([0.0, 1.0], [len(negative), len(positive)])
    importance = np.repeat([0.5 / len(negative), 0.5 / len(positive)], [len(negative), len(positive)])
    X = np.stack([scores, np.ones_like(scores)], axis=1)
    theta, prior = np.zeros(2), 1.0 / len(scores)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(X @ theta, -30, 30)))
        gradient = X.T @ (importance * (p - truth)) + prior * theta
        hessian = (X * (importance * np.maximum(p * (1 - p), 1e-3))[:, None]).T @ X + prior * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        theta -= step
        if np.abs(step).max() < 1e-8:
            break
    return float(theta[0]), float(theta[1])


def kmm(A: Features, B: Features, *, bound: float = 20.0, rounds: int = 300) -> Floats:
    """Kernel mean matching (Huang et al. 2007): weights that move the source's kernel mean onto the target's.

    min 1/2 w'K w - k'w over 0 <= w <= bound with mean 1, Gaussian kernel of median width, by accelerated projected
    gradients (Nesterov; Beck & Teboulle 2009).
    """
    Z, T = _scaled(A, B)
    gamma = 1 / (2 * _median(Z, T) ** 2)
    K = np.exp(-gamma * squared_distances(Z, Z))
    k = (len(Z) / len(T)) * np.exp(-gamma * squared_distances(Z, T)).sum(axis=1)
    step = 1 / float(np.linalg.eigvalsh(K)[-1])
    w = ahead = np.ones(len(Z))
    momentum = 1.0
    for _ in range(rounds):
        new = _onto_simplex(ahead - step * (K @ ahead - k), bound)
        after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, w, momentum = new + (momentum - 1) / after * (new - w), new, after
    return w


def _onto_simplex(v: Floats, bound: float) -> Floats:
    """The nearest point with mean 1 between 0 and `bound`, by bisection."""
    low, high = float(v.min()) - bound, float(v.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(v - middle, 0, bound).mean() > 1 else (low, middle)
    nearest: Floats = np.clip(v - (low + high) / 2, 0, bound)
    return nearest


def kliep(A: Features, B: Features, *, rounds: int = 200, seed: int = 0) -> Floats:
    """Kullback-Leibler importance estimation (Sugiyama et al. 2008), width chosen by cross-validated likelihood.

    w(x) is a mixture of Gaussian kernels on target examples. With each kernel scaled to mean 1 on the source, the
    constraint that w has mean 1 says that the mixture weights sum to 1, so that EM climbs without a step size.
    """
    Z, T = _scaled(A, B)
    rng = np.random.default_rng(seed)
    centres = T[rng.permutation(len(T))[:CENTRES]]
    median = _median(Z, T)
    of_source, of_target = squared_distances(Z, centres), squared_distances(T, centres)
    fold = rng.permutation(np.arange(len(T)) % FOLDS)

    def basis(width: float) -> tuple[Floats, Floats]:
        S, U = (np.exp(-d / (2 * (width * median) ** 2)) for d in (of_source, of_target))
        scale = np.maximum(S.mean(axis=0), 1e-12)
        return S / scale, U / scale

    def mixture(U: Floats) -> Floats:
        beta = np.full(U.shape[1], 1 / U.shape[1])
        for _ in range(rounds):
            beta = beta * (U / np.maximum(U @ beta, 1e-300)[:, None]).mean(axis=0)
        return np.asarray(beta / beta.sum())

    def likelihood(width: float) -> float:
        _, U = basis(width)
        held = [np.log(np.maximum(U[fold == k] @ mixture(U[fold != k]), 1e-12)) for k in range(FOLDS)]
        return float(np.concatenate(held).mean())

    S, U = basis(max(WIDTHS, key=likelihood))
    return _mean_one(S @ mixture(U))


def rulsif(A: Features, B: Features, *, alpha: float = 0.1, seed: int = 0) -> Floats:
    """Relative unconstrained least-squares importance fitting (Yamada et al. 2013), in closed form.

    It estimates p_target / (alpha p_target + (1 - alpha) p_source), which no example can make larger than 1 / alpha;
    width and penalty by cross-validation.
    """
    Z, T = _scaled(A, B)
    rng = np.random.default_rng(seed)
    centres = T[rng.permutation(len(T))[:CENTRES]]
    median = _median(Z, T)
    of_source, of_target = squared_distances(Z, centres), squared_distances(T, centres)
    folds = [rng.permutation(np.arange(count) % FOLDS) for count in (len(Z), len(T))]

    def solve(S: Floats, U: Floats, penalty: float) -> Floats:
        H = alpha * U.T @ U / len(U) + (1 - alpha) * S.T @ S / len(S)
        return np.asarray(np.linalg.solve(H + penalty * np.eye(len(H)), U.mean(axis=0)))

    best, chosen = math.inf, (1.0, 1.0)
    for width in WIDTHS:
        S, U = (np.exp(-d / (2 * (width * median) ** 2)) for d in (of_source, of_target))
        for penalty in PENALTIES:
            loss = 0.0
            for k in range(FOLDS):
                theta = solve(S[folds[0] != k], U[folds[1] != k], penalty)
                s, u = S[folds[0] == k] @ theta, U[folds[1] == k] @ theta
                loss += alpha / 2 * (u**2).mean() + (1 - alpha) / 2 * (s**2).mean() - u.mean()
            if loss < best:
                best, chosen = loss, (width, penalty)
    S, U = (np.exp(-d / (2 * (chosen[0] * median) ** 2)) for d in (of_source, of_target))
    return _mean_one(np.maximum(S @ solve(S, U, chosen[1]), 0.0))


def _scaled(A: Features, B: Features) -> tuple[Floats, Floats]:
    """Both, standardised by their pooled moments."""
    mean, scale = standardise(np.concatenate([A, B]).astype(np.float32))
    return (np.asarray(A, np.float64) - mean) / scale, (np.asarray(B, np.float64) - mean) / scale


def _median(Z: Floats, T: Floats) -> float:
    """The median distance between examples of both, of 500 at most."""
    both = np.concatenate([Z, T])
    some = both[:: max(1, len(both) // 500)]
    return math.sqrt(max(float(np.median(squared_distances(some, some)[np.triu_indices(len(some), 1)])), 1e-12))


def _mean_one(weights: Floats) -> Floats:
    mean = float(weights.mean())
    return weights / mean if mean > 0 else np.ones_like(weights)


WEIGHTS: dict[str, Callable[[Features, Features], Floats]] = {
    "discriminator": discriminator,
    "kmm": kmm,
    "kliep": kliep,
    "rulsif": rulsif,
}
"""Every estimator by name."""
