"""What the shallow ways of domain adaptation share: features of both domains, and heads that fit on raw features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from headstart.budget import Budget
from headstart.domains import few as few_labels
from headstart.errors import TrialError
from headstart.machine import one_thread
from headstart.predictor import LinearHead, Predictor
from headstart.predictor.calibration import fit_temperature
from headstart.score.ridge import standardise
from headstart.source.card import Source, SourceCard
from headstart.strategy.contract import PLAIN, Bench, Needs, Side
from headstart.strategy.pair import Pair, Sides, paired
from headstart.target.view import TrainView

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Domains:
    """Both domains as features.

    Args:
        Xs: (N, D) of the source domains.
        ys: (N,) their labels.
        Xt: (M, D) of the target domain; M may be 0 where that is not needed.
        classes: C.
        seed: of everything random.
        origin: (N,) which source domain each example is of; None: there is one.
        few: (n, D) labelled examples of the target domain and their labels (n,); None: there are none.
        intermediate: (K, D) of each domain between the two, the one nearest to the source first.
    """

    Xs: Features
    ys: Labels
    Xt: Features
    classes: int
    seed: int
    origin: Labels | None = None
    few: tuple[Features, Labels] | None = None
    intermediate: tuple[Features, ...] = ()


@dataclass(frozen=True)
class Fitted:
    """A classifier of raw target features, and what is known of it.

    Args:
        head: the classifier.
        left_out: (n, C) logits of the labelled target examples, of each as if it had not been learned from; None: none
            was learned from.
        said: what a reader should know of, as plain JSON.
        elsewhere: the classifier of raw source features; None: it is the same.
    """

    head: LinearHead
    left_out: Features | None = None
    said: dict[str, Any] = field(default_factory=dict)
    elsewhere: LinearHead | None = None


class OnFeatures(ABC):
    """Domain adaptation on frozen features: a pure function of both domains' features, and a head on raw ones.

    The view's labelled examples are of source domains; its unlabelled ones are the target domain's, and so are its
    `few`. The feature network is the Source, as for a probe.
    """

    name: ClassVar[str]
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"), unlabelled=True)

    @abstractmethod
    def fit(self, domains: Domains) -> Fitted:
        """The classifier of raw target features."""

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Some decompositions of the width of the features, and some products with it."""
        return 0.1 + 1e-10 * card.features**2 * (4 * card.features + examples)

    def frozen(self, card: SourceCard) -> float:
        """One pass."""
        return card.flops

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """Features of both domains from the store, then the head."""
        if missing := lacking(self.name, self.needs, view):
            raise TrialError("; ".join(missing))
        body = bench.body(source)
        Xs = bench.features(body, view.examples.inputs, source.card.short)
        Xt = bench.features(body, view.unlabelled, source.card.short) if view.unlabelled is not None else Xs[:0]
        few = None
        if view.few is not None:
            few = (bench.features(body, view.few.inputs, source.card.short), view.few.labels)
        passed = view.intermediate if self.needs.intermediate else ()
        between = tuple(bench.features(body, inputs, source.card.short) for inputs in passed)
        domains = Domains(Xs, view.examples.labels, Xt, len(view.classes), seed, view.examples.origin, few, between)
        with one_thread():
            found = self.fit(domains)
        said, left_out, elsewhere = dict(found.said), found.left_out, found.elsewhere
        return Predictor(view.classes, body, found.head, provenance=said, left_out=left_out, elsewhere=elsewhere)


