"""deep-self-train: predict the target, learn from the surest predictions, and from more of them epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.strategy.deep import Deep

if TYPE_CHECKING:
    from torch import Tensor

    from headstart.train import TwoDomains
    from headstart.train.adaptation import Both


@dataclass(frozen=True)
class DeepSelfTrain(Deep):
    """Class-balanced self-training in stages (Zou et al. 2018), with the network instead of a linear classifier.

    In each epoch a growing share of the target examples predicted to be of a class, the surest of them, are trained on
    like those of the source domain; up to `share` of them.

    Args:
        epochs: each is a stage.
        share: in the last epoch.
    """

    name: ClassVar[str] = "deep-self-train"

    epochs: int = 2
    share: float = 0.8

    def relabel(self, module: Any, batches: TwoDomains, share: float) -> Any:
        """Of each predicted class the surest part; the others have no label."""
        from headstart.train.adaptation import said, surest

        return surest(said(module, batches.unlabelled)[1], self.share * share)

    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """None: what is learned of the target domain is its labels."""
        return both.Zt.new_zeros(())
