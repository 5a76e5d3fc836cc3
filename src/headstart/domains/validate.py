"""Choosing an adapted model without target labels: validators, their noise, and how they agree.

A validator looks at what a model says, never at a target label. In every one of them larger is better. Each is a mean
of one number per example, or nearly so, so that its noise is found by drawing examples anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.domains.align import directions
from headstart.domains.labels import softmax
from headstart.domains.two_sample import classifier_test
from headstart.domains.weights import odds
from headstart.predictor.calibration import fit_temperature
from headstart.predictor.heads import unit
from headstart.score.ridge import Design, one_hot, standardise

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]

RESAMPLES = 200
WIDTH = 128
"""Validators look at so many principal components of both domains at most."""
STEP = 1.02
"""By which a scale of logits is changed to see how a validator changes with it."""
MOST_NEIGHBOURS = 500
"""Target examples whose neighbourhoods are looked at."""


@dataclass(frozen=True)
class Seen:
    """What validators may look at.

    Args:
        held: (N, C) log-probabilities of source examples that the model was not trained on, by its map for the source.
        y: (N,) their labels.
        weights: (N,) density ratio of those, target over source, of mean 1.
        asked: (M, C) log-probabilities of the target's examples.
        Xs: (N, D) features of those source examples.
        Xt: (M, D) features of the target's examples.
        consensus: (M,) what the mean of all models says of the target's examples; None: there is no other model.
        decomposed: of `Xt`, standardised, for :func:`reversed_right`; None: it does that itself.
    """

    held: NDArray[np.floating]
    y: Labels
    weights: Floats
    asked: NDArray[np.floating]
    Xs: Features
    Xt: Features
    consensus: Labels | None = None
    decomposed: Design | None = None


@dataclass(frozen=True)
class Ground:
    """What all models are looked at on.

    Args:
        weights: as in :class:`Seen`.
        Xs: as there.
        Xt: as there.
        apart: how well a classifier tells the domains apart, as the area under its ROC curve; 0.5: it cannot.
    """

    weights: Floats
    Xs: Features
    Xt: Features
    apart: float


def common_ground(X: Features, Z: Features, held: Labels, *, seed: int = 0) -> Ground:
    """Density ratios of held-out source examples, and both domains on their common principal components.

    Args:
        X: (N, D) features of the source.
        Z: (M, D) features of the target.
        held: (H,) rows of the source that the models were not trained on.
        seed: of the folds behind the density ratio.
    """
    told = classifier_test(X, Z, permutations=0, seed=seed)
    weights = odds(told)[held]
    both = np.concatenate([X[held], Z])
    onto = directions(both[:: max(1, len(both) // 2000)], WIDTH)
    narrow = [(part @ onto).astype(np.float32) for part in (X[held], Z)]
    return Ground(weights / max(float(weights.mean()), 1e-12), narrow[0], narrow[1], told.auc)


@dataclass(frozen=True)
class Validator:
    """A function of means over examples, so that its noise is found by drawing examples anew at the cost of a product.

    Args:
        side: whose examples it looks at, the source's held-out ones or the target's.
        columns: what it takes the means of, (n, K) for the n examples of that side.
        of_means: (..., K) means to (...) values; larger is better.
        sure: whether it depends on how sure the model is, and not only on what it says.
    """

    side: Literal["source", "target"]
    columns: Callable[[Seen], Floats]
    of_means: Callable[[Floats], Floats]
    sure: bool = False

    def __call__(self, seen: Seen) -> float:
        """Its value for one model."""
        return float(self.of_means(self.columns(seen).mean(axis=0)))


def _first(means: Floats) -> Floats:
    return np.asarray(means[..., 0])


def _weighted_right(seen: Seen) -> Floats:
    right = seen.held.argmax(axis=1) == seen.y
    return np.stack([seen.weights * right, seen.weights], axis=1)


importance_weighted = Validator(
    "source", _weighted_right, lambda m: np.asarray(m[..., 0] / np.maximum(m[..., 1], 1e-300))
)
"""Accuracy on held-out source examples, weighted like the target (Sugiyama et al. 2007)."""


def _weighted_wrong(seen: Seen) -> Floats:
    loss, w = (seen.held.argmax(axis=1) != seen.y).astype(np.float64), seen.weights
    return np.stack([w * loss, w, w * w * loss, w * w], axis=1)


def _controlled(means: Floats) -> Floats:
    loss, w, both, square = np.moveaxis(means, -1, 0)
    spread = square - w * w
    eta = np.where(spread > 1e-12, -(both - loss * w) / np.maximum(spread, 1e-12), 0.0)
    return np.asarray(1.0 - (loss + eta * w - eta))


deep_embedded = Validator("source", _weighted_wrong, _controlled)
"""DEV (You et al. 2019): importance-weighted accuracy with the weights as a control variate.

