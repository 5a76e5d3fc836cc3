"""adabn-gradual: batch norm scales each domain by its own statistics, and gradual goes over those in between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from headstart.strategy.adapt.gradual import Gradual
from headstart.strategy.contract import Needs
from headstart.strategy.own_statistics import OwnStatistics


@dataclass(frozen=True)
class AdaBNGradual(OwnStatistics):
    """Gradual self-training, :class:`headstart.strategy.adapt.gradual.Gradual`, on features by domains' statistics."""

    name: ClassVar[str] = "adabn-gradual"
    needs: ClassVar[Needs] = replace(OwnStatistics.needs, intermediate=True)

    def learner(self) -> Gradual:
        """Self-training from domain to domain."""
        return Gradual(sure=self.sure)
