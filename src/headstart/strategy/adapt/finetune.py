"""finetune: fit the head on frozen features first, then train head and trunk together, the trunk more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart import machine
from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation, NetworkBody
from headstart.predictor import Predictor
from headstart.source.card import Preprocessing, Source, SourceCard, Stage
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView


@dataclass(frozen=True)
class Finetune:
    """LP-FT: linear probing, then fine-tuning (Kumar et al. 2022).

    A random head sends large gradients into a good trunk and distorts it; a probed head does not. Batch-norm
    statistics stay the source's, because batches of a small target estimate them badly.

    With `last`, only the last stages are trained, from the values at the cut before them: the frozen rest is run once,
    for a few augmented views of each example that are kept in the store, instead of once an epoch.

    Args:
        epochs: at most; early stopping ends sooner.
        rate: peak learning rate of the head.
        trunk: share of that rate for the trunk.
        flip: mirror pictures in augmentation.
        batch: pictures per batch.
        last: how many of the source's last stages are trained; None: the whole network, in every epoch.
        views: augmented views of each example, where only the last stages are trained.
    """

    name: ClassVar[str] = "finetune"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, gradients=True)

    epochs: int = 6
    rate: float = 1e-3
    trunk: float = 0.1
    flip: bool = True
    batch: int = 16
    last: int | None = None
    views: int = 4

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The last stage, the last two, the last without mirroring; then all of it, carefully and more boldly."""
        whole: list[Adapt] = [cls(), cls(epochs=10, trunk=0.3), cls(flip=False)]
        if len(card.stages) < 3:
            return whole
        return [cls(epochs=10, last=1), cls(epochs=10, last=2), cls(epochs=10, last=1, flip=False), *whole[:2]]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Forward and backward in torch, whatever the frozen forward pass is compiled to."""
        training = TRAINING_RATE * machine.cores()
        if self.last is None:
            return 1.0 + self.epochs * examples * card.flops / training
        # The last stages are mostly products of large matrices, which run more than twice as efficiently.
        return 1.0 + self.epochs * examples * self._cut(card).flops / (2.5 * training)

    def frozen(self, card: SourceCard) -> float:
        """One pass for the head; with a cut, one as far as it goes for every view."""
        return card.flops + (0.0 if self.last is None else (self.views + 1) * (card.flops - self._cut(card).flops))

    def _cut(self, card: SourceCard) -> Stage:
        assert self.last is not None
        return card.stages[-1 - self.last]

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
        from headstart.train import Plan, Trainable

        card = source.card
        assert isinstance(card.preprocessing, Preprocessing)
        if self.last is not None and not 1 <= self.last < len(card.stages):
            raise TrialError(f"the last {self.last} of {len(card.stages)} stages of {card.name} cannot be trained")
        X = bench.features(NetworkBody.of(source, bench.device), view.examples.inputs, card.short)
        labels = view.examples.labels
        start = linear.ridge(X, labels, len(view.classes)).as_logits(labels)
        recipe = network.Recipe(
            plan=Plan(self.epochs, self.rate, patience=3, seed=seed),
            trainable=Trainable(((r"head\.", 1.0), (r"(trunk|tail)\.", self.trunk)), batch_norm="frozen"),
            augmentation=Augmentation(crop=0.4, flip=self.flip, colour=0.2),
            smoothing=0.1,
            batch=self.batch,
            stop_early=True,
        )
        words = f"finetune {card.short}"
        if self.last is None:
            return network.fit(
                source,
                view,
                recipe,
                preprocessing=card.preprocessing,
                budget=budget,
                bench=bench,
                words=words,
                start=start,
            )
        return network.fit_tail(
            source,
            view,
            recipe,
            cut=self._cut(card).name,
            views=self.views,
            budget=budget,
            bench=bench,
            words=words,
            start=start,
        )
