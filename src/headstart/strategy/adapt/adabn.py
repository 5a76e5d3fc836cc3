"""adabn: nothing is trained; batch norm scales each domain by the statistics of that domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from headstart.source.card import Source, SourceCard
from headstart.strategy.contract import Adapt, Needs
from headstart.strategy.source_free import SourceFree

if TYPE_CHECKING:
    from headstart.train import Trainable


@dataclass(frozen=True)
class AdaBN(SourceFree):
    """Adaptive batch normalisation (Li et al. 2018) of the last stages.

    The head is fitted on the source domain's features under the source domain's statistics, and used on the target
    domain's under the target's. The saved network holds the target's.
    """

    name: ClassVar[str] = "adabn"
    needs: ClassVar[Needs] = replace(SourceFree.needs, modalities=("image",), batch_norm=True, gradients=False)

    epochs: int = 0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The last stage, and the last half of them."""
        half = len(card.stages) // 2
        return [cls(), *([cls(last=half)] if half > 1 else [])]

    def task(self) -> None:
        """None."""

    def trainable(self, source: Source) -> Trainable:
        """Nothing."""
        from headstart.train import Trainable

        return Trainable(())
