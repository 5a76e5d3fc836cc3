"""mcc: the network learns not to confuse classes on the target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor

    from headstart.train.adaptation import Both


@dataclass(frozen=True)
class Mcc(Deep):
    """Minimum class confusion (Jin et al. 2020).

    Args:
        temperature: by which logits are divided.
    """

    name: ClassVar[str] = "mcc"

    temperature: float = 2.5

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """The confusion of classes in the target domain's batch."""
        from headstart.train import align

        return self.strength * align.class_confusion(both.Zt, self.temperature)
