"""lora: leave the network as it is, and learn a small change to some of its layers, through peft."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from headstart import machine
from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.strategy.objective import Objective
from headstart.target.view import TrainView

if TYPE_CHECKING:
    from torch import nn

ATTACHED = r"trunk\..*\.(lora_|ia3_l)"
"""What peft calls the parameters that it attaches."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation (Hu et al. 2021) and its kin, from a probed head.

    A layer's weights W stay, and the layer computes W x + (alpha / rank) B A x, where A is (rank, in) and B, which
    begins at zero, is (out, rank). Only A, B and the head are trained. Afterwards (alpha / rank) B A is added to W, so
    that what is saved is an ordinary network with its head, as large and as fast as the source; nothing is attached to
    it that could get lost.

    Args:
        method: `lora`; `dora`: the length of each row of W is learned apart from its direction, which moves as with
            `lora` (Liu et al. 2024); `ia3`: what each layer gives is multiplied by a learned vector, and nothing else
            moves (Liu et al. 2022).
        rank: of the change, not of `ia3`.
        alpha: its size is alpha / rank, likewise.
        layers: `attention`: the queries and values of attention (in image transformers, keys and outputs too, which
            are in one layer with them or as small); `all`: every linear layer.
        epochs: at most; early stopping ends sooner.
        rate: peak learning rate of the head.
        share: of that rate for what is attached.
        batch: examples per batch.
        flip: mirror pictures in augmentation.
    """

    name: ClassVar[str] = "lora"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True,
        pretrained=True,
        modalities=("image", "text"),
        gradients=True,
        stages=True,
        attention=True,
        extra=("peft", "hf"),
    )

    method: Literal["lora", "dora", "ia3"] = "lora"
    rank: int = 8
    alpha: int = 16
    layers: Literal["attention", "all"] = "attention"
    epochs: int = 4
    rate: float = 1e-3
    share: float = 1.0
    batch: int = 16
    flip: bool = True

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Attention; every layer; every layer with a larger change and for longer."""
        return [cls(), cls(layers="all"), cls(rank=32, alpha=64, layers="all", epochs=8)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Two thirds of fine-tuning, because weights need no gradients; and the import of peft.

        Transformers are products of large matrices, which run more than twice as efficiently as the trunks of pictures.
        """
        return 3.0 + self.epochs * examples * card.flops * 2 / 3 / (2.5 * TRAINING_RATE * machine.cores())

    def frozen(self, card: SourceCard) -> float:
        """One pass for the head."""
        return card.flops

    def __call__(
        self,
        source: Source,
        view: TrainView,
        *,
        budget: Budget,
        seed: int,
        bench: Bench = PLAIN,
    ) -> Predictor:
        """Probe, attach, train, merge."""
        from headstart.strategy import network
        from headstart.train import Plan, Trainable

        card = source.card
        assert card.preprocessing is not None
        return network.fit(
            source,
            view,
            network.Recipe(
                plan=Plan(self.epochs, self.rate, patience=3, seed=seed),
                trainable=Trainable(((r"head\.", 1.0), (ATTACHED, self.share)), batch_norm="frozen"),
                augmentation=Augmentation(crop=0.4, flip=self.flip, colour=0.2),
                objective=Objective(),
                batch=self.batch,
                stop_early=True,
            ),
            preprocessing=card.preprocessing,
            budget=budget,
            bench=bench,
            words=f"lora {card.short}",
            start=True,
            adapter=functools.partial(self._attach, card.name),
        )

    def _attach(self, name: str, trunk: nn.Module) -> Callable[[], object]:
        from peft import IA3Config, LoraConfig
        from peft.tuners.ia3 import IA3Model
        from peft.tuners.lora import LoraModel

        from headstart.source.architecture import ATTENTION, linear_layers

        found = linear_layers(trunk, ATTENTION if self.layers == "attention" else r".*")
        if not found:
            raise TrialError(f"{name} has no linear layers of the kind that LoRA changes ({self.layers})")
        common: dict[str, Any] = {"target_modules": list(found), "fan_in_fan_out": "Conv1D" in found.values()}
        attached: Any
        if self.method == "ia3":
            attached = IA3Model(trunk, IA3Config(feedforward_modules=[], **common), "default")
        else:
            dora = self.method == "dora"
            low = LoraConfig(r=self.rank, lora_alpha=self.alpha, bias="none", use_dora=dora, **common)
            attached = LoraModel(trunk, low, "default")
        merge: Callable[[], object] = attached.merge_and_unload
        return merge
