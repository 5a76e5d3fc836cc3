"""adabn-tri-train: batch norm scales each domain by the statistics of that domain, and tri-train learns from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.strategy.adapt.tri_train import TriTrain
from headstart.strategy.own_statistics import OwnStatistics


@dataclass(frozen=True)
class AdaBNTriTrain(OwnStatistics):
    """Tri-training, :class:`headstart.strategy.adapt.tri_train.TriTrain`, on features by each domain's statistics."""

    name: ClassVar[str] = "adabn-tri-train"

    def learner(self) -> TriTrain:
        """Three teachers, and one that learns from them."""
        return TriTrain(self.sure)
