"""target-only: a linear classifier of the few labelled target examples. What a source domain must be better than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt, Needs, Side
from headstart.strategy.shallow import Domains, Fitted, OnFeatures, joint


@dataclass(frozen=True)
class TargetOnly(OnFeatures):
    """As the joint, with a source weight of 0: the source domain's labels are not looked at."""

    name: ClassVar[str] = "target-only"
    side: ClassVar[Side] = "baseline"
    needs: ClassVar[Needs] = Needs(pretrained=True, modalities=("image", "text"), unlabelled=True, few=True)

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting."""
        return [cls()]

    def fit(self, domains: Domains) -> Fitted:
        """Ridge on the few labels, its penalty by leave-one-out."""
        return joint(domains, np.zeros(1))
