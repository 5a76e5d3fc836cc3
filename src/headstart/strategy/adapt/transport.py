"""transport: carry the source domain onto the target domain at the least cost, then classify where it arrived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.domains.transport import carried, class_transport, sinkhorn
from headstart.domains.two_sample import squared_distances
from headstart.predictor import LinearHead
from headstart.source.card import SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import (
    Design,
    Features,
    Labels,
    Shallow,
    Sides,
    classifier,
    each_standardised,
    one_hot,
)


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

    def sides(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> Sides:
        """A classifier of the carried source, or of the target's carried labels."""
        pair = each_standardised(Xs, Xt)
        S, T = pair.S, pair.T
        cost = squared_distances(S.astype(np.float32), T.astype(np.float32))
        cost /= max(float(np.median(cost)), 1e-12)
        if self.rounds:
            return pair.sides(self._joint(S, ys, T, classes, cost))
        if self.strength:
            coupling = class_transport(cost, ys, self.epsilon, strength=self.strength)
        else:
            coupling = sinkhorn(cost, self.epsilon)
        return pair.sides(classifier(carried(coupling, T), ys, classes))

    def _joint(self, S: np.ndarray, ys: Labels, T: np.ndarray, classes: int, cost: np.ndarray) -> LinearHead:
        """JDOT: min over couplings and f of the sum of G_ij (d(x_i, x_j) + (y_i - f(x_j))^2), in turn."""
        reference = linear.ridge(S.astype(np.float32), ys, classes)
        Y = one_hot(ys, classes)
        says, head = T @ reference.head.weight.T + reference.head.bias, reference.as_logits(ys)
        start, design = np.zeros(len(T)), Design(T)
        for _ in range(self.rounds):
            wrong = squared_distances(one_hot(np.arange(classes), classes), np.clip(says, -1, 1)) / 4
            coupling = sinkhorn(cost + wrong.astype(np.float32)[ys], self.epsilon, start=start)
            targets = (coupling.T @ Y.astype(np.float32)).astype(np.float64) * len(T)
            found = design.fit(targets)
            says, head = found.scores(T), found.as_logits(targets.argmax(axis=1))
        return head
