"""dan: the network learns features, and with `joint` features and predictions together, of one distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor

    from headstart.train.adaptation import Both


@dataclass(frozen=True)
class Dan(Deep):
    """Deep adaptation networks (Long et al. 2015); `joint`: joint adaptation networks, JAN (Long et al. 2017).

    Args:
        joint: the kernel of features is multiplied with one of predictions, so that classes are aligned too.
    """

    name: ClassVar[str] = "dan"

    joint: bool = False

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """DAN and JAN."""
        return [cls(), cls(joint=True)]

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """The maximum mean discrepancy."""
        import torch

        from headstart.train import align

        X = torch.cat([both.Xs, both.Xt])
        K = align.kernel(X, align.spread(X))
        if self.joint:
            K = K * align.kernel_of_predictions(torch.cat([both.Zs, both.Zt]).softmax(dim=1))
        return self.strength * align.mmd(K, len(both.Xs))
