"""prototypes: a class is the mean of its examples' features; a new example belongs to the nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.budget import Budget
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.strategy.means import nearest_means
from headstart.target.view import TrainView


@dataclass(frozen=True)
class Prototypes:
    """Nearest class mean on the pooled features of a frozen network (Mensink et al. 2013; Snell et al. 2017).

    It works from one example of each class on, in closed form, and nothing is tuned.

    Args:
        covariance: `shrunk`: distances under the covariance within classes, shrunk as Ledoit & Wolf (2004) say, which
            is linear discriminant analysis with equal priors; `sphere`: Euclidean distances.
    """

    name: ClassVar[str] = "prototypes"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"))

    covariance: Literal["shrunk", "sphere"] = "shrunk"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """With the covariance and without."""
        return [cls("shrunk"), cls("sphere")]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """The covariance and its inverse, and a product with the means for each example left out."""
        width = card.features
        once = 0.005 + 2.1e-8 * examples * width
        return once + ((6.0 * examples * width**2 + 4.0 * width**3) / 6e10 if self.covariance == "shrunk" else 0.0)

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
        """Features from the store, then their means."""
        body = bench.body(source)
        X = bench.features(body, view.examples.inputs, source.card.short)
        covariance = self.covariance == "shrunk"
        means = nearest_means(X, view.examples.labels, len(view.classes), covariance=covariance)
        return Predictor(view.classes, body, means.as_logits())
