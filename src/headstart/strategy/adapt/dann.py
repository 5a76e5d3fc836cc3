"""dann: the network learns features by which a critic cannot tell the domains apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headstart.train.adaptation import Both

HIDDEN = 256


@dataclass(frozen=True)
class Dann(Deep):
    """Domain-adversarial training (Ganin & Lempitsky 2015; Ganin et al. 2016).

    The critic learns to tell the domains apart; its gradient reaches the network reversed.
    """

    name: ClassVar[str] = "dann"

    def made(self, head: nn.Linear) -> dict[str, nn.Module]:
        """The critic of features."""
        return {"critic": critic(head.in_features)}

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """The critic's loss."""
        from headstart.train import align

        Xs, Xt = (align.reversed_gradient(X, self.strength) for X in (both.Xs, both.Xt))
        return align.told_apart(module.critic(Xs)[:, 0], module.critic(Xt)[:, 0])


def critic(width: int) -> nn.Module:
    """A network with one hidden layer, from `width` features to the logit of being of the source domain (B, 1)."""
    from torch import nn

    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
