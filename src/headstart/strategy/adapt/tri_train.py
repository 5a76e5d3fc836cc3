"""tri-train: three adapted classifiers label the target together, and one more learns from what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.domains.labels import softmax
from headstart.source.card import SourceCard
from headstart.strategy.adapt.self_train import SelfTrain
from headstart.strategy.adapt.subspace import Subspace
from headstart.strategy.adapt.tca import Tca
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, Taught
from headstart.strategy.shallow import Shallow

TEACHERS: tuple[Shallow, ...] = (SelfTrain(), Tca(), Subspace(80))


@dataclass(frozen=True)
class TriTrain(Shallow):
    """Tri-training (Zhou & Li 2005) across domains (Saito, Ushiku & Harada 2017).

    Self-training, transfer component analysis and subspace alignment see the domains differently, and err differently.
    The target examples of which their mean probability is sure join the source with the label that it gives them. The
    papers' networks find their views by a penalty on shared weights; here each teacher aligns the domains its own way.

    Args:
        sure: least mean probability of a label that is learned from.
    """

    name: ClassVar[str] = "tri-train"

    sure: float = 0.5

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting."""
        return [cls()]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """Ridge on the source and what the teachers are sure of."""
        heads = [teacher.on(pair, seed).target for teacher in TEACHERS]
        said = np.mean([softmax(head.logits(pair.Xt)) for head in heads], axis=0)
        chosen = np.flatnonzero(said.max(axis=1) >= self.sure)
        return pair.sides(Taught(pair, chosen, said[chosen].argmax(axis=1)).head())
