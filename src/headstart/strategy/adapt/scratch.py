"""scratch: the network that transfer must beat, trained from random weights on the target alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from headstart import machine
from headstart.budget import Budget
from headstart.features import Augmentation
from headstart.predictor import Predictor
from headstart.source.card import Preprocessing, Source, SourceCard, Tokens
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.strategy.objective import Objective
from headstart.target.view import TrainView


@dataclass(frozen=True)
class Scratch:
    """Training from random weights, on all labels, for all epochs, with the augmentation that fine-tuning gets.

    There is no early stopping: on a handful of held-out examples the first epochs look best, while the running
    statistics of batch norm still lag behind, and the baseline would be an untrained network.

    Args:
        epochs: at most.
        rate: peak learning rate.
        crop: smallest share of the area that a random crop keeps.
        flip: mirror pictures in augmentation.
        size: side of the network's input, pixels; None: what the architecture was designed for, or texts.
        batch: examples per batch.
        drop: share of the words of training texts that are left out.
    """

    name: ClassVar[str] = "scratch"
    side: ClassVar[Side] = "baseline"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=False, modalities=("image", "text"), gradients=True)

    epochs: int = 30
    rate: float = 3e-3
    crop: float = 0.5
    flip: bool = True
    size: int | None = None
    batch: int = 16
    drop: float = 0.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The small network: three sizes of input, mirrored or not, trained shorter or longer. Others: one setting.

        On texts: two rates, trained shorter or longer, more or fewer words left out.
        """
        if card.modality == "text":
            common: dict[str, Any] = {"crop": 1.0, "flip": False, "batch": 50}
            return [
                cls(epochs=8, rate=3e-3, drop=0.3, **common),
                cls(epochs=20, rate=1e-3, drop=0.1, **common),
                cls(epochs=20, rate=3e-3, drop=0.3, **common),
            ]
        if card.architecture == "small_cnn":
            return [cls(size=64), cls(size=32, flip=False, crop=0.7), cls(epochs=60, rate=1e-3, size=64), cls(size=96)]
        return [cls(epochs=20, rate=1e-3)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """As for fine-tuning."""
        if isinstance(card.preprocessing, Tokens):
            # Every step moves the vectors of all words.
            step = 3e-9 * card.parameters
            passes = card.flops / (4 * TRAINING_RATE * machine.cores()) + step / self.batch
            return 0.5 + self.epochs * examples * passes
        assert card.preprocessing is not None
        area = (self.size / card.preprocessing.size) ** 2 if self.size else 1.0
        # Plain convolutions run more than twice as efficiently as the depthwise ones of larger architectures.
        rate = (2.5 if card.architecture == "small_cnn" else 1.0) * TRAINING_RATE * machine.cores()
        return 0.5 + self.epochs * examples * (card.flops * area / rate + 0.0003)

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
        """Train."""
        from headstart.strategy import network
        from headstart.train import Plan, Trainable

        preprocessing = source.card.preprocessing
        assert preprocessing is not None
        if self.size and isinstance(preprocessing, Preprocessing):
            preprocessing = replace(preprocessing, size=self.size)
        recipe = network.Recipe(
            plan=Plan(self.epochs, self.rate, seed=seed),
            trainable=Trainable(),
            augmentation=Augmentation(crop=self.crop, flip=self.flip, colour=0.2),
            objective=Objective(),
            batch=self.batch,
            stop_early=False,
            drop=self.drop,
        )
        return network.fit(
            source,
            view,
            recipe,
            preprocessing=preprocessing,
            budget=budget,
            bench=bench,
            words=f"scratch {source.card.short}",
        )
