"""probe: freeze the source, compute its features once, fit a linear classifier on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import body_of
from headstart.features.engine import POOLED
from headstart.predictor import LinearHead, Predictor
from headstart.predictor.prior import choose_shift
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import FOLDS, TrainView

EARLIER = 3
"""Stages before the last that are tried beside the pooled output."""


@dataclass(frozen=True)
class Probe:
    """A linear probe on the pooled features of a frozen network (Alain & Bengio 2016).

    Args:
        head: `ridge`: closed form, penalty by leave-one-out; `logistic`: multinomial logistic regression.
        C: inverse penalty of the logistic head; unused by ridge.
        earlier: how many stages before the last stand, as the mean of their values, beside the pooled output. What a
            network computes early is nearer to the words, or the textures, themselves.
        shift: shift the logits by the prior of the classes, as the primary metric wants it on predictions for examples
            that were left out: see :func:`headstart.predictor.prior.choose_shift`. It changes skewed targets alone.
    """

    name: ClassVar[str] = "probe"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"))

    head: Literal["ridge", "logistic"] = "ridge"
    C: float | None = None
    earlier: int = 0
    shift: bool = False

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Ridge, and logistic regression at three penalties; on texts also with three earlier stages."""
        if card.modality == "text" and len(card.stages) > EARLIER:
            return [
                cls("logistic", 0.03),
                cls("logistic", 0.003, EARLIER),
                cls("ridge", None, EARLIER),
                cls("ridge"),
                cls("logistic", 0.0003, EARLIER),
                cls("logistic", 1.0),
            ]
        return [cls("ridge"), cls("logistic", 0.01), cls("logistic", 0.1), cls("logistic", 1.0)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Ridge: one eigendecomposition. Logistic: some dozens of passes over the features."""
        width = card.features * (1 + self.earlier)
        small, large = sorted((examples, width))
        if self.head == "ridge":
            return 0.05 + 20 * small**2 * large / 2e10
        return 0.05 + 40 * examples * width * classes * 4 / 2e10 * (FOLDS if self.shift else 1)

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
        """Features from the store, then the head."""
        card = source.card
        if not 0 <= self.earlier < max(1, len(card.stages)):
            raise TrialError(f"{card.name} has no {self.earlier} stages before its last")
        if card.modality == "text" and len(card.stages) > EARLIER:
            # The next setting will want them, and in one pass they cost next to nothing.
            bench.features(body_of(source, bench.device, _outputs(card, EARLIER)), view.examples.inputs, card.short)
        body = body_of(source, bench.device, _outputs(card, self.earlier))
        X = bench.features(body, view.examples.inputs, card.short)
        y, classes = view.examples.labels, len(view.classes)
        if self.head == "ridge":
            fitted = linear.ridge(X, y, classes)
            head = fitted.as_logits(y)
        else:
            head = linear.logistic(X, y, classes, self.C or 1.0)
        if not self.shift:
            return Predictor(view.classes, body, head)
        left_out = fitted.left_out_logits(y) if self.head == "ridge" else self._left_out(X, view)
        tau, moved = choose_shift(left_out, y, np.bincount(y, minlength=classes) / len(y), view.metric)
        return Predictor(
            view.classes, body, LinearHead(head.weight, head.bias + moved), provenance={"training": {"shift": tau}}
        )

    def _left_out(self, X: NDArray[np.float32], view: TrainView) -> NDArray[np.float32]:
        """(N, C) logits of the logistic head, each from a fit without the example's fold."""
        y, classes = view.examples.labels, len(view.classes)
        out = np.empty((len(y), classes), dtype=np.float32)
        for seed in range(FOLDS):
            kept, held = view.fold_index(seed)
            out[held] = linear.logistic(X[kept], y[kept], classes, self.C or 1.0).logits(X[held])
        return out


def _outputs(card: SourceCard, earlier: int) -> tuple[str, ...]:
    return (*(stage.name for stage in card.stages[-1 - earlier : -1]), POOLED)
