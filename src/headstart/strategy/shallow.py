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
from headstart.predictor import LinearHead, Predictor
from headstart.predictor.calibration import fit_temperature
from headstart.score.ridge import PENALTIES, standardise
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, Bench, Needs, Side
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
    """

    Xs: Features
    ys: Labels
    Xt: Features
    classes: int
    seed: int
    origin: Labels | None = None
    few: tuple[Features, Labels] | None = None


@dataclass(frozen=True)
class Sides:
    """One classifier, as seen from either domain.

    Args:
        target: on raw features of the target domain: what is shipped.
        source: on raw features of the source domain, which may have another map: what held-out source examples are
            predicted by.
    """

    target: LinearHead
    source: LinearHead


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
        """Some decompositions of the width of the features."""
        return 0.1 + 40.0 * card.features**3 / 2e10

    def frozen(self, card: SourceCard) -> float:
        """One pass."""
        return card.flops

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """Features of both domains from the store, then the head."""
        from threadpoolctl import threadpool_limits

        if self.needs.unlabelled and not view.unlabelled:
            raise TrialError(f"{self.name} needs unlabelled examples of the target domain")
        if self.needs.few and view.few is None:
            raise TrialError(f"{self.name} needs labelled examples of the target domain")
        body = bench.body(source)
        Xs = bench.features(body, view.examples.inputs, source.card.short)
        Xt = bench.features(body, view.unlabelled, source.card.short) if view.unlabelled is not None else Xs[:0]
        few = None
        if view.few is not None:
            few = (bench.features(body, view.few.inputs, source.card.short), view.few.labels)
        domains = Domains(Xs, view.examples.labels, Xt, len(view.classes), seed, view.examples.origin, few)
        with threadpool_limits(1, user_api="blas"):  # many small products: threads only wait
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
    def sides(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> Sides:
        """The classifier of raw features of either domain.

        Args:
            Xs: (N, D) of the source domain.
            ys: (N,) its labels.
            Xt: (M, D) of the target domain.
            classes: C.
            seed: of everything random.
        """

    def head(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> LinearHead:
        """The classifier of raw target features alone; see :meth:`sides`."""
        return self.sides(Xs, ys, Xt, classes, seed).target

    def fit(self, domains: Domains) -> Fitted:
        """The head, with the target's few labels where it learns from those."""
        sides = self.sides(domains.Xs, domains.ys, domains.Xt, domains.classes, domains.seed)
        if domains.few is None or not self.learns_few:
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
    from threadpoolctl import threadpool_limits

    if view.few is None or view.unlabelled is None:
        return made
    assert isinstance(made.head, LinearHead)
    Xt, L = (bench.features(made.body, inputs, words) for inputs in (view.unlabelled, view.few.inputs))
    nothing, classes = Xt[:0], len(view.classes)
    domains = Domains(nothing, np.empty(0, np.int64), Xt, classes, seed, few=(L, view.few.labels))
    with threadpool_limits(1, user_api="blas"):
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


@dataclass(frozen=True)
class Standardised:
    """Both domains, each standardised by its own moments.

    Args:
        S: (N, D) of the source.
        T: (M, D) of the target.
        of_source: its mean and scale, (D,) each.
        of_target: likewise.
    """

    S: Floats
    T: Floats
    of_source: tuple[Features, Features]
    of_target: tuple[Features, Features]

    def sides(self, found: LinearHead, *, source: Floats | None = None, target: Floats | None = None) -> Sides:
        """A classifier of standardised features, after a map of either domain where there is one, (D, d)."""
        return Sides(on_raw(found, *self.of_target, target), on_raw(found, *self.of_source, source))


def each_standardised(Xs: Features, Xt: Features) -> Standardised:
    """Both domains, each standardised by its own moments."""
    of_source, of_target = standardise(Xs), standardise(Xt)
    S, T = (((X - mean) / scale).astype(np.float64) for X, (mean, scale) in ((Xs, of_source), (Xt, of_target)))
    return Standardised(S, T, of_source, of_target)


def on_raw(head: LinearHead, mean: Features, scale: Features, onto: Floats | None = None) -> LinearHead:
    """A head on ((x - mean) / scale) @ onto, as one on x."""
    weight = head.weight.astype(np.float64) if onto is None else head.weight.astype(np.float64) @ onto.T
    weight = weight / scale
    return LinearHead(weight.astype(np.float32), (head.bias - weight @ mean).astype(np.float32))


def classifier(Z: NDArray[np.floating], y: Labels, classes: int) -> LinearHead:
    """Ridge classifier whose scores are likely as logits; see :func:`headstart.strategy.linear.ridge`."""
    return linear.ridge(Z.astype(np.float32), y, classes).as_logits(y)


@dataclass(frozen=True)
class Weighted:
    """A weighted ridge regression: scores are Z @ weight.T + bias.

    Args:
        weight: (C, D).
        bias: (C,).
        left_out: (N, C), what each example would have scored had it not been fitted on.
    """

    weight: Floats
    bias: Floats
    left_out: Floats

    def scores(self, Z: Floats) -> Floats:
        """(M, D) to (M, C), on the scale of the targets."""
        return np.asarray(Z @ self.weight.T + self.bias)

    def as_logits(self, y: Labels) -> LinearHead:
        """The head, scaled so that the leave-one-out scores are likely as logits of labels y."""
        scale = 1.0 / fit_temperature(self.left_out, y)
        return LinearHead((scale * self.weight).astype(np.float32), (scale * self.bias).astype(np.float32))


