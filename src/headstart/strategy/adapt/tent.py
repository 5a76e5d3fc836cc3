"""tent: source-free; scales and shifts of normalisation are moved until the target's predictions are sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headstart.source.card import Source
from headstart.strategy.source_free import SourceFree

if TYPE_CHECKING:
    from headstart.train import Task, Trainable


@dataclass(frozen=True)
class Tent(SourceFree):
    """Entropy minimisation (TENT, Wang et al. 2021), here before anything is predicted instead of during it.

    Only scales and shifts of the last stages' normalisation are trained, be it batch norm or layer norm.
    """

    name: ClassVar[str] = "tent"

    epochs: int = 2

    def task(self) -> Task:
        """The entropy."""
        from headstart.train.adaptation import Sure

        return Sure()

    def trainable(self, source: Source) -> Trainable:
        """Parameters of normalisation in the last stages."""
        from headstart.train import Trainable

        stages = self.stages(source)
        return Trainable(stages, "train", (), tuple((pattern, "norm") for pattern, _ in stages))
