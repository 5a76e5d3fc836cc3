"""propagate: let labels flow from the source domain to its neighbours in the target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.domains.align import coral
from headstart.domains.spread import propagate
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import (
    Features,
    Labels,
    Shallow,
    Sides,
    each_standardised,
    one_hot,
    weighted,
)


@dataclass(frozen=True)
class Propagate(Shallow):
    """Label propagation (Zhou et al. 2004) over both domains; then a classifier of the target by what it was given.

    Args:
        neighbours: of each example in the graph.
        alpha: how much of a label comes from neighbours.
    """

    name: ClassVar[str] = "propagate"

    neighbours: int = 10
    alpha: float = 0.9

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Two lengths of way that labels go."""
        return [cls(), cls(alpha=0.99)]

    def sides(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> Sides:
        """Ridge to the propagated labels, source examples keeping theirs."""
        pair = each_standardised(Xs, Xt)
        recolour, T = coral(pair.S, pair.T).source, pair.T
        S = pair.S @ recolour
        Y = (one_hot(ys, classes) + 1) / 2
        known = np.concatenate([Y, np.zeros((len(T), classes))])
        spread = propagate(np.concatenate([S, T]), known, neighbours=self.neighbours, alpha=self.alpha)[len(S) :]
        targets = np.concatenate([2 * Y - 1, 2 * spread - 1])
        found = weighted(np.concatenate([S, T]), targets, np.ones(len(targets)))
        return pair.sides(found.as_logits(targets.argmax(axis=1)), source=recolour)
