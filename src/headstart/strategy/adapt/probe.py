"""probe: freeze the source, compute its features once, fit a linear classifier on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features.engine import POOLED
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView

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
    """

    name: ClassVar[str] = "probe"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"))

    head: Literal["ridge", "logistic"] = "ridge"
    C: float | None = None
    earlier: int = 0

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
        return 0.05 + 40 * examples * width * classes * 4 / 2e10

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
            bench.features(bench.body(source, _outputs(card, EARLIER)), view.examples.inputs, card.short)
        body = bench.body(source, _outputs(card, self.earlier))
        X = bench.features(body, view.examples.inputs, card.short)
        y, classes = view.examples.labels, len(view.classes)
        if self.head == "ridge":
            return Predictor(view.classes, body, linear.ridge(X, y, classes).as_logits(y))
        return Predictor(view.classes, body, linear.logistic(X, y, classes, self.C or 1.0))


def _outputs(card: SourceCard, earlier: int) -> tuple[str, ...]:
    return (*(stage.name for stage in card.stages[-1 - earlier : -1]), POOLED)
