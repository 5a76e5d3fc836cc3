"""finetune: fit the head on frozen features first, then train head and trunk together, the trunk more slowly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from headstart import machine
from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard, Stage, Tokens
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView

if TYPE_CHECKING:
    from headstart.train import Trainable


@dataclass(frozen=True)
class Finetune:
    """LP-FT: linear probing, then fine-tuning (Kumar et al. 2022).

    A random head sends large gradients into a good trunk and distorts it; a probed head does not. Batch-norm
    statistics stay the source's, because batches of a small target estimate them badly.

    With `last`, only the last stages are trained, from the values at the cut before them: the frozen rest is run once,
    for a few augmented views of each example that are kept in the store, instead of once an epoch. Of a text its values
    at every token are kept.

    On texts, `decay`, `unfreeze` and the slanted schedule are those of ULMFiT (Howard & Ruder 2018): layers nearer to
    the words know what is common to all texts, so they are moved less, and later.

    Args:
        epochs: at most; early stopping ends sooner.
        rate: peak learning rate of the head.
        trunk: share of that rate for the trunk.
        flip: mirror pictures in augmentation.
        batch: examples per batch.
        last: how many of the source's last stages are trained; None: the whole network, in every epoch.
        views: augmented views of each picture, where only the last stages are trained.
        decay: each stage of a text encoder has this share of the rate of the stage after it (discriminative rates).
        unfreeze: the stages of a text encoder join one an epoch, the last first (gradual unfreezing).
        schedule: of the rate: `cosine`, or `slanted` (triangular).
    """

    name: ClassVar[str] = "finetune"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"), gradients=True)

    epochs: int = 6
    rate: float = 1e-3
    trunk: float = 0.1
    flip: bool = True
    batch: int = 16
    last: int | None = None
    views: int = 4
    decay: float = 1.0
    unfreeze: bool = False
    schedule: Literal["cosine", "slanted"] = "cosine"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The last stage, the last two, the last without mirroring; then all of it, carefully and more boldly.

        On texts: the last two stages, all of it, all of it more boldly, and as ULMFiT does.
        """
        if card.modality == "text":
            some: list[Adapt] = [cls(epochs=3, last=2)] if len(card.stages) > 2 else []
            deep: list[Adapt] = [cls(decay=0.4, unfreeze=True, trunk=0.3, schedule="slanted")] if card.stages else []
            return [*some, cls(epochs=3, decay=0.9), cls(epochs=6, decay=0.9, trunk=0.3), *deep]
        whole: list[Adapt] = [cls(), cls(epochs=10, trunk=0.3), cls(flip=False)]
        if len(card.stages) < 3:
            return whole
        return [cls(epochs=10, last=1), cls(epochs=10, last=2), cls(epochs=10, last=1, flip=False), *whole[:2]]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Forward and backward in torch, whatever the frozen forward pass is compiled to."""
        training = TRAINING_RATE * machine.cores()
        if isinstance(card.preprocessing, Tokens):
            # What is frozen is run once, forward, a third of the work. Every step moves all weights that are trained.
            trained = 1.0 if self.last is None else self._cut(card).flops / card.flops
            passes = trained * (card.flops / (2.5 * training) + 3e-9 * card.parameters / self.batch)
            return 1.0 + examples * (self.epochs * passes + (1 - trained) * card.flops / 3 / (2.5 * training))
        if self.last is None:
            return 1.0 + self.epochs * examples * card.flops / training
        # The last stages are mostly products of large matrices, which run more than twice as efficiently.
        return 1.0 + self.epochs * examples * self._cut(card).flops / (2.5 * training)

    def frozen(self, card: SourceCard) -> float:
        """One pass for the head; with a cut, one as far as it goes for every view of a picture."""
        if card.modality == "text":
            return card.flops
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
        from headstart.train import Plan

        card = source.card
        assert card.preprocessing is not None
        if self.last is not None and not 1 <= self.last < len(card.stages):
            raise TrialError(f"the last {self.last} of {len(card.stages)} stages of {card.name} cannot be trained")
        texts = isinstance(card.preprocessing, Tokens)
        start = network.probed(source, view, bench)
        recipe = network.Recipe(
            plan=Plan(self.epochs, self.rate, schedule=self.schedule, patience=3, seed=seed),
            trainable=self._stages(card) if texts else self._whole(),
            augmentation=Augmentation(crop=0.4, flip=self.flip, colour=0.2),
            smoothing=0.1,
            batch=self.batch,
            stop_early=True,
        )
        words = f"finetune {card.short}"
        if self.last is None or texts:
            return network.fit(
                source,
                view,
                recipe,
                preprocessing=card.preprocessing,
                budget=budget,
                bench=bench,
                words=words,
                start=start,
                cut=None if self.last is None else self._cut(card).name,
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

    def _whole(self) -> Trainable:
        """Trunk or tail at one rate."""
        from headstart.train import Trainable

        return Trainable(((r"head\.", 1.0), (r"(trunk|tail)\.", self.trunk)), batch_norm="frozen")

    def _stages(self, card: SourceCard) -> Trainable:
        """The last stage at the trunk's rate, each one before more slowly; what precedes the first is as one more."""
        from headstart.train import Trainable

        patterns = [rf"trunk\.{re.escape(stage.name)}\." for stage in reversed(card.stages)] + [r"trunk\."]
        trained = len(patterns) if self.last is None else self.last
        shares = [(pattern, self.trunk * self.decay**depth) for depth, pattern in enumerate(patterns[:trained])]
        later = [(pattern, 1 + depth) for depth, pattern in enumerate(patterns)] if self.unfreeze else []
        return Trainable(((r"head\.", 1.0), *shares), "frozen", tuple(later))
