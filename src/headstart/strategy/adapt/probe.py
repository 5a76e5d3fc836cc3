"""probe: freeze the source, compute its features once, fit a linear classifier on them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features.engine import POOLED
from headstart.features.known import own_classes
from headstart.predictor import LinearHead, MeanHead, Predictor
from headstart.predictor.prior import choose_shift
from headstart.source.card import Source, SourceCard, beside, halfway
from headstart.strategy import bands, linear
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import FOLDS, TrainView

Layers = Literal["deep", "mixed", "shallow"]


@dataclass(frozen=True)
class Probe:
    """A linear probe on the features of a frozen network (Alain & Bengio 2016).

    What a network computes early is nearer to the words, or the textures, themselves; what it computes last is nearer
    to what it was trained for. One pass gives the means of its stages beside the pooled output.

    Args:
        head: `ridge`: closed form, penalty by leave-one-out; `logistic`: multinomial logistic regression.
        C: inverse penalty of the logistic head; unused by ridge.
        layers: `deep`: the pooled output; `mixed`: with it the means of earlier stages, see
            :func:`headstart.source.card.beside`; `shallow`: the mean of the stage half way, alone.
        weights: of the stages: `equal`, or `learned`, a penalty for each (banded ridge regression, see
            :func:`headstart.strategy.bands.importances`); stages that are worth nothing are left out.
        keep: share of the features that is kept, those with the highest relevance (Head2Toe, Evci et al. 2022, see
            :func:`headstart.strategy.bands.relevance`); fewer where fewer have any.
        shift: shift the logits by the prior of the classes, as the primary metric wants it on predictions for examples
            that were left out: see :func:`headstart.predictor.prior.choose_shift`. It changes skewed targets alone.
        own: average the probabilities with those of the source's own classifier, which must know the classes by their
            names, as an earlier run of the same task does.
    """

    name: ClassVar[str] = "probe"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"))

    head: Literal["ridge", "logistic"] = "ridge"
    C: float | None = None
    layers: Layers = "deep"
    weights: Literal["equal", "learned"] = "equal"
    keep: float = 1.0
    shift: bool = False
    own: bool = False

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Ridge, and logistic regression at three penalties, on the pooled output and on earlier stages."""
        mixed, shallow = bool(beside(card.stages, card.features)), bool(halfway(card.stages))
        if card.modality == "text" and mixed:
            return [
                cls("logistic", 0.03),
                cls("logistic", 0.003, "mixed"),
                cls("ridge", None, "mixed"),
                cls("ridge"),
                cls("logistic", 0.0003, "mixed"),
                cls("logistic", 1.0),
                *([cls("ridge", None, "shallow")] if shallow else []),
            ]
        return [
            cls("ridge"),
            *([cls("ridge", None, "mixed"), cls("ridge", None, "mixed", "learned")] if mixed else []),
            cls("logistic", 0.01),
            *([cls("ridge", None, "shallow")] if shallow else []),
            cls("logistic", 0.1),
            cls("logistic", 1.0),
        ]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Of the head; learned weights and selection look at a sample."""
        widths = {stage.name: stage.width for stage in card.stages}
        width = sum(widths.get(name, card.features) for name in _outputs(card, self.layers))
        once = 0.02
        if self.weights == "learned":
            once += 0.02 + 2e-6 * min(examples, bands.MOST) ** 2
        if self.keep < 1:
            once += 0.02 + 100 * min(examples, bands.MOST) * width * classes / 6e9
        if self.head == "ridge":
            return once + linear.ridge_seconds(examples, width, classes)
        return once + linear.logistic_seconds(examples, width, classes) * (FOLDS if self.shift else 1)

    def frozen(self, card: SourceCard) -> float:
        """One pass."""
        return card.flops

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Features from the store, then the head; the predictor computes no stage, and keeps no column, without use.

        Raises:
            TrialError: it asks for stages or for classes that the source does not have.
        """
        predictor = self._fitted(source, view, bench)
        return self._averaged(predictor, source, bench) if self.own else predictor

    def _averaged(self, predictor: Predictor, source: Source, bench: Bench) -> Predictor:
        """With the source's own classifier beside the probe, on one body."""
        known, body = own_classes(source, predictor.classes, bench.store), predictor.body
        if known is None:
            raise TrialError(f"own: {source.card.name} does not know these classes by their names")
        outputs = tuple(body.spec()["outputs"])
        if outputs[-1] != POOLED:
            raise TrialError("own: the source's classifier needs the pooled output, which this probe does not take")
        columns = np.array([[0, body.width], [body.width - source.card.features, body.width]], dtype=np.int64)
        return replace(predictor, head=MeanHead([predictor.head, LinearHead(known.weight, known.bias)], columns))

    def _fitted(self, source: Source, view: TrainView, bench: Bench) -> Predictor:
        """The probe."""
        outputs = _outputs(source.card, self.layers)
        if not outputs:
            raise TrialError(f"{source.card.name} has no stages that a probe could take: use layers=deep")
        if not 0 < self.keep <= 1:
            raise TrialError(f"keep={self.keep:g}: a share of the features, above 0 and at most 1")
        y, classes = view.examples.labels, len(view.classes)
        body = bench.body(source, outputs)
        X = bench.features(body, view.examples.inputs, source.card.short)
        importance = np.ones(body.width, dtype=np.float32)
        if self.weights == "learned":
            importance = np.repeat(bands.importances(X, y, classes, body.widths), body.widths).astype(np.float32)
        if self.keep < 1:
            importance *= _highest(bands.relevance(X, y, classes), self.keep)
        columns = np.flatnonzero(importance)
        if len(columns) == body.width and (importance == 1).all():
            head, told = self._head(X, view)
            return Predictor(view.classes, body, head, provenance=told)
        head, told = self._head(X[:, columns], view, importance[columns])
        ends = np.cumsum([0, *body.widths])
        used = [bool(((columns >= a) & (columns < b)).any()) for a, b in itertools.pairwise(ends)]
        there = np.flatnonzero(np.repeat(used, body.widths))  # the columns of the stages that are computed
        body = body.only(tuple(name for name, wanted in zip(outputs, used, strict=True) if wanted))
        if len(columns) < body.width:
            head = LinearHead(head.weight, head.bias, np.searchsorted(there, columns).astype(np.int64))
        return Predictor(view.classes, body, head, provenance=told)

    def _head(
        self, X: NDArray[np.float32], view: TrainView, importance: NDArray[np.float32] | None = None
    ) -> tuple[LinearHead, dict[str, Any]]:
        """The head on some columns, and what is said of how it was fitted."""
        y, classes = view.examples.labels, len(view.classes)
        if self.head == "ridge":
            fitted = linear.ridge(X, y, classes, importance)
            head = fitted.as_logits(y)
        else:
            head = linear.logistic(X, y, classes, self.C or 1.0, importance)
        if not self.shift:
            return head, {}
        left_out = fitted.left_out_logits(y) if self.head == "ridge" else self._left_out(X, view, importance)
        tau, moved = choose_shift(left_out, y, np.bincount(y, minlength=classes) / len(y), view.metric)
        return LinearHead(head.weight, head.bias + moved), {"training": {"shift": tau}}

    def _left_out(
        self, X: NDArray[np.float32], view: TrainView, importance: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """(N, C) logits of the logistic head, each from a fit without the example's fold."""
        y, classes = view.examples.labels, len(view.classes)
        out = np.empty((len(y), classes), dtype=np.float32)
        for seed in range(FOLDS):
            kept, held = view.fold_index(seed)
            out[held] = linear.logistic(X[kept], y[kept], classes, self.C or 1.0, importance).logits(X[held])
        return out


def _outputs(card: SourceCard, layers: Layers) -> tuple[str, ...]:
    """What is computed, in the order of the columns; empty where the network has no such stages."""
    if layers == "shallow":
        return halfway(card.stages)
    earlier = beside(card.stages, card.features) if layers == "mixed" else ()
    return (*earlier, POOLED) if earlier or layers == "deep" else ()


def _highest(relevance: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """(D,) bool: the share with the highest relevance, of those that have any; all where none has."""
    if not relevance.any():
        return np.ones(len(relevance), dtype=bool)
    count = max(1, math.floor(share * len(relevance)))
    chosen = np.zeros(len(relevance), dtype=bool)
    chosen[np.argsort(-relevance, kind="stable")[:count]] = True
    return chosen & (relevance > 0)
