"""joint: one linear classifier of the source's labels and the target's few, each counting for as much as it helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt, Needs
from headstart.strategy.shallow import Domains, Fitted, OnFeatures, joint


@dataclass(frozen=True)
class Joint(OnFeatures):
    """A mixture of both domains' errors (Ben-David et al. 2010), its weight by leave-one-out on the target's labels."""

    name: ClassVar[str] = "joint"
    needs: ClassVar[Needs] = Needs(pretrained=True, modalities=("image", "text"), unlabelled=True, few=True)

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting, which chooses for itself."""
        return [cls()]

    def fit(self, domains: Domains) -> Fitted:
        """Ridge on both; each domain standardised by its own moments."""
        return joint(domains)
