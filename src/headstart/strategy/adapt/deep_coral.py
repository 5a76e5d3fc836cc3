"""deep-coral: the network learns outputs with the same covariance in both domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor

    from headstart.train.adaptation import Both


@dataclass(frozen=True)
class DeepCoral(Deep):
    """DeepCORAL (Sun & Saenko 2016), on the last layer as there: a batch says little of 1,280 features' covariance."""

    name: ClassVar[str] = "deep-coral"

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """The distance of the logits' covariances."""
        from headstart.train import align

        return self.strength * align.coral(both.Zs, both.Zt)
