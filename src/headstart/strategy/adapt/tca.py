"""tca: find components in which the two domains, and with rounds their classes, have the same means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.domains.align import tca
from headstart.source.card import SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, classifier
from headstart.strategy.shallow import Shallow


@dataclass(frozen=True)
class Tca(Shallow):
    """Transfer component analysis (Pan et al. 2011); with rounds, joint distribution adaptation (Long et al. 2013).

    Args:
        width: components.
        rounds: how often pseudo-labels of the target are predicted and the means of classes aligned; 0: TCA.
        mu: weight of the components' own size.
    """

    name: ClassVar[str] = "tca"

    width: int = 30
    rounds: int = 0
    mu: float = 1.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """TCA, and JDA as long as in the paper."""
        return [cls(), cls(rounds=10), cls(width=80, rounds=10)]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """A classifier of the components."""
        start, ys = pair.union, pair.ys
        onto = pair.once(("tca", self.width, self.mu), lambda: tca(start, width=self.width, mu=self.mu))
        for _ in range(self.rounds):
            found = linear.ridge((start.source @ onto).astype("float32"), ys, pair.classes).head
            guessed = found.logits((start.target @ onto).astype("float32")).argmax(axis=1)
            onto = tca(start, width=self.width, mu=self.mu, ys=ys, yt=guessed)
        # Components are of features less the mean of both domains; their classifier centres them anew.
        onto = start.axes @ onto
        return pair.sides(classifier(pair.S @ onto, ys, pair.classes), source=onto, target=onto)
