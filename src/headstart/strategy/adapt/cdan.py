"""cdan: as dann, but the critic is shown features together with what is predicted of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.source.card import SourceCard
from headstart.strategy.adapt.dann import critic
from headstart.strategy.contract import Adapt
from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headstart.train.adaptation import Both

WIDEST = 4_096  # products of features and probabilities; where there are more, random ones stand for them
DRAWN = 1_024


@dataclass(frozen=True)
class Cdan(Deep):
    """Conditional domain-adversarial training (Long et al. 2018): classes are aligned, not only the whole.

    Args:
        certain: examples that are predicted surely count more (CDAN+E).
    """

    name: ClassVar[str] = "cdan"

    certain: bool = True

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """CDAN+E."""
        return [cls()]

    def made(self, head: nn.Linear) -> dict[str, nn.Module]:
        """The critic of products of features and probabilities, with the numbers that draw them where they are many."""
        import torch

        width, classes = head.in_features, head.out_features
        if width * classes <= WIDEST:
            return {"critic": critic(width * classes)}
        made = critic(DRAWN)
        made.register_buffer("of_X", torch.randn(width, DRAWN))
        made.register_buffer("of_P", torch.randn(classes, DRAWN))
        return {"critic": made}

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """The critic's loss."""
        from headstart.train import align

        def score(X: Tensor, Z: Tensor) -> Tensor:
            P = Z.softmax(dim=1).detach()
            critic = module.critic
            many = hasattr(critic, "of_X")
            products = align.randomised(X, P, critic.of_X, critic.of_P) if many else align.multilinear(X, P)
            scores: Tensor = critic(align.reversed_gradient(products, self.strength))[:, 0]
            return scores

        weights = (align.certainty(both.Zs), align.certainty(both.Zt)) if self.certain else (None, None)
        return align.told_apart(score(both.Xs, both.Zs), score(both.Xt, both.Zt), *weights)
