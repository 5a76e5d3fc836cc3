"""finetune: fit the head on frozen features first, then train head and trunk together, the trunk more slowly."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from headstart import machine
from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard, Stage, Tokens
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.strategy.objective import Loss, Mix, Objective, Penalty
from headstart.target.view import TrainView

if TYPE_CHECKING:
    from headstart.train import Trainable

RANGE_STEPS = 40  # of a range test


@dataclass(frozen=True)
class Finetune:
    """LP-FT: linear probing, then fine-tuning (Kumar et al. 2022).

    A random head sends large gradients into a good trunk and distorts it; a probed head does not. Batch-norm
    statistics stay the source's, because batches of a small target estimate them badly.

    With `last`, only the last stages are trained, from the values at the cut before them: the frozen rest is run once,
    for a few augmented views of each example that are kept in the store, instead of once an epoch. Of a text its values
    at every token are kept.

    `decay`, `unfreeze` and the slanted schedule are those of ULMFiT (Howard & Ruder 2018): layers nearer to the input
    know what is common to all examples, so they are moved less, and later.

    What is trained, what is lowered, and what is done with the weights afterwards can be chosen one by one; the page
    on fine-tuning says when.

    Args:
        epochs: at most; early stopping ends sooner.
        steps: of the optimiser, where these epochs are fewer: a few dozen examples are gone over more often.
        rate: peak learning rate of the head; None: from a range test (Smith 2017).
        trunk: share of that rate for the trunk.
        flip: mirror pictures in augmentation.
        batch: examples per batch.
        last: how many of the source's last stages are trained; None: the whole network, in every epoch.
        views: augmented views of each picture, where only the last stages are trained.
        decay: each stage has this share of the rate of the stage after it (discriminative rates).
        unfreeze: the stages join one an epoch, the last first (gradual unfreezing).
        schedule: of the rate: `cosine`, `slanted` (triangular), or `constant`.
        trained: of the trunk: `all`; `norm`: scales and shifts of normalisation layers; `bias`: biases (BitFit).
        loss: see :class:`headstart.strategy.objective.Objective`.
        mix: `mixup` or `cutmix` of pictures.
        balanced: in training, every class comes equally often.
        penalty: what holds the network to its source: `l2sp`, `delta`, `bss` or `cotuning`.
        strength: of the penalty; None: the usual one.
        average: of weights: `swa`: of the epochs of the second half; `wise`: of the network and its start; `soup`: of
            several trainings from one start; `greedy-soup`: of those among them that help on held-out examples.
        members: trainings for a soup, each of which costs as much as one.
        shift: shift the logits by the prior of the classes, as the primary metric on held-out examples wants it.
        operations: of RandAugment that a picture goes through in augmentation.
    """

    name: ClassVar[str] = "finetune"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"), gradients=True)

    epochs: int = 6
    steps: int = 0
    rate: float | None = 1e-3
    trunk: float = 0.1
    flip: bool = True
    batch: int = 16
    last: int | None = None
    views: int = 4
    decay: float = 1.0
    unfreeze: bool = False
    schedule: Literal["cosine", "slanted", "constant"] = "cosine"
    trained: Literal["all", "norm", "bias"] = "all"
    loss: Loss = "cross-entropy"
    mix: Mix = "none"
    balanced: bool = False
    penalty: Penalty = "none"
    strength: float | None = None
    average: Literal["none", "swa", "wise", "soup", "greedy-soup"] = "none"
    members: int = 3
    shift: bool = False
    operations: int = 0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The last two stages, for longer and on mixtures, and without mirroring; then all of it.

        On texts: the last two stages, the upper half for longer and more boldly, all of it, and as ULMFiT does.
        """
        half = len(card.stages) // 2
        if card.modality == "text":
            some: list[Adapt] = [cls(epochs=3, last=2), cls(epochs=10, last=half, trunk=1.0)] if half > 1 else []
            deep: list[Adapt] = [cls(decay=0.4, unfreeze=True, trunk=0.3, schedule="slanted")] if card.stages else []
            return [*some, cls(epochs=6, decay=0.9, trunk=0.3), *deep]
        if half < 2:
            return [cls(), cls(epochs=10, trunk=0.3), cls(flip=False)]
        tail = cls(epochs=10, last=2, trunk=0.3)
        longer = replace(tail, steps=120, mix="mixup")
        return [tail, longer, replace(tail, flip=False), cls(epochs=10, trunk=0.3)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Forward and backward in torch, whatever the frozen forward pass is compiled to."""
        training = TRAINING_RATE * machine.cores()
        passes = float(self._trainings * self._epochs(examples) * examples)
        passes += RANGE_STEPS * self.batch if self.rate is None else 0
        if self.penalty == "delta":
            passes *= 4 / 3  # and once forward through the source
        if isinstance(card.preprocessing, Tokens):
            # What is frozen is run once, forward, a third of the work. Every step moves all weights that are trained.
            trained = 1.0 if self.last is None else self.cut(card).flops / card.flops
            a_pass = trained * (card.flops / (2.5 * training) + 3e-9 * card.parameters / self.batch)
            return 1.0 + passes * a_pass + examples * (1 - trained) * card.flops / 3 / (2.5 * training)
        if self.last is None:
            return 1.0 + passes * card.flops / training
        # The last stages are mostly products of large matrices, which run more than twice as efficiently.
        return 1.0 + passes * self.cut(card).flops / (2.5 * training)

    def frozen(self, card: SourceCard) -> float:
        """One pass for the head; with a cut, one as far as it goes for every view of a picture."""
        if card.modality == "text":
            return card.flops
        return card.flops + (0.0 if self.last is None else (self.views + 1) * (card.flops - self.cut(card).flops))

    @property
    def _trainings(self) -> int:
        return self.members if self.average.endswith("soup") else 1

    def _epochs(self, examples: int) -> int:
        """Epochs at most, of so many examples."""
        return max(self.epochs, math.ceil(self.steps / math.ceil(max(1, examples) / self.batch)))

    def cut(self, card: SourceCard) -> Stage:
        """The last stage that stays as it is."""
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
        """Probe, then train.

        Raises:
            TrialError: the source has not so many stages, or cannot serve for the penalty or the mixing.
        """
        from headstart.strategy import network
        from headstart.train import Plan

        card = source.card
        assert card.preprocessing is not None
        objective = Objective(loss=self.loss, mix=self.mix, penalty=self.penalty, strength=self.strength)
        refused = objective.refused(card)
        if self.last is not None and not 1 <= self.last < len(card.stages):
            refused.append(f"the last {self.last} of {len(card.stages)} stages of {card.name} cannot be trained")
        if self._trainings < 1:
            refused.append(f"a soup of {self.members} trainings: at least 1 is needed")
        if refused:
            raise TrialError("; ".join(refused))
        swa = self.average == "swa"
        recipe = network.Recipe(
            plan=Plan(
                self._epochs(len(view)),
                self.rate or 0.0,
                decay=0.0 if self.penalty == "l2sp" else 0.05,  # which pulls to 0, and the penalty to the source
                schedule="constant" if swa else self.schedule,
                patience=None if swa else 3,
                seed=seed,
                average=swa,
            ),
            trainable=self.trainable(source),
            augmentation=Augmentation(crop=0.4, flip=self.flip, colour=0.2, operations=self.operations),
            objective=objective,
            batch=self.batch,
            stop_early=True,
            even=self.balanced,
            between=self.average == "wise",
            shift=self.shift,
            find_rate=self.rate is None,
            members=self._trainings,
            greedy=self.average == "greedy-soup",
        )
        common = {"budget": budget, "bench": bench, "words": f"finetune {card.short}", "start": True}
        cut = None if self.last is None else self.cut(card).name
        if cut is None or isinstance(card.preprocessing, Tokens):
            return network.fit(source, view, recipe, preprocessing=card.preprocessing, cut=cut, **common)  # type: ignore[arg-type]
        return network.fit_tail(source, view, recipe, cut=cut, views=self.views, **common)  # type: ignore[arg-type]

    def trainable(self, source: Source) -> Trainable:
        """The head at full rate; trunk or tail at one rate, or stage by stage more slowly and later."""
        from headstart.train import Trainable

        card, trunk = source.card, r"(trunk|tail)\."
        head = ((r"head\.", 1.0), (r"known\.", self.trunk))
        parts = () if self.trained == "all" else ((trunk, self.trained),)
        texts = isinstance(card.preprocessing, Tokens)
        if not texts and self.decay == 1.0 and not self.unfreeze:
            return Trainable((*head, (trunk, self.trunk)), "frozen", (), parts)
        patterns = [rf"(trunk|tail\.trunk)\.{re.escape(stage.name)}\." for stage in reversed(card.stages)]
        after = [] if texts else _after(source)
        trained = len(patterns) + 1 if self.last is None else self.last
        depths = [*((pattern, 0) for pattern in after), *((pattern, k) for k, pattern in enumerate([*patterns, trunk]))]
        shares = [(pattern, self.trunk * self.decay**depth) for pattern, depth in depths if depth < trained]
        later = tuple((pattern, 1 + depth) for pattern, depth in depths) if self.unfreeze else ()
        return Trainable((*head, *shares), "frozen", later, parts)


def _after(source: Source) -> list[str]:
    """Patterns for what a network of pictures has after its last stage: it is trained as that stage is.

    Cards do not name it. Networks list their layers in the order in which they use them.
    """
    if not source.card.stages:
        return []
    names = [name for name, _ in source.module().named_parameters()]
    last = f"{source.card.stages[-1].name}."
    ends = max(i for i, name in enumerate(names) if name.startswith(last))
    # Of a sequence of blocks of which the last stage is one, those that follow are named in full.
    own = last.partition(".")[0]
    children = dict.fromkeys(
        ".".join(name.split(".")[: 2 if name.partition(".")[0] == own else 1]) for name in names[ends + 1 :]
    )
    return [rf"(trunk|tail\.trunk)\.{re.escape(child)}(\.|$)" for child in children]