class Shallow(OnFeatures):
    """A way of adaptation that needs no label of the target.

    Where a few examples of the target have labels, the adapted classifier, which has not seen them, is corrected by
    them: :func:`headstart.domains.few.corrected`.
    """

    learns_few: ClassVar[bool] = True

    @abstractmethod
    def sides(self, pair: Pair, seed: int) -> Sides:
        """The classifier of raw features of either domain.

        Args:
            pair: both domains.
            seed: of everything random.
        """

    def on(self, pair: Pair, seed: int) -> Sides:
        """:meth:`sides`, found once for each pair."""
        return pair.once((self, seed), lambda: self.sides(pair, seed))

    def head(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> LinearHead:
        """The classifier of raw target features alone; see :meth:`sides`."""
        return self.on(paired(Xs, ys, Xt, classes), seed).target

    def fit(self, domains: Domains) -> Fitted:
        """The head, with the target's few labels where it learns from those."""
        sides = self.on(paired(domains.Xs, domains.ys, domains.Xt, domains.classes), domains.seed)
        return fitted(sides, domains) if self.learns_few else Fitted(sides.target, elsewhere=sides.source)


def lacking(name: str, needs: Needs, view: TrainView) -> list[str]:
    """What a view lacks of the domains that a strategy of this name needs, in words."""
    asked = (
        (needs.unlabelled and not view.unlabelled, "unlabelled examples of the target domain"),
        (needs.few and view.few is None, "labelled examples of the target domain"),
        (needs.intermediate and not view.intermediate, "domains between the source and the target"),
    )
    return [f"{name} needs {what}" for missing, what in asked if missing]


def fitted(sides: Sides, domains: Domains) -> Fitted:
    """A classifier that was adapted without the target's few labels, corrected by them if there are any."""
    if domains.few is None:
        return Fitted(sides.target, elsewhere=sides.source)
    return replace(corrected_by(sides.target, domains), elsewhere=sides.source)


def corrected_by(head: LinearHead, domains: Domains) -> Fitted:
    """A head that knows nothing of the target's few labels, corrected by them."""
    assert domains.few is not None
    L, yl = domains.few
    weight = head.weight.astype(np.float64)
    weight, bias = weight - weight.mean(axis=0), head.bias.astype(np.float64) - head.bias.mean()
    factor, offset = few_labels.one_hot_scale(domains.Xt @ weight.T + bias)
    weight, bias = factor * weight, factor * bias + offset
    mean, scale = standardise(domains.Xt)
    found = few_labels.corrected(L @ weight.T + bias, (L - mean) / scale, yl, seed=domains.seed)
    learned = found.weight / scale
    share = found.source_weight
    return as_fitted(found, share * weight + learned, share * bias + found.bias - learned @ mean, yl)


def corrected(made: Predictor, view: TrainView, *, seed: int, bench: Bench, words: str) -> Predictor:
    """A model with a linear head that was adapted without the target's few labels, corrected by them if there are any.

    Args:
        made: the model.
        view: of both domains.
        seed: of everything random.
        bench: store and device.
        words: what is computed, for who waits.
    """
    if view.few is None or view.unlabelled is None:
        return made
    assert isinstance(made.head, LinearHead)
    Xt, L = (bench.features(made.body, inputs, words) for inputs in (view.unlabelled, view.few.inputs))
    nothing, classes = Xt[:0], len(view.classes)
    domains = Domains(nothing, np.empty(0, np.int64), Xt, classes, seed, few=(L, view.few.labels))
    with one_thread():
        found = corrected_by(made.head, domains)
    said = made.provenance | found.said
    return replace(made, head=found.head, provenance=said, left_out=found.left_out, elsewhere=made.head)


def joint(domains: Domains, weights: Floats = few_labels.WEIGHTS) -> Fitted:
    """A classifier of both domains' labels, the source's weight one of `weights`.

    See :func:`headstart.domains.few.joint`; each domain is standardised by its own moments.
    """
    assert domains.few is not None
    L, yl = domains.few
    (of_source, by_source), (mean, scale) = standardise(domains.Xs), standardise(domains.Xt)
    S, T = (domains.Xs - of_source) / by_source, (L - mean) / scale
    found = few_labels.joint(S, domains.ys, T, yl, domains.classes, weights=weights, seed=domains.seed)
    weight = found.weight / scale
    return as_fitted(found, weight, found.bias - weight @ mean, yl)


def as_fitted(found: few_labels.Joint, weight: Floats, bias: Floats, yl: Labels) -> Fitted:
    """Scores on the scale of one-hot targets as logits, by what they were without each labelled target example."""
    scale = 1.0 / fit_temperature(found.left_out, yl)
    weights = {"value": found.source_weight, "low": found.low, "high": found.high}
    said = {"source_weight": {key: round(value, 6) for key, value in weights.items()}}
    head = LinearHead((scale * weight).astype(np.float32), (scale * bias).astype(np.float32))
    return Fitted(head, (scale * found.left_out).astype(np.float32), said)
