"""Several source domains: how much each should count, and whether one does harm. Weights are (K,) and sum to 1.

Xs is (N, D) of all sources with labels ys, origin (N,) tells which of the K sources each example is of, Xt is (M, D).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.domains.few import compared
from headstart.domains.labels import softmax
from headstart.domains.two_sample import squared_distances
from headstart.domains.validate import VALIDATORS, Agreement, Seen, agreement, guarded
from headstart.domains.weights import discriminator
from headstart.score.ridge import solve, standardise

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]

MOST = 500
"""Examples of each domain that kernels are computed on."""
LOG_FLOOR = 1e-12
ALL = "all sources"
LEVEL = 1.96


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


@dataclass(frozen=True)
class Screened:
    """Which source domains are kept, and what each of them gives.

    Args:
        discrepancy: name -> weight by :func:`by_discrepancy`, of all of them.
        validators: name -> weight by :func:`by_validators`.
        helped: name -> validators that prefer source-only with it to source-only without it, beyond their noise.
        harmed: name -> validators that prefer the reverse, beyond their noise.
        leads: name -> validator -> (value with it minus value without it, standard error).
        dropped: names of those that do harm, in the order in which they were dropped.
        reason: why they were, or why none was, in a sentence.
        asked: what a model of all sources, and of all without each, says of the target, (M, C) log-probabilities.
    """

    discrepancy: dict[str, float]
    validators: dict[str, float]
    helped: dict[str, tuple[str, ...]]
    harmed: dict[str, tuple[str, ...]]
    leads: dict[str, dict[str, tuple[float, float]]]
    dropped: tuple[str, ...]
    reason: str
    asked: dict[str, Floats]


def screened(
    Xs: Features,
    ys: Labels,
    origin: Labels,
    Xt: Features,
    names: Sequence[str],
    classes: int,
    few: tuple[Features, Labels] | None = None,
    *,
    seed: int = 0,
) -> Screened:
    """Leave each source out in turn, and drop one where source-only is better without it.

    It is dropped where :func:`headstart.domains.validate.guarded` would ship source-only without it rather than with
    it. Labels of the target, where there are some, overrule that: they may forbid it, and may settle it alone.

    Args:
        names: of the K sources.
        few: labelled target examples (n, D) and their labels (n,).
    """
    first, dropped, why = None, [], ""
    left = list(range(len(names)))
    while len(left) > 1:
        rows = np.isin(origin, left)
        mine = np.searchsorted(left, origin[rows])
        models, right = _left_out(Xs[rows], ys[rows], mine, Xt, [names[k] for k in left], classes, few, seed)
        said = agreement(models, ALL, seed=seed)
        first = first or (said, {name: np.asarray(seen.asked) for name, seen in models.items()})
        harmful, reason = _harmful(said, right)
        if not harmful:
            why = why or reason
            break
        dropped.append(harmful)
        why = (why + " " if why else "") + reason
        left.remove(list(names).index(harmful))
    assert first is not None
    said, asked = first
    likeness = by_discrepancy(Xs, origin, Xt, seed=seed)
    liked = by_validators(Xs, ys, origin, Xt, classes)
    # What is stored is without minus with.
    leads = {name: {v: (-gap, noise) for v, (gap, noise) in said.lead[name].items()} for name in names}
    sure = {name: {v: gap / noise if noise > 0 else 0.0 for v, (gap, noise) in leads[name].items()} for name in names}
    return Screened(
        {name: float(likeness[k]) for k, name in enumerate(names)},
        {name: float(liked[k]) for k, name in enumerate(names)},
        {name: tuple(v for v, z in sure[name].items() if z > LEVEL) for name in names},
        {name: tuple(v for v, z in sure[name].items() if z < -LEVEL) for name in names},
        leads,
        tuple(dropped),
        why,
        asked,
    )


def _left_out(
    Xs: Features,
    ys: Labels,
    origin: Labels,
    Xt: Features,
    names: Sequence[str],
    classes: int,
    few: tuple[Features, Labels] | None,
    seed: int,
) -> tuple[dict[str, Seen], dict[str, NDArray[np.bool_]]]:
    """Source-only of all sources, and without each (under its name): what validators see, and what is right of few.

    All are asked about all source examples, none about one that it learned from.
    """
    weights = discriminator(Xs, Xt, seed=seed)
    models, right = {}, {}
    for k, name in [(-1, ALL), *enumerate(names)]:
        kept = origin != k
        found = solve(Xs[kept], ys[kept], classes)
        held = (Xs @ found.weight.T + found.bias).astype(np.float64)
        held[kept] = found.left_out
        held, asked = (scores_to_logs(s, found.left_out, ys[kept]) for s in (held, Xt @ found.weight.T + found.bias))
        models[name] = Seen(held=held, y=ys, weights=weights, asked=asked, Xs=Xs, Xt=Xt)
        if few is not None:
            right[name] = (few[0] @ found.weight.T + found.bias).argmax(axis=1) == few[1]
    return models, right


def _harmful(said: Agreement, right: Mapping[str, NDArray[np.bool_]]) -> tuple[str, str]:
    """The source that is better left out, "" where there is none, and why."""
    without, _ = guarded(said, ALL)
    if right:
        told = {name: compared(right[name], right[ALL]) for name in said.rank if name != ALL}
        best = max(told, key=lambda name: told[name].lead)
        if told[best].beyond:
            gain = f"{100 * told[best].lead:+.0f} points on the labelled target examples"
            return best, f"{best} does harm: {gain} without it, beyond the noise."
        if without != ALL and told[without].lead < 0:
            return "", f"No source was dropped: validators would drop {without}, labelled target examples would not."
    if without == ALL:
        return "", "No source was dropped: validators do not agree beyond their noise that one does harm."
    return without, f"{without} does harm: {len(said.beyond)} of {len(VALIDATORS)} validators prefer to be without it."
