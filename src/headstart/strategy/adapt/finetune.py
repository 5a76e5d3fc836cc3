"""finetune: fit the head on frozen features first, then train head and trunk together, the trunk more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart import machine
from headstart.budget import Budget
from headstart.features import NetworkBody
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView
from headstart.train import Augmentation, Plan, Trainable


@dataclass(frozen=True)
class Finetune:
    """LP-FT: linear probing, then fine-tuning (Kumar et al. 2022).

    A random head sends large gradients into a good trunk and distorts it; a probed head does not. Batch-norm
    statistics stay the source's, because batches of a small target estimate them badly.

    Args:
        epochs: at most; early stopping ends sooner.
        rate: peak learning rate of the head.
        trunk: share of that rate for the trunk.
        flip: mirror pictures in augmentation.
        batch: pictures per batch.
    """

    name: ClassVar[str] = "finetune"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, gradients=True)

    epochs: int = 6
    rate: float = 1e-3
    trunk: float = 0.1
    flip: bool = True
    batch: int = 16

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """A careful rate, a bolder one, and one without mirroring."""
        return [cls(), cls(epochs=10, trunk=0.3), cls(flip=False)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Forward and backward in torch, whatever the frozen forward pass is compiled to."""
        return 1.0 + self.epochs * examples * card.flops / TRAINING_RATE / machine.cores()

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Probe, then train."""
        from headstart.strategy import network

        card = source.card
        assert card.preprocessing is not None
        body = NetworkBody.frozen(source, bench.device)
        X = bench.features(body, view.examples.inputs, card.short)
        probe = linear.ridge(X, view.examples.labels, len(view.classes))
        return network.fit(
            source,
            view,
            preprocessing=card.preprocessing,
            plan=Plan(self.epochs, self.rate, patience=3, seed=seed),
            trainable=Trainable(((r"head\.", 1.0), (r"trunk\.", self.trunk)), batch_norm="frozen"),
            augmentation=Augmentation(crop=0.4, flip=self.flip, colour=0.2),
            smoothing=0.1,
            batch=self.batch,
            budget=budget,
            seed=seed,
            bench=bench,
            words=f"finetune {card.short}",
            stop_early=True,
            start=probe.as_logits(view.examples.labels),
        )
