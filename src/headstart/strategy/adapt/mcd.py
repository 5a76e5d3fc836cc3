"""mcd: two classifiers learn to disagree on the target domain, and the network that they do not."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headstart.train.adaptation import Both


@dataclass(frozen=True)
class Mcd(Deep):
    """Maximum classifier discrepancy (Saito et al. 2018).

    Both classifiers learn the source domain's labels and to differ on the target domain; the network learns that they
    agree there. The paper's three steps are one: between network and classifiers the gradient is reversed.
    """

    name: ClassVar[str] = "mcd"

    def made(self, head: nn.Linear) -> dict[str, nn.Module]:
        """The second classifier: the first, with half of its weights, drawn at random, doubled and the others 0."""
        import torch

        second = copy.deepcopy(head)
        with torch.no_grad():
            second.weight.mul_(2.0 * (torch.rand(head.weight.shape[1]) < 0.5).to(head.weight))
        return {"second": second}

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """The second classifier's loss, minus the discrepancy."""
        from torch.nn import functional

        from headstart.train import align

        Xt = align.reversed_gradient(both.Xt)
        learned = functional.cross_entropy(module.second(both.Xs), both.ys)
        return learned - self.strength * align.discrepancy(module.head(Xt), module.second(Xt))