mean(w l) + eta mean(w) - eta with eta = -cov(w l, w) / var(w) for the loss l; given back as accuracy, 1 - risk.
"""


def _sureness(seen: Seen) -> Floats:
    p = softmax(seen.asked)
    return np.concatenate([(p * np.log(np.maximum(p, 1e-12))).sum(axis=1, keepdims=True), p], axis=1)


entropy = Validator("target", lambda seen: _sureness(seen)[:, :1], _first, sure=True)
"""Minus the mean entropy of target predictions (Morerio et al. 2018), in nats: a sure model is preferred."""

infomax = Validator(
    "target",
    _sureness,
    lambda m: np.asarray(m[..., 0] - (m[..., 1:] * np.log(np.maximum(m[..., 1:], 1e-12))).sum(axis=-1)),
    sure=True,
)
"""Mutual information of target examples and predictions (Shi & Sha 2012; Musgrave et al. 2022), in nats.

Sure on each example, and not of the same class on all: where :data:`entropy` would prefer a model that collapsed.
"""


def densities(seen: Seen, temperature: float = 0.05) -> Floats:
    """Per target example the entropy of its likeness to the others: the terms of soft neighbourhood density, (M, 1).

    Likeness is the cosine of predicted probabilities over `temperature` (Saito et al. 2021).
    """
    p = unit(softmax(seen.asked)).astype(np.float32)
    every = max(1, -(-len(p) // MOST_NEIGHBOURS))
    others = p[::every]
    # A likeness is 1 / temperature at most, and nobody is its own neighbour.
    likeness = (p @ others.T - np.float32(1)) / np.float32(temperature)
    likeness[np.arange(0, len(p), every), np.arange(len(others))] = -1e4
    shares = np.exp(likeness)
    total = np.maximum(shares.sum(axis=1, dtype=np.float64), 1e-300)
    # -sum q log q of q = shares / total.
    return np.asarray(np.log(total) - np.einsum("mn,mn->m", shares, likeness) / total)[:, None]


neighbourhood = Validator("target", densities, _first, sure=True)
"""Soft neighbourhood density (Saito et al. 2021), in nats: predictions in dense groups are preferred."""


def reversed_right(seen: Seen) -> Floats:
    """Per source example whether a classifier of the target's pseudo-labels is right (Zhong et al. 2010), (N, 1).

    Each domain is standardised by its own moments, so that a shift of location is not held against the model. It is a
    ridge classifier whatever the model was.
    """
    guessed = seen.asked.argmax(axis=1)
    if len(np.unique(guessed)) < 2:
        return np.asarray(seen.y == guessed[0], dtype=np.float64)[:, None]
    S = _standard(seen.Xs)
    design = _decomposed(seen.Xt) if seen.decomposed is None else seen.decomposed
    found = design.fit(one_hot(guessed, seen.asked.shape[1]))
    return np.asarray((S @ found.weight.T + found.bias).argmax(axis=1) == seen.y, dtype=np.float64)[:, None]


def _standard(X: Features) -> Features:
    return np.asarray((X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-6), dtype=np.float32)


def _decomposed(Xt: Features) -> Design:
    T = _standard(Xt)
    return Design(T, scaling=standardise(T))


circular = Validator("source", reversed_right, _first)
"""Reverse validation, as accuracy: the mean of :func:`reversed_right`."""


def _with_the_others(seen: Seen) -> Floats:
    said = seen.asked.argmax(axis=1)
    return np.asarray(said == (said if seen.consensus is None else seen.consensus), dtype=np.float64)[:, None]


consensus = Validator("target", _with_the_others, _first)
"""Share of target examples on which a model says what the mean of all models says (EnsV; Hu et al. 2024)."""

VALIDATORS: dict[str, Validator] = {
    "importance_weighted": importance_weighted,
    "dev": deep_embedded,
    "entropy": entropy,
    "infomax": infomax,
    "neighbourhood": neighbourhood,
    "circular": circular,
    "consensus": consensus,
}
"""Every validator by name."""

RELIABILITY: dict[str, dict[str, float]] = {
    family: dict(zip(VALIDATORS, correlations, strict=True))
    for family, correlations in {
        "simulated": (0.056, 0.056, 0.141, 0.173, -0.085, -0.075, -0.051),
        "office": (0.206, 0.206, -0.003, 0.223, -0.195, 0.097, 0.318),
        "digits": (-0.085, -0.085, -0.329, 0.002, -0.49, 0.721, 0.837),
        "pacs": (0.102, 0.102, 0.187, 0.463, -0.143, 0.379, 0.49),
        "reviews": (0.255, 0.255, 0.543, 0.74, -0.766, 0.374, 0.856),
    }.items()
}
"""Family of pairs of domains -> validator -> mean rank correlation between what it says of routes and the truth.