def _centred(Z: Floats, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Shares of the weights (N,), mean by them (D,), roots of weights of mean 1 (N, 1), roots times Z - mean."""
    weights = weights / weights.mean()
    share, root = weights / weights.sum(), np.sqrt(weights)[:, None]
    mean = share @ Z
    return share, mean, root, root * (Z - mean)


class Design:
    """Examples with weights, decomposed once, so that ridge regression to any targets is a few products.

    Args:
        Z: (N, D), about standardised.
        weights: (N,), not negative; None: all the same.
    """

    def __init__(self, Z: NDArray[np.floating], weights: Floats | None = None) -> None:
        self.Z = np.asarray(Z, dtype=np.float64)
        self.share, self.mean, self.root, R = _centred(self.Z, np.ones(len(Z)) if weights is None else weights)
        short = len(Z) <= R.shape[1]
        values, V = np.linalg.eigh(R @ R.T if short else R.T @ R)
        self.values = np.maximum(values, 1e-12)
        self.basis = V if short else (R @ V) / np.sqrt(self.values)
        self.onto = R.T @ V / np.sqrt(self.values) if short else V
        # Of each example on its own prediction, by penalty: (P, N).
        self.shrinks = self.values / (self.values + PENALTIES[:, None])
        self.leverages = self.shrinks @ (self.basis**2).T + self.share

    def fit(self, Y: Floats) -> Weighted:
        """Ridge regression, its penalty by weighted leave-one-out.

        A penalty that suits the source as it is may be far too large for the part of it that is like the target.

        Args:
            Y: (N, C) between -1 and 1.
        """
        offset = self.share @ Y
        T = self.root * (Y - offset)
        along = self.basis.T @ T
        best, found = np.inf, (self.values, T)
        for shrink, leverage in zip(self.shrinks, self.leverages, strict=True):
            residual = (T - self.basis @ (shrink[:, None] * along)) / np.maximum(1 - leverage, 1e-6)[:, None]
            if (error := float((residual**2).sum())) < best:
                best, found = error, (shrink, residual)
        shrink, residual = found
        coefficients = self.onto @ ((shrink / np.sqrt(self.values))[:, None] * along)
        # An example without weight is left out already.
        unweighted = (self.Z - self.mean) @ coefficients + offset
        left_out = np.where(self.root > 1e-6, Y - residual / np.maximum(self.root, 1e-6), unweighted)
        return Weighted(coefficients.T, offset - self.mean @ coefficients, left_out)


def weighted(Z: NDArray[np.floating], Y: Floats, weights: Floats) -> Weighted:
    """Ridge regression of soft targets with weights; see :class:`Design`."""
    return Design(Z, weights).fit(Y)


def quick(Z: Floats, Y: Floats, weights: Floats, penalty: float) -> tuple[Floats, Floats]:
    """The weights (C, D) and offsets (C,) of a ridge regression whose penalty is known; a tenth of :class:`Design`.

    Args:
        Z: (N, D), about standardised.
        Y: (N, C) between -1 and 1.
        weights: (N,), not negative.
        penalty: lambda.
    """
    from scipy.linalg import cho_factor, cho_solve

    share, mean, root, R = _centred(Z, weights)
    offset = share @ Y
    T, short = root * (Y - offset), len(R) <= R.shape[1]
    gram = R @ R.T if short else R.T @ R
    gram[np.diag_indices(len(gram))] += penalty
    solved = cho_solve(cho_factor(gram, overwrite_a=True, check_finite=False), T if short else R.T @ T)
    weight = (R.T @ solved if short else solved).T
    return weight, offset - weight @ mean


@dataclass(frozen=True)
class Taught:
    """Source examples, and examples of the target with labels that were guessed.

    Args:
        Z: (N, D), each domain standardised by its own moments.
        y: (N,) labels, given or guessed.
        weights: (N,).
    """

    Z: Floats
    y: Labels
    weights: Floats

    def head(self, classes: int) -> LinearHead:
        """Ridge on all of them."""
        return weighted(self.Z, one_hot(self.y, classes), self.weights).as_logits(self.y)


def both(pair: Standardised, ys: Labels, chosen: Labels, guessed: Labels, target_weight: float = 1.0) -> Taught:
    """The source, and those target examples whose labels were guessed.

    Args:
        pair: the domains.
        ys: (N,) labels of the source.
        chosen: (m,) rows of the target.
        guessed: (m,) their labels.
        target_weight: what one of them counts against a source example.
    """
    weights = np.concatenate([np.ones(len(ys)), np.full(len(chosen), target_weight)])
    return Taught(np.concatenate([pair.S, pair.T[chosen]]), np.concatenate([ys, guessed]), weights)


def one_hot(y: Labels, classes: int) -> Floats:
    """(N, C) of -1 and +1."""
    return np.where(y[:, None] == np.arange(classes), 1.0, -1.0)
