"""propagate: let labels flow from the source domain to its neighbours in the target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.domains.align import coral
from headstart.domains.spread import propagate
from headstart.predictor import LinearHead
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import (
    Features,
    Labels,
    Shallow,
    each_standardised,
    on_raw,
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

    def head(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> LinearHead:
        """Ridge to the propagated labels, source examples keeping theirs."""
        S, T, mean, scale = each_standardised(Xs, Xt)
        S = S @ coral(S, T).source
        Y = (one_hot(ys, classes) + 1) / 2
        known = np.concatenate([Y, np.zeros((len(T), classes))])
        spread = propagate(np.concatenate([S, T]), known, neighbours=self.neighbours, alpha=self.alpha)[len(S) :]
        targets = np.concatenate([2 * Y - 1, 2 * spread - 1])
        found = weighted(np.concatenate([S, T]), targets, np.ones(len(targets)))
        return on_raw(found.as_logits(targets.argmax(axis=1)), mean, scale)
