"""majority: predict how frequent each class is, whatever the input. The floor under every other route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.budget import Budget
from headstart.features import EmptyBody
from headstart.predictor import ConstantHead, Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView


@dataclass(frozen=True)
class Majority:
    """Class frequencies with Laplace smoothing: `log((n_c + 1) / (n + C))`."""

    name: ClassVar[str] = "majority"
    side: ClassVar[Side] = "baseline"
    needs: ClassVar[Needs] = Needs(network=False, pretrained=False, modalities=("image", "text"))

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """There is nothing to tune."""
        return [cls()]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Next to nothing."""
        return 2e-3 + 4e-6 * examples

    def frozen(self, card: SourceCard) -> float:
        """None."""
        return 0.0

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Count."""
        counts = np.bincount(view.examples.labels, minlength=len(view.classes)) + 1.0
        head = ConstantHead(np.log(counts / counts.sum()).astype(np.float32))
        return Predictor(view.classes, EmptyBody(view.modality), head)
