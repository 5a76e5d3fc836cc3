"""What the deep ways of domain adaptation share: the last stages are trained on batches of both domains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard, Tokens
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.strategy.shallow import corrected, lacking
from headstart.target.view import Examples, TrainView

if TYPE_CHECKING:
    from torch import Tensor, nn

    from headstart.train import Task, TwoDomains
    from headstart.train.adaptation import Both

SMOOTHING = 0.1
MADE = r"(critic|second)\."
"""What a method adds to the network for the training alone."""


@dataclass(frozen=True)
class Deep(ABC):
    """Domain adaptation in which the last stages of the network are trained.

    The view's labelled examples are the source domain's, its unlabelled ones the target domain's. Both domains' values
    at the cut are computed once and kept, as for fine-tuning; the head is probed on the source domain first. Then the
    cross-entropy of the source domain is lowered together with a discrepancy of both domains, which counts more and
    more (:func:`headstart.train.align.ramp`). The last epoch's weights are kept: a loss on held-out source examples
    would prefer the first.

    Args:
        strength: factor of the discrepancy.
        epochs: passes through the larger domain; the head begins probed, and more of them mostly undo what it knew.
        rate: peak learning rate of the head and of what a method adds.
        trunk: share of that rate for the stages.
        last: how many of the source's last stages are trained.
        norm: batch norm scales `each` domain by its own statistics, as in AdaBN, and the saved network by the target's;
            or the source's statistics are `kept`. A network without batch norm has none.
        batch: examples of each domain per batch.
        views: augmented views of each picture; 0: pictures are taken as they are, like those that batch norm will see.
        flip: mirror pictures in augmentation.
    """

    name: ClassVar[str]
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True, pretrained=True, modalities=("image", "text"), unlabelled=True, gradients=True, cuts=True
    )

    strength: float = 1.0
    epochs: int = 1
    rate: float = 1e-3
    trunk: float = 0.03
    last: int = 1
    norm: Literal["each", "kept"] = "each"
    batch: int = 32
    views: int = 0
    flip: bool = True

    @abstractmethod
    def discrepancy(self, module: Any, both: Both) -> Tensor:
        """What of the two domains is lowered, a scalar.

        Args:
            module: the network, with what :meth:`made` gave it.
            both: what it makes of a batch.
        """

    def made(self, head: nn.Linear) -> dict[str, nn.Module]:
        """What is trained besides the network, by name: `critic`, or `second`.

        Args:
            head: from D pooled features to C logits, as it is before training.
        """
        return {}

    def relabel(self, module: Any, batches: TwoDomains, share: float) -> Any:
        """(M,) int64 labels of the target domain at the beginning of an epoch; None: it has none.

        Args:
            module: the network.
            batches: of both domains.
            share: of the epochs, those before this one and this one.
        """
        return None

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting: what is dear should be few."""
        return [cls()]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """As fine-tuning the same stages on twice the examples.

        Args:
            card: of the source.
            examples: of the larger domain.
            classes: number of classes.
            rate: operations per second of the compiled forward pass.
        """
        return self.tuned().seconds(card, 2 * examples, classes, rate)

    def frozen(self, card: SourceCard) -> float:
        """As fine-tuning."""
        return self.tuned().frozen(card)

    def norms(self, card: SourceCard) -> bool:
        """Whether batch norm scales each domain by its own statistics."""
        return self.norm == "each" and card.batch_norm

    def tuned(self) -> Finetune:
        """Fine-tuning of the same stages."""
        return Finetune(
            epochs=self.epochs,
            rate=self.rate,
            trunk=self.trunk,
            flip=self.flip,
            batch=self.batch,
            last=self.last,
            views=self.views,
        )

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """Probe, then train on both domains; then the target's few labels, where there are some, correct the head.

        Raises:
            TrialError: there is no target domain, or the source has not so many stages.
        """
        from headstart.strategy import network
        from headstart.train import Plan

        card = source.card
        refuse(self.name, self.needs, card, view, self.last)
        trainable = self.tuned().trainable(source)
        recipe = network.Recipe(
            plan=Plan(self.epochs, self.rate, seed=seed),
            trainable=replace(
                trainable, shares=((MADE, 1.0), *trainable.shares), batch_norm="train" if self.norms(card) else "frozen"
            ),
            augmentation=Augmentation(crop=0.4, flip=self.flip, colour=0.2),
            objective=_Alignment(self, seed),
            batch=self.batch,
            stop_early=False,
        )
        common: dict[str, Any] = {"budget": budget, "bench": bench, "words": f"{self.name} {card.short}"}
        common |= {"cut": self.tuned().cut(card).name, "start": not self.norms(card), "unlabelled": view.unlabelled}
        if isinstance(card.preprocessing, Tokens):
            made = network.fit(source, view, recipe, preprocessing=card.preprocessing, **common)
        else:
            made = network.fit_tail(source, view, recipe, views=self.views, **common)
        return corrected(made, view, seed=seed, bench=bench, words=card.short)


def refuse(name: str, needs: Needs, card: SourceCard, view: TrainView, last: int) -> None:
    """Find out whether the domains that are needed are there, and so many stages.

    Raises:
        TrialError: what is missing.
    """
    missing = lacking(name, needs, view)
    if not 1 <= last < len(card.stages):
        missing.append(f"the last {last} of {len(card.stages)} stages of {card.name} cannot be trained")
    if missing:
        raise TrialError("; ".join(missing))


@dataclass(frozen=True)
class _Alignment:
    """What training lowers: the loss on labels, and a method's discrepancy.

    Args:
        method: the way of adaptation.
        seed: of what it adds.
    """

    method: Deep
    seed: int

    def extend(self, module: Any, source: Source, bench: Bench) -> None:
        """The number of steps taken; the rest follows in :meth:`task`, when the head is what it begins as."""
        import torch

        module.register_buffer("taken", torch.zeros((), dtype=torch.int64, device=bench.device))

    def _add(self, module: Any, bench: Bench) -> None:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = self.method.made(module.head)
        for name, part in made.items():
            module.add_module(name, part.to(bench.device))

    @contextmanager
    def task(
        self, module: Any, source: Source, examples: Examples, classes: int, batches: Any, bench: Bench
    ) -> Iterator[Task]:
        """The task, and new labels of the target domain in every epoch where the method gives any.

        Where batch norm scales each domain by its own statistics, the head begins as one that was probed so.
        """
        from headstart.strategy import network
        from headstart.train import Classification
        from headstart.train.adaptation import Aligned, renormalise
        from headstart.train.penalty import watched

        method, steps, apart = self.method, batches.steps(), self.method.norms(source.card)
        if apart:
            network.put(network.probed_apart(module, batches.labelled, examples.labels, classes), module.head)
        self._add(module, bench)

        def relabel() -> Any:
            if apart:
                renormalise(module, batches.unlabelled)
            return method.relabel(module, batches, min(1.0, (int(module.taken) // steps + 1) / method.epochs))

        if type(method).relabel is not Deep.relabel:
            batches.relabel = relabel
        with watched([module.head]) as (seen,):
            yield Aligned(Classification(SMOOTHING), method.discrepancy, seen, method.epochs * steps, apart)
        if apart:
            renormalise(module, batches.unlabelled)
