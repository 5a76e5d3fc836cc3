"""transport: carry the source domain onto the target domain at the least cost, then classify where it arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.domains.transport import carried, class_transport, sinkhorn
from headstart.domains.two_sample import squared_distances
from headstart.predictor import LinearHead
from headstart.score.ridge import one_hot
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.linear import Ridge
from headstart.strategy.pair import Pair, Sides, classifier
from headstart.strategy.shallow import Shallow


@dataclass(frozen=True)
class Transport(Shallow):
    """Optimal transport for domain adaptation (Courty et al. 2017), or JDOT (Courty, Flamary, et al. 2017).

    Args:
        epsilon: strength of the entropy; costs are divided by their median.
        strength: of the term that lets a target example receive mass of one class.
        rounds: of JDOT, which fits labels and coupling in turn; 0: OTDA.
    """

    name: ClassVar[str] = "transport"

    epsilon: float = 0.02
    strength: float = 0.1
    rounds: int = 0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """With classes, without, and JDOT."""
        return [cls(), cls(strength=0.0), cls(rounds=10)]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """A classifier of the carried source, or of the target's carried labels."""
        if self.rounds:
            return pair.sides(self._joint(pair))
        if self.strength:
            coupling = class_transport(pair.cost, pair.ys, self.epsilon, strength=self.strength)
        else:
            coupling = sinkhorn(pair.cost, self.epsilon)
        return pair.sides(classifier(carried(coupling, pair.aligned), pair.ys, pair.classes))

    def _joint(self, pair: Pair) -> LinearHead:
        """JDOT: min over couplings and f of the sum of G_ij (d(x_i, x_j) + (y_i - f(x_j))^2), in turn."""
        T, each = pair.aligned, one_hot(np.arange(pair.classes), pair.classes).astype(np.float32)
        found, targets, start = pair.reference, np.zeros((len(T), pair.classes)), np.zeros(len(T))
        for _ in range(self.rounds):
            wrong = squared_distances(each, np.clip(found.head.logits(T), -1, 1)) / 4
            cost = pair.cost + wrong[pair.ys]
            coupling = sinkhorn(cost, self.epsilon, start=start)
            targets = (coupling.T @ each[pair.ys]).astype(np.float64) * len(T)
            found = Ridge.of(pair.target.fit(targets))
        return found.as_logits(targets.argmax(axis=1))
