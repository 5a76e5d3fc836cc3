"""coral: give the source domain the mean and the covariance of the target domain, then classify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.domains.align import RIDGE
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, classifier
from headstart.strategy.shallow import Shallow


@dataclass(frozen=True)
class Coral(Shallow):
    """Correlation alignment (Sun, Feng & Saenko 2016).

    Args:
        ridge: is added to both covariances, in standardised units; None: means and deviations alone are aligned. The
            paper's 1 blows up directions in which one domain hardly varies, and there are many where there are more
            features than examples.
    """

    name: ClassVar[str] = "coral"

    ridge: float | None = RIDGE

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Covariances, and moments alone."""
        return [cls(), cls(None)]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """A classifier of the recoloured source."""
        if self.ridge is None:
            return pair.sides(pair.plain)
        maps, S = pair.recoloured(self.ridge)
        return pair.sides(classifier(S, pair.ys, pair.classes), source=maps.source)
