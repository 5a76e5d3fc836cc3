"""Several source domains: how much each should count. Every function gives (K,) weights that sum to 1.

Xs is (N, D) of all sources with labels ys, origin (N,) tells which of the K sources each example is of, Xt is (M, D).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headstart.domains.labels import softmax
from headstart.domains.two_sample import squared_distances
from headstart.domains.validate import VALIDATORS, Seen
from headstart.score.ridge import solve, standardise

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]

MOST = 500
"""Examples of each domain that kernels are computed on."""
LOG_FLOOR = 1e-12


def equal(origin: Labels) -> Floats:
    """Every source counts alike, however many examples it has."""
    count = int(origin.max()) + 1
    return np.full(count, 1 / count)


def by_discrepancy(Xs: Features, origin: Labels, Xt: Features, *, seed: int = 0) -> Floats:
    """The mixture of sources that is most like the target: kernel mean matching of whole domains.

    min over the simplex of |sum_k w_k mu_k - mu_t|^2 with kernel means mu, Gaussian kernel of median width (Huang et al.
    2007, with one weight for each domain; Mansour et al. 2009 on mixtures of sources). Each domain's mean similarity to
    itself leaves out that of an example to itself, so that a small domain does not seem far from all others.
    """
    from scipy.optimize import minimize

    rng = np.random.default_rng(seed)
    mean, scale = standardise(np.concatenate([Xs, Xt]))
    count = int(origin.max()) + 1
    parts = [Xs[origin == k] for k in range(count)] + [Xt]
    parts = [(part[rng.permutation(len(part))[:MOST]] - mean) / scale for part in parts]
    spread = squared_distances(*[np.concatenate(parts).astype(np.float64)[:: max(1, sum(map(len, parts)) // MOST)]] * 2)
    width = float(np.median(spread[np.triu_indices(len(spread), 1)]))
    K = np.zeros((count, count + 1))
    for i in range(count):
        for j in range(count + 1):
            kernel = np.exp(-squared_distances(parts[i].astype(np.float64), parts[j].astype(np.float64)) / width)
            same = len(parts[i]) if i == j else 0
            K[i, j] = (kernel.sum() - same) / max(kernel.size - same, 1)
    inner, to_target = K[:, :count], K[:, count]
    found = minimize(
        lambda w: float(w @ inner @ w - 2 * to_target @ w),
        np.full(count, 1 / count),
        jac=lambda w: 2 * (inner @ w - to_target),
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(count)},
        method="SLSQP",
        options={"ftol": 1e-12},
    )
    weights = np.maximum(found.x, 0.0)
    return np.asarray(weights / weights.sum())


def by_validators(Xs: Features, ys: Labels, origin: Labels, Xt: Features, classes: int) -> Floats:
    """Each source's own classifier is asked what validators ask: a source whose classifier they like counts more.

    Values of a validator are made comparable by their mean and deviation over the sources; weights are the softmax of
    their mean over validators. Importance weights are left at 1: the validators that see the target tell sources apart.
    """
    asked = []
    for k in range(int(origin.max()) + 1):
        X, y = Xs[origin == k], ys[origin == k]
        found = solve(X, y, classes)
        held, said = (scores_to_logs(s, found.left_out, y) for s in (found.left_out, Xt @ found.weight.T + found.bias))
        seen = Seen(held=held, y=y, weights=np.ones(len(y)), asked=said, Xs=X, Xt=Xt)
        asked.append([ask(seen) for ask in VALIDATORS.values()])
    values = np.array(asked)
    spread = values.std(axis=0)
    scaled = np.where(spread > LOG_FLOOR, (values - values.mean(axis=0)) / np.maximum(spread, LOG_FLOOR), 0.0)
    return softmax(scaled.mean(axis=1)[None])[0]


def scores_to_logs(scores: NDArray[np.floating], left_out: NDArray[np.floating], y: Labels) -> Floats:
    """(N, C) ridge scores to log-probabilities, by the temperature that suits the left-out ones."""
    from headstart.predictor.calibration import fit_temperature

    return np.asarray(np.log(np.maximum(softmax(scores / fit_temperature(left_out, y)), LOG_FLOOR)))


def of_examples(weights: Floats, origin: Labels) -> Floats:
    """(N,) weights of mean 1: each source's, divided among its examples."""
    counts = np.bincount(origin, minlength=len(weights))
    each = weights / np.maximum(counts, 1)
    return np.asarray(each[origin] / each[origin].mean())
