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
Singles = NDArray[np.float32]
Labels = NDArray[np.int64]

CENTRES = 100
WIDTHS = (0.3, 0.5, 1.0, 2.0)  # of kernels, times the median distance
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
FOLDS = 5
LIKELY = 3e-3  # what the mean log-likelihood of a mixture can still grow by


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
    k = (len(Z) / len(T)) * np.exp(-gamma * squared_distances(Z, T)).sum(axis=1, dtype=np.float64)
    step = 1 / _largest(K)
    w = ahead = np.ones(len(Z))
    momentum, shift = 1.0, 0.0
    for _ in range(rounds):
        new, shift = _onto_simplex(ahead + step * (k - K @ ahead.astype(np.float32)), bound, shift)
        after = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead, w, momentum = new + (momentum - 1) / after * (new - w), new, after
    return w


def _largest(K: Singles, rounds: int = 10) -> float:
    """An upper bound of the largest eigenvalue of a matrix without negative entries, and a close one.

    max (K x)_i / x_i bounds it for every positive x (Collatz 1942); x is made like its eigenvector by power steps.
    """
    x = np.ones(len(K), np.float32)
    for _ in range(rounds):
        y = K @ x
        ratio, x = float((y / x).max()), np.maximum(y / y.max(), np.float32(1e-6))
    return ratio


def _onto_simplex(v: Floats, bound: float, shift: float = 0.0) -> tuple[Floats, float]:
    """The nearest point with mean 1 between 0 and `bound`: v less a number, clipped. The number, by Newton's method.

    Args:
        v: (N,).
        bound: of a weight.
        shift: the number to begin with.
    """
    low, high, n = float(v.min()) - bound, float(v.max()), len(v)
    for _ in range(60):
        if not low <= shift <= high:
            shift = (low + high) / 2
        moved = v - shift
        nearest: Floats = np.clip(moved, 0.0, bound)
        excess = float(nearest.sum()) - n
        if abs(excess) < 1e-9 * n:
            break
        low, high = (shift, high) if excess > 0 else (low, shift)
        free = int(np.count_nonzero(nearest == moved))  # what the sum loses for each unit of the number
        shift = shift + excess / free if free else (low + high) / 2
    return nearest, shift


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
    kept = np.asarray(fold[:, None] != np.arange(FOLDS), dtype=np.float32)

    def basis(width: float) -> tuple[Floats, Singles]:
        S, U = (np.exp(-d / (2 * (width * median) ** 2)) for d in (of_source, of_target))
        scale = np.maximum(S.mean(axis=0), 1e-12)
        return S / scale, (U / scale).astype(np.float32)

    def likelihood(width: float) -> float:
        _, U = basis(width)
        held = (U @ _mixture(U, kept, rounds))[np.arange(len(U)), fold]
        return float(np.log(np.maximum(held, 1e-12), dtype=np.float64).mean())

    S, U = basis(max(WIDTHS, key=likelihood))
    return _mean_one(S @ _mixture(U, np.ones((len(U), 1), np.float32), rounds)[:, 0].astype(np.float64))


def _mixture(U: Singles, kept: Singles, rounds: int) -> Singles:
    """Mixture weights of the largest likelihood, (K, F), by EM with steps 1.8 times as long.

    The largest entry of the gradient, less 1, bounds by how much the mean log-likelihood could still grow: it ends
    where that is a few thousandths.

    Args:
        U: (M, K), the likelihood of each example under each component.
        kept: (M, F) of 0 and 1: which examples each of F mixtures is fitted on.
        rounds: at most.
    """
    beta = np.full((U.shape[1], kept.shape[1]), 1 / U.shape[1], np.float32)
    share = kept / kept.sum(axis=0)
    for _ in range(rounds):
        gradient = U.T @ (share / np.maximum(U @ beta, np.float32(1e-30)))
        if float(gradient.max()) < 1 + LIKELY:
            break
        beta *= gradient ** np.float32(1.8)
        beta /= beta.sum(axis=0)
    return beta


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

    best, chosen = math.inf, (1.0, 1.0)
    for width in WIDTHS:
        S, U = (np.exp(-d / (2 * (width * median) ** 2)) for d in (of_source, of_target))
        losses = _held_out_losses(S, U, folds[0], folds[1], alpha)
        if float(losses.min()) < best:
            best, chosen = float(losses.min()), (width, PENALTIES[int(losses.argmin())])
    S, U = (np.exp(-d / (2 * (chosen[0] * median) ** 2)) for d in (of_source, of_target))
    H = alpha * U.T @ U / len(U) + (1 - alpha) * S.T @ S / len(S)
    theta = np.linalg.solve(H + chosen[1] * np.eye(len(H)), U.mean(axis=0))
    return _mean_one(np.maximum(S @ theta, 0.0))


def _held_out_losses(S: Floats, U: Floats, of_source: Labels, of_target: Labels, alpha: float) -> Floats:
    """RuLSIF's loss on folds that were left out, summed over them, for each of `PENALTIES`.

    What is fitted on the other folds follows from products within each fold, which are made once.
    """
    parts = [[X[fold == k] for k in range(FOLDS)] for X, fold in ((S, of_source), (U, of_target))]
    inner, outer = (np.stack([part.T @ part for part in each]) for each in parts)
    sums = np.stack([part.sum(axis=0) for part in parts[1]])
    losses = np.zeros(len(PENALTIES))
    for k in range(FOLDS):
        s, u = parts[0][k], parts[1][k]
        n, m = len(S) - len(s), len(U) - len(u)
        H = alpha * (outer.sum(axis=0) - outer[k]) / m + (1 - alpha) * (inner.sum(axis=0) - inner[k]) / n
        systems = H + np.array(PENALTIES)[:, None, None] * np.eye(len(H))
        theta = np.linalg.solve(
            systems, np.broadcast_to((sums.sum(axis=0) - sums[k])[:, None] / m, (*systems.shape[:2], 1))
        )
        on_source, on_target = s @ theta[..., 0].T, u @ theta[..., 0].T
        losses += alpha / 2 * (on_target**2).mean(axis=0) + (1 - alpha) / 2 * (on_source**2).mean(axis=0)
        losses -= on_target.mean(axis=0)
    return losses


def _scaled(A: Features, B: Features) -> tuple[Singles, Singles]:
    """Both, standardised by their pooled moments; in float32, as kernels are about as wide as distances are long."""
    mean, scale = standardise(np.concatenate([A, B]).astype(np.float32))
    return ((A - mean) / scale).astype(np.float32), ((B - mean) / scale).astype(np.float32)


def _median(Z: Singles, T: Singles) -> float:
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
