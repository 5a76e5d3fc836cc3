"""reweight: let source examples count as much as they would in the target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.domains.weights import WEIGHTS
from headstart.score.ridge import one_hot
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, on_raw, weighted
from headstart.strategy.shallow import Shallow


@dataclass(frozen=True)
class Reweight(Shallow):
    """Importance weighting for covariate shift (Shimodaira 2000).

    Args:
        weights: how the density ratio is estimated; see :mod:`headstart.domains.weights`.
        flat: weights are raised to this power: less than 1 trades bias for variance.
    """

    name: ClassVar[str] = "reweight"

    weights: Literal["discriminator", "kmm", "kliep", "rulsif"] = "discriminator"
    flat: float = 1.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Every estimator."""
        return [cls("discriminator", 0.5), cls("rulsif"), cls("kliep"), cls("kmm")]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """Weighted ridge."""
        ratio = WEIGHTS[self.weights](pair.Xs, pair.Xt) ** self.flat
        found = weighted(pair.S, one_hot(pair.ys, pair.classes), ratio)
        head = on_raw(found.as_logits(pair.ys), *pair.of_source)
        return Sides(head, head)
