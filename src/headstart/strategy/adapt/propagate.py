"""propagate: let labels flow from the source domain to its neighbours in the target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.domains.spread import graph, propagate
from headstart.score.ridge import Design, one_hot
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.linear import Ridge
from headstart.strategy.pair import Pair, Sides
from headstart.strategy.shallow import Shallow


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

    def sides(self, pair: Pair, seed: int) -> Sides:
        """Ridge to the propagated labels, source examples keeping theirs."""
        maps, S = pair.recoloured()
        both = pair.once("recoloured and target", lambda: np.concatenate([S, pair.aligned]))
        around = pair.once(("graph", self.neighbours), lambda: graph(both, neighbours=self.neighbours))
        design = pair.once("design of both", lambda: Design(both, single=True))
        Y = (one_hot(pair.ys, pair.classes) + 1) / 2
        known = np.concatenate([Y, np.zeros((len(pair.aligned), pair.classes))])
        targets = np.concatenate([2 * Y - 1, 2 * propagate(around, known, alpha=self.alpha)[len(S) :] - 1])
        found = Ridge.of(design.fit(targets)).as_logits(targets.argmax(axis=1))
        return pair.sides(found, source=maps.source)
