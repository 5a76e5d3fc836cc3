"""Several source domains: how much each should count, and whether one does harm. Weights are (K,) and sum to 1.

Xs is (N, D) of all sources with labels ys, origin (N,) tells which of the K sources each example is of, Xt is (M, D).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.domains.few import LEVEL, Told, compared
from headstart.domains.labels import softmax
from headstart.domains.two_sample import squared_distances
from headstart.domains.validate import VALIDATORS, Seen, agreement, guarded
from headstart.domains.weights import discriminator
from headstart.score.ridge import solve, standardise

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]

MOST = 500
"""Examples of each domain that kernels are computed on."""
LOG_FLOOR = 1e-12
ALL, WITHOUT = "all sources", "without one"


def equal(origin: Labels) -> Floats:
    """Every source counts alike, however many examples it has."""
    count = int(origin.max()) + 1
    return np.full(count, 1 / count)


def by_discrepancy(Xs: Features, origin: Labels, Xt: Features, *, seed: int = 0) -> Floats:
    """The mixture of sources that is most like the target: kernel mean matching of whole domains.

    min over the simplex of |sum_k w_k mu_k - mu_t|^2 with kernel means mu, Gaussian kernel of median width (Huang et
    al. 2007, with one weight for each domain; Mansour et al. 2009 on mixtures of sources). Each domain's mean
    similarity to itself leaves out that of an example to itself, so that a small domain does not seem far from others.
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
        held, said = as_logs(found.left_out, y, Xt @ found.weight.T + found.bias)
        seen = Seen(held=held, y=y, weights=np.ones(len(y)), asked=said, Xs=X, Xt=Xt)
        asked.append([ask(seen) for ask in VALIDATORS.values()])
    values = np.array(asked)
    spread = values.std(axis=0)
    scaled = np.where(spread > LOG_FLOOR, (values - values.mean(axis=0)) / np.maximum(spread, LOG_FLOOR), 0.0)
    return np.asarray(softmax(scaled.mean(axis=1)[None])[0])