Each in the order of `VALIDATORS`, as `benchmarks/adapt.py` measured it with the target's labels; `python -m
benchmarks.adapt` prints it. It is what later choices trust validators by.
"""


def trusted(families: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Validator -> trust: the square of its mean reliability over families, or nil where that is below nil.

    The square of a correlation is the share of the order that it explains.

    Args:
        families: of each its validators' rank correlations with the truth. Whoever judges a choice leaves out the
            family that the choice is about.
    """
    found = list(families)
    return {v: max(0.0, float(np.mean([family[v] for family in found]))) ** 2 for v in found[0]} if found else {}


TRUST = trusted(RELIABILITY.values())
"""How far each validator is trusted where nothing else is said."""
APART = 0.85
"""A classifier that tells the domains apart less well, by the area under its ROC curve, finds nothing to align."""
SUPPORT = 0.4
"""Least support for which an adapted model is shipped."""


@dataclass(frozen=True)
class Agreement:
    """What the validators say of several models together.

    Args:
        trust: validator -> its weight: how well it ranked models elsewhere, see :data:`RELIABILITY`.
        values: model -> validator -> value.
        lead: model -> validator -> (difference to the reference model, its standard error by paired bootstrap).
        rank: model -> mean over validators of its rank among the models, by trust; 1 is best.
        first: model -> share of draws in which its mean rank was the best.
        chosen: the model with the best mean rank.
        beyond: validators that prefer `chosen` to the reference beyond their noise.
        against: validators that prefer the reference to `chosen` beyond their noise.
        support: trust of those in `beyond` less that of those in `against`, as a share of all trust.
        apart: how well a classifier tells the domains apart; see :class:`Ground`.
    """

    trust: dict[str, float]
    values: dict[str, dict[str, float]]
    lead: dict[str, dict[str, tuple[float, float]]]
    rank: dict[str, float]
    first: dict[str, float]
    chosen: str
    beyond: tuple[str, ...]
    against: tuple[str, ...]
    support: float
    apart: float


def agreement(
    models: Mapping[str, Seen],
    reference: str,
    *,
    apart: float = 1.0,
    trust: Mapping[str, float] = TRUST,
    resamples: int = RESAMPLES,
    level: float = 1.96,
    seed: int = 0,
) -> Agreement:
    """Ask every validator about every model, and about their differences on the same drawn examples.

    Args:
        models: what validators may see of each; all on the same examples.
        reference: the model that is kept where they do not agree: source-only.
        apart: how well a classifier tells the domains apart.
        trust: validator -> weight.
        resamples: draws of source and target examples.
        level: standard errors that a difference must exceed to be beyond noise.
        seed: of the draws.
    """
    names = list(models)
    rng = np.random.default_rng(seed)
    counts = {
        side: rng.multinomial(n, np.full(n, 1 / n), resamples) / n
        for side, n in (("source", len(models[reference].y)), ("target", len(models[reference].asked)))
    }
    mean = np.mean([softmax(seen.asked) for seen in models.values()], axis=0).argmax(axis=1)
    design = _decomposed(models[reference].Xt)
    models = {name: replace(seen, consensus=mean, decomposed=design) for name, seen in models.items()}
    calibrated = [_calibrated(seen) for seen in models.values()]
    whole, drawn = {}, {}
    for v in trust:
        answers = [_answer(VALIDATORS[v], each, counts) for each in calibrated]
        whole[v], drawn[v] = np.array([value for value, _ in answers]), np.stack([d for _, d in answers], axis=1)
    at = names.index(reference)
    errors = {v: (drawn[v] - drawn[v][:, [at]]).std(axis=0, ddof=1) for v in trust}
    leads = {v: list(zip((whole[v] - whole[v][at]).tolist(), errors[v].tolist(), strict=True)) for v in trust}
    best = mean_ranks(drawn, trust).argmin(axis=1)
    firsts = np.bincount(best, minlength=len(names)) / resamples
    return weighed(
        {name: {v: float(whole[v][i]) for v in trust} for i, name in enumerate(names)},
        {name: {v: leads[v][i] for v in trust} for i, name in enumerate(names)},
        reference,
        trust,
        first={name: float(firsts[i]) for i, name in enumerate(names)},
        apart=apart,
        level=level,
    )


@dataclass(frozen=True)
class _Calibrated:
    """A model at its scale of logits and at one a step above; scale and shifts are those of :func:`calibration`."""

    seen: Seen
    surer: Seen
    scale: float
    shifts: Floats


def _calibrated(seen: Seen) -> _Calibrated:
    scale, shifts = calibration(seen)
    return _Calibrated(scaled(seen, scale), scaled(seen, STEP * scale), scale, shifts)


def _answer(ask: Validator, model: _Calibrated, counts: Mapping[str, Floats]) -> tuple[float, Floats]:
    """What a validator says of a calibrated model, and on every draw of examples, (R,).

    Args:
        ask: the validator.
        model: the model.
        counts: side -> (R, n), how often each draw has each example, over n.
    """
    columns = ask.columns(model.seen)
    value = float(ask.of_means(columns.mean(axis=0)))
    draws = ask.of_means(counts[ask.side] @ columns)
    if ask.sure:  # how sure the model may be was found on examples that are drawn, too
        more = float(ask.of_means(ask.columns(model.surer).mean(axis=0)))
        slope = (more - value) / ((STEP - 1) * model.scale)
        draws = draws + slope * (counts["source"] @ model.shifts)
    return value, draws


def calibration(seen: Seen) -> tuple[float, Floats]:
    """What a model's logits are to be multiplied by, by the held-out source examples, and what each had in it.

    Temperature scaling (Guo et al. 2017). A model that learned from its own predictions is surer than the others of
    whatever it says; validators that prefer the sure would prefer it always.

    Returns:
        The scale b, and (N,) by how much another draw of the examples moves it for each copy of an example: its score
        (the derivative of its log-likelihood) over the mean Fisher information.
    """
    scale = 1.0 / fit_temperature(seen.held, seen.y)
    p = softmax(scale * seen.held)
    z = np.maximum(np.asarray(seen.held, dtype=np.float64), -1e4)
    mean = (p * z).sum(axis=1)
    score = z[np.arange(len(z)), seen.y] - mean
    information = float((p * z**2).sum(axis=1).mean() - (mean**2).mean()) + 1 / (len(z) * scale**2)
    return scale, (score - score.mean()) / max(information, 1e-12)


def scaled(seen: Seen, scale: float) -> Seen:
    """The same with the logits of target predictions multiplied by `scale`."""
    logits = scale * np.asarray(seen.asked, dtype=np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return replace(seen, asked=logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def weighed(
    values: Mapping[str, Mapping[str, float]],
    lead: Mapping[str, Mapping[str, tuple[float, float]]],
    reference: str,
    trust: Mapping[str, float],
    *,
    first: Mapping[str, float],
    apart: float = 1.0,
    level: float = 1.96,
) -> Agreement:
    """What was said, weighed by trust; see :class:`Agreement` for the arguments."""
    names = list(values)
    total = sum(trust.values())
    ranks = mean_ranks({v: np.array([values[name][v] for name in names]) for v in trust}, trust)
    # Among equals the reference, which is surely safe.
    chosen = names[min(range(len(names)), key=lambda i: (ranks[i], names[i] != reference))]
    said = {v: (lead[chosen][v][0], level * lead[chosen][v][1]) for v in trust if trust[v] > 0}
    beyond = tuple(v for v, (gap, noise) in said.items() if gap > noise and gap > 0)
    against = tuple(v for v, (gap, noise) in said.items() if -gap > noise and gap < 0)
    return Agreement(
        dict(trust),
        {name: dict(values[name]) for name in names},
        {name: dict(lead[name]) for name in names},
        {name: float(rank) for name, rank in zip(names, ranks, strict=True)},
        dict(first),
        chosen,
        beyond,
        against,
        (sum(trust[v] for v in beyond) - sum(trust[v] for v in against)) / total,
        apart,
    )


def mean_ranks(values: Mapping[str, Floats], trust: Mapping[str, float]) -> Floats:
    """(..., R): by trust the mean over validators of the rank of each of R models; 1 is best, equals share a rank."""
    from scipy.stats import rankdata

    ranks: Floats = sum(weight * rankdata(-values[v], axis=-1) for v, weight in trust.items()) / sum(trust.values())
    return ranks


def guarded(found: Agreement, reference: str, *, least: float = SUPPORT, apart: float = APART) -> tuple[str, str]:
    """Which model is shipped, and why, in a sentence: the chosen one only where that is safe, else the reference.

    Args:
        found: what the validators say.
        reference: the model that is shipped where they do not agree: source-only.
        least: support that the chosen model must have.
        apart: how well a classifier must tell the domains apart. Where they overlap, what the source's model says of
            the target was learned from examples like it: there is little to win, and a map can only mislead.
    """
    if found.chosen == reference:
        return reference, f"{reference} has the best mean rank over {len(found.trust)} validators."
    if found.apart < apart:
        return reference, (
            f"the domains overlap: the area under the ROC curve of a classifier of domains is {found.apart:.2f}, and "
            f"below {apart:.2f} adaptation has little to win."
        )
    who = ", ".join(found.beyond) or "no validator"
    who += f" {'prefers' if len(found.beyond) < 2 else 'prefer'} {found.chosen}"
    if found.against:
        who += f", and {', '.join(found.against)} {reference},"
    share = f"{100 * found.support:.0f} % of all trust, where {100 * least:.0f} % are asked for"
    if found.support < least:
        return reference, f"{who} beyond noise: {share}."
    return found.chosen, f"{who} beyond noise: {share}."
