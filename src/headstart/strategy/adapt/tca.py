"""tca: find components in which the two domains, and with rounds their classes, have the same means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.domains.align import reduced, tca
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import Features, Labels, Shallow, Sides, classifier, each_standardised


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

    def sides(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> Sides:
        """A classifier of the components."""
        pair = each_standardised(Xs, Xt)
        S, T = pair.S, pair.T
        start = reduced(S, T)
        onto = tca(start, width=self.width, mu=self.mu)
        found = classifier(S @ onto, ys, classes)
        for _ in range(self.rounds):
            guessed = found.logits((T @ onto).astype("float32")).argmax(axis=1)
            onto = tca(start, width=self.width, mu=self.mu, ys=ys, yt=guessed)
            found = classifier(S @ onto, ys, classes)
        return pair.sides(found, source=onto, target=onto)
