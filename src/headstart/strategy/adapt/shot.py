"""shot: source-free; the head stays, and features are moved until the target's predictions are sure and varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.source.card import Source
from headstart.strategy.source_free import SourceFree

if TYPE_CHECKING:
    from headstart.train import Task, Trainable
    from headstart.train.adaptation import Relabelled


@dataclass(frozen=True)
class Shot(SourceFree):
    """Source hypothesis transfer (Liang, Hu & Feng 2020).

    The mutual information of the target's examples and predictions is raised, and pseudo-labels are learned, given
    anew before every epoch by the nearest centre of a class among the target's own features.

    Args:
        trust: in pseudo-labels.
    """

    name: ClassVar[str] = "shot"

    rate: float = 1e-4
    trust: float = 0.3

    def task(self) -> Task:
        """Information and pseudo-labels."""
        from headstart.train.adaptation import Informed

        return Informed(self.trust)

    def trainable(self, source: Source) -> Trainable:
        """The last stages; not the head."""
        from headstart.train import Trainable

        return Trainable(self.stages(source))

    def relabel(self, module: Any, batches: Relabelled) -> None:
        """By clustering."""
        from headstart.train import align
        from headstart.train.adaptation import said

        batches.labels = align.clustered(*said(module, batches)).numpy()
