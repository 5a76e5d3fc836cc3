"""What the source-free ways of domain adaptation share: a model of the source domain, and the target's inputs alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features import Augmentation, CutBody
from headstart.features.text import TextBody, tokenizer_of
from headstart.predictor import LinearHead, Predictor
from headstart.source.card import Source, SourceCard, Tokens
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.strategy.deep import refuse
from headstart.strategy.shallow import corrected
from headstart.target.inputs import Inputs
from headstart.target.view import TrainView

if TYPE_CHECKING:
    from headstart.train import Task, Trainable
    from headstart.train.adaptation import Relabelled
    from headstart.train.task import Batch


@dataclass(frozen=True)
class SourceFree(ABC):
    """Domain adaptation in two steps, of which the second sees no source example.

    The first, :meth:`model`, fits a head to the source domain's labels on the frozen network, whose batch norm, where
    it has any, takes the source domain's statistics in the last stages. The second, :meth:`adapt`, is given that model
    and the target's inputs: what somebody has who may use a model but not the data behind it. Batch norm is by the
    statistics of the target from then on.

    Args:
        epochs: passes through the target domain.
        rate: peak learning rate of what is adapted.
        last: how many of the source's last stages are adapted.
        batch: target examples per batch; what is wanted of a whole batch, not of each example, needs many.
        views: augmented views of each picture; 0: pictures are taken as they are, like those that batch norm will see.
        flip: mirror pictures in augmentation.
    """

    name: ClassVar[str]
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True, pretrained=True, modalities=("image", "text"), unlabelled=True, gradients=True, cuts=True
    )

    epochs: int = 4
    rate: float = 1e-3
    last: int = 1
    batch: int = 64
    views: int = 0
    flip: bool = True

    @abstractmethod
    def task(self) -> Task | None:
        """What is lowered on the target's batches; None: nothing is trained."""

    @abstractmethod
    def trainable(self, source: Source) -> Trainable:
        """What is adapted."""

    def stages(self, source: Source) -> tuple[tuple[str, float], ...]:
        """Patterns over the parameters of the last stages, each with a share of the rate of 1; not the head's."""
        found = replace(self.tuned(), trunk=1.0).trainable(source).shares
        return tuple((pattern, share) for pattern, share in found if not pattern.startswith(("head", "known")))

    def relabel(self, module: Any, batches: Relabelled) -> None:  # noqa: B027 - most give none
        """Give the target's inputs pseudo-labels, at the beginning of every epoch."""

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting: what is dear should be few."""
        return [cls()]

    def tuned(self) -> Finetune:
        """Fine-tuning of the same stages."""
        return Finetune(
            epochs=self.epochs, rate=self.rate, flip=self.flip, batch=self.batch, last=self.last, views=self.views
        )

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """As fine-tuning the same stages, and two passes through them for the statistics of both domains.

        Args:
            card: of the source.
            examples: of the larger domain.
            classes: number of classes.
            rate: operations per second of the compiled forward pass.
        """
        return replace(self.tuned(), epochs=self.epochs + 1).seconds(card, examples, classes, rate)

    def frozen(self, card: SourceCard) -> float:
        """As fine-tuning."""
        return self.tuned().frozen(card)

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """A model of the source domain; that model, adapted to the target's inputs; its few labels, if there are any.

        Raises:
            TrialError: there is no target domain, or the source has not so many stages.
        """
        refuse(self.name, self.needs, source.card, view, self.last)
        assert view.unlabelled is not None
        model = self.model(source, replace(view, unlabelled=None), seed=seed, bench=bench)
        made = self.adapt(model, source, view.unlabelled, budget=budget, seed=seed, bench=bench)
        return corrected(made, view, seed=seed, bench=bench, words=source.card.short)

    def model(self, source: Source, view: TrainView, *, seed: int, bench: Bench = PLAIN) -> Predictor:
        """The source domain's model.

        Args:
            source: gives the network.
            view: of the source domain.
            seed: of everything random.
            bench: store and device.

        Raises:
            TrialError: the network cannot be cut, or the values at the cut do not fit into memory.
        """
        from headstart.strategy import network, tail

        card, classes = source.card, len(view.classes)
        cut = self.tuned().cut(card).name
        if isinstance(card.preprocessing, Tokens):
            body = TextBody(
                source.module(seed),
                card.architecture,
                card.preprocessing,
                tokenizer_of(source),
                card.features,
                device=bench.device,
                stages=card.stages,
            )
            return Predictor(view.classes, body, network.probed(source, view.examples, classes, bench))
        trunk, module = tail.cut_apart(source, cut, classes, seed, bench)
        values = tail.plain_values(source, view.examples, cut, bench, batch=self.batch)
        head = network.probed_apart(module, values, view.examples.labels, classes)
        return Predictor(view.classes, tail.cut_body(source, cut, trunk, module, bench), head)

    def adapt(
        self, model: Predictor, source: Source, target: Inputs, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """The model, adapted in place.

        Args:
            model: of the source domain: the last stages of `source`, and a linear head.
            source: the pretrained network that it was fine-tuned from.
            target: M inputs of the target domain.
            budget: of the adaptation.
            seed: of everything random.
            bench: store, device, checkpoint, progress.

        Raises:
            TrialError: the model is not of that kind.
        """
        from headstart.strategy import network
        from headstart.train import Plan, train
        from headstart.train.adaptation import renormalise

        module, batches = self._opened(model, source, target, bench)
        task, trainable = self.task(), self.trainable(source)
        renormalise(module, batches)
        if task is None:
            return Predictor(model.classes, model.body, model.head)
        if not trainable.trained(module):
            raise TrialError(f"{self.name} finds nothing to train in the last stages of {source.card.name}")

        def epoch(draw: int) -> Iterator[Batch]:
            self.relabel(module, batches)
            yield from batches.training(draw)

        plan = Plan(self.epochs, self.rate, precision=bench.trains_in, seed=seed)
        saying = bench.saying(f"{self.name} {source.card.short}")
        how: dict[str, Any] = {"budget": budget, "checkpoint": bench.checkpoint, "progress": saying}
        history = train(module, task, epoch, batches.steps(), plan, trainable, **how)
        renormalise(module, batches)
        training = {"epochs": len(history.losses), "stopped_by": history.stopped}
        head = LinearHead(*network.weights_of(module.head))
        return Predictor(model.classes, model.body, head, provenance={"training": training})

    def _opened(self, model: Predictor, source: Source, target: Inputs, bench: Bench) -> tuple[Any, Any]:
        """The model's network from the cut on, with its head, and batches of the target's inputs there."""
        import torch

        from headstart.strategy import network, tail
        from headstart.train import Texts

        card, cut, asked = source.card, self.tuned().cut(source.card).name, network.without_labels(target)
        body, head, classes = model.body, model.head, len(model.classes)
        if not isinstance(head, LinearHead) or not isinstance(body, CutBody | TextBody):
            raise TrialError(f"{self.name} adapts the last stages of a network with a linear head, and this is none")
        module: Any
        batches: Any
        with torch.random.fork_rng(devices=[]):  # the head is drawn, and then replaced
            if isinstance(body, TextBody):
                trunk: Any = body.module
                normalise = isinstance(card.preprocessing, Tokens) and card.preprocessing.normalise
                module = network.Classifier(trunk, card.features, classes, normalise)
            else:
                module = tail.Tail(body.tail, card.features, classes)
        if isinstance(body, TextBody):
            batches = Texts(asked, body.words, batch=self.batch, device=bench.device)
            if tail.resumable(module.trunk, batches):
                module.cut = cut
                batches = tail.from_cut(source, batches, asked, cut, bench)
        else:
            augmentation = Augmentation(crop=0.4, flip=self.flip, colour=0.2)
            views = tail.room(card, cut, len(asked), self.views)
            batches = tail.cut_values(source, asked, cut, views, bench, augmentation, batch=self.batch)
        network.put(head, module.head)
        return module.to(bench.device), batches
