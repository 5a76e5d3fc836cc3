"""label-shift: the classes are as they were, only more or less frequent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from headstart.domains.labels import bbse, mlls
from headstart.predictor import LinearHead
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, on_raw
from headstart.strategy.shallow import Shallow


@dataclass(frozen=True)
class LabelShift(Shallow):
    """Estimate the target's class shares and shift the logits by them (Saerens et al. 2002; Lipton et al. 2018).

    Args:
        shares: how they are estimated; see :mod:`headstart.domains.labels`.
    """

    name: ClassVar[str] = "label-shift"

    shares: Literal["mlls", "bbse"] = "mlls"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Both estimators."""
        return [cls("mlls"), cls("bbse")]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """The source's classifier, calibrated, with other offsets."""
        found, calibrated, ys, classes = pair.reference, pair.calibrated, pair.ys, pair.classes
        asked = found.head.logits(pair.unaligned)
        old = np.bincount(ys, minlength=classes) / len(ys)
        new = mlls(calibrated(asked), old) if self.shares == "mlls" else bbse(found.left_out, ys, asked)
        # A class of which nothing was found is made rare, not impossible.
        least = 0.5 / (len(asked) + classes)
        offset = np.log(np.maximum(new, least)) - np.log(np.maximum(old, least))
        weight = (calibrated.scale * found.head.weight).astype(np.float32)
        bias = calibrated.scale * found.head.bias + calibrated.bias
        heads = (LinearHead(weight, each.astype(np.float32)) for each in (bias + offset, bias))
        return Sides(*(on_raw(head, *pair.of_source) for head in heads))
