"""probe: freeze the source, compute its features once, fit a linear classifier on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.budget import Budget
from headstart.features import NetworkBody
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView


@dataclass(frozen=True)
class Probe:
    """A linear probe on the pooled features of a frozen network (Alain & Bengio 2016).

    Args:
        head: `ridge`: closed form, penalty by leave-one-out; `logistic`: multinomial logistic regression.
        C: inverse penalty of the logistic head; unused by ridge.
    """

    name: ClassVar[str] = "probe"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True)

    head: Literal["ridge", "logistic"] = "ridge"
    C: float | None = None

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Ridge, and logistic regression at three penalties."""
        return [cls("ridge"), cls("logistic", 0.01), cls("logistic", 0.1), cls("logistic", 1.0)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Ridge: one eigendecomposition. Logistic: up to 300 passes over the features."""
        small, large = sorted((examples, card.features))
        if self.head == "ridge":
            return 0.05 + 20 * small**2 * large / 2e10
        return 0.05 + 100 * examples * card.features * classes * 4 / 2e10

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
        body = NetworkBody.of(source, bench.device)
        X = bench.features(body, view.examples.inputs, source.card.short)
        y, classes = view.examples.labels, len(view.classes)
        if self.head == "ridge":
            return Predictor(view.classes, body, linear.ridge(X, y, classes).as_logits(y))
        return Predictor(view.classes, body, linear.logistic(X, y, classes, self.C or 1.0))