def as_logs(left_out: NDArray[np.floating], y: Labels, asked: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Ridge scores, left-out (N, C) and of the target (M, C), to log-probabilities; the former set the temperature."""
    from headstart.predictor.calibration import fit_temperature

    temperature = fit_temperature(left_out, y)
    held, said = (np.log(np.maximum(softmax(scores / temperature), LOG_FLOOR)) for scores in (left_out, asked))
    return held, said


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
    it, and the labelled examples of the other sources, weighted like the target, say so too beyond their noise. Labels
    of the target, where there are some, may forbid it, and may settle it alone.

    Args:
        Xs: (N, D) of all sources.
        ys: (N,) their labels.
        origin: (N,) which of the K sources each is of.
        Xt: (M, D) of the target.
        names: of the K sources.
        classes: C.
        few: labelled target examples (n, D) and their labels (n,).
        seed: of everything random.
    """
    first: list[_WithAndWithout] = []
    dropped: list[str] = []
    reasons: list[str] = []
    left = list(range(len(names)))
    while len(left) > 1:
        rows = np.isin(origin, left)
        mine = np.searchsorted(left, origin[rows])
        found = _left_out(Xs[rows], ys[rows], mine, Xt, [names[k] for k in left], classes, few, seed)
        first = first or found
        harmful, reason = _harmful(found)
        if not harmful:
            reasons += [] if dropped else [reason]
            break
        dropped.append(harmful)
        reasons.append(reason)
        left.remove(list(names).index(harmful))
    likeness = by_discrepancy(Xs, origin, Xt, seed=seed)
    liked = by_validators(Xs, ys, origin, Xt, classes)
    return Screened(
        {name: float(likeness[k]) for k, name in enumerate(names)},
        {name: float(liked[k]) for k, name in enumerate(names)},
        {one.name: _beyond(one.leads, 1.0) for one in first},
        {one.name: _beyond(one.leads, -1.0) for one in first},
        {one.name: one.leads for one in first},
        tuple(dropped),
        " ".join(reasons),
        {ALL: first[0].asked_with, **{one.name: one.asked_without for one in first}},
    )


@dataclass(frozen=True)
class _WithAndWithout:
    """Source-only of all sources beside source-only without one of them.

    Args:
        name: of the one.
        leads: validator -> (value with it minus value without it, standard error).
        agreed: whether validators agree that it is better left out.
        others: what the other sources' labelled examples, weighted like the target, say of leaving it out.
        few: what labelled target examples say of that; None: there are none.
        asked_with: (M, C) log-probabilities of the target.
        asked_without: likewise.
    """

    name: str
    leads: dict[str, tuple[float, float]]
    agreed: bool
    others: Told
    few: Told | None
    asked_with: Floats
    asked_without: Floats


def _left_out(
    Xs: Features,
    ys: Labels,
    origin: Labels,
    Xt: Features,
    names: Sequence[str],
    classes: int,
    few: tuple[Features, Labels] | None,
    seed: int,
) -> list[_WithAndWithout]:
    """Each source left out in turn. Both models are asked about the other sources' examples, each left out as well."""
    weights = discriminator(Xs, Xt, seed=seed)
    whole = solve(Xs, ys, classes)
    compare = []
    for k, name in enumerate(names):
        kept = origin != k
        X, y, weight = Xs[kept], ys[kept], weights[kept] / max(float(weights[kept].mean()), 1e-12)
        rest = solve(X, y, classes)
        models, right = {}, {}
        for called, model, held in ((ALL, whole, whole.left_out[kept]), (WITHOUT, rest, rest.left_out)):
            logs, asked = as_logs(held, y, Xt @ model.weight.T + model.bias)
            models[called] = Seen(held=logs, y=y, weights=weight, asked=asked, Xs=X, Xt=Xt)
            if few is not None:
                right[called] = (few[0] @ model.weight.T + model.bias).argmax(axis=1) == few[1]
        # Trust in validators was learned on ways of adaptation; of sources nothing is known, and they count alike.
        said = agreement(models, ALL, trust=dict.fromkeys(VALIDATORS, 1.0), seed=seed)
        held_right = {called: seen.held.argmax(axis=1) == y for called, seen in models.items()}
        compare.append(
            _WithAndWithout(
                name,
                {v: (-gap, noise) for v, (gap, noise) in said.lead[WITHOUT].items()},
                guarded(said, ALL)[0] == WITHOUT,
                compared(held_right[WITHOUT], held_right[ALL], weight),
                compared(right[WITHOUT], right[ALL]) if few is not None else None,
                np.asarray(models[ALL].asked),
                np.asarray(models[WITHOUT].asked),
            )
        )
    return compare


def _beyond(leads: dict[str, tuple[float, float]], sign: float) -> tuple[str, ...]:
    return tuple(v for v, (gap, noise) in leads.items() if sign * gap > LEVEL * noise and sign * gap > 0)


def _harmful(found: Sequence[_WithAndWithout]) -> tuple[str, str]:
    """The source that is better left out, "" where there is none, and why."""
    by_labels = [one for one in found if one.few is not None and one.few.beyond]
    if by_labels:
        worst = max(by_labels, key=lambda one: one.few.lead if one.few is not None else 0.0)
        assert worst.few is not None
        gain = f"{100 * worst.few.lead:+.0f} points on the labelled target examples"
        return worst.name, f"{worst.name} does harm: {gain} without it, beyond the noise."
    agreed = [one for one in found if one.agreed and one.others.beyond]
    allowed = [one for one in agreed if one.few is None or one.few.lead >= 0]
    if allowed:
        worst = max(allowed, key=lambda one: one.others.lead)
        gain = f"{100 * worst.others.lead:+.1f} points on the other sources, weighted like the target"
        return worst.name, f"{worst.name} does harm: validators agree to be without it, with {gain}."
    if agreed:
        return "", f"No source was dropped: labelled target examples are against being without {agreed[0].name}."
    return "", "No source was dropped: none is shown to do harm."
