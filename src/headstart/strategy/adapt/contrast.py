"""contrast: draw texts of one class together and classes apart, then fit a linear classifier on the tuned vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart import machine
from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.features.text import TextBody, Words, tokenizer_of
from headstart.predictor import Predictor
from headstart.source.card import Source, SourceCard, Tokens
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView

MOST = 6  # times the steps of two classes
LABELS, LONGER = 16, 4  # texts of a class on average, from which more of them are more steps; times the steps at most
TEMPERATURE = 0.1  # of the softmax, where there are more than two classes


@dataclass(frozen=True)
class Contrast:
    """Contrastive fine-tuning with few labels, in the spirit of SetFit (Tunstall et al. 2022).

    SetFit draws pairs of texts and encodes both; here every text of a balanced batch is encoded once a step, and all
    pairs in the batch are learned from, so that a few steps are enough. Two classes are soon told apart, and what comes
    after that only learns the training texts by heart: they are taken to a right angle, by squared errors, and no
    further. More classes must be parted from more others; there the loss is a softmax, which works at the classes that
    are still confused (see :class:`headstart.train.Contrast`).

    Args:
        steps: of the optimiser, for two classes of `LABELS` texts; for C classes C / 2 times as many, at most `MOST`
            times; and for classes with more texts in proportion more, at most `LONGER` times.
        rate: peak learning rate.
        last: how many of the last stages are trained; None: all. What precedes the first (a table of words, of which
            few labels touch few rows) stays as it is, unless the network has no stages.
        batch: texts per step; all of them where there are no more.
        C: inverse penalty of the logistic regression on the tuned vectors, which have length 1.
    """

    name: ClassVar[str] = "contrast"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("text",), gradients=True)

    steps: int = 5
    rate: float = 1e-4
    last: int | None = None
    batch: int = 64
    C: float = 1.0

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """All stages, then longer, then shorter; and, where the network is deep, its upper half alone."""
        whole: list[Adapt] = [cls(), cls(steps=10), cls(steps=3)]
        return whole if len(card.stages) < 2 else [*whole, cls(last=len(card.stages) // 2)]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Forward and backward in torch for every text of every step, and a step of the optimiser."""
        # Dense layers run twice as efficiently as what TRAINING_RATE was measured on.
        a_text = card.flops / (2 * TRAINING_RATE * machine.cores())
        steps = self._steps(classes, examples)
        return 0.5 + steps * (min(examples, self.batch) * a_text + 3e-9 * card.parameters) + 1e-5 * examples

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
        """Train the network for its vectors, then the head on them."""
        import torch

        from headstart.strategy.embedder import Embedder
        from headstart.train import Contrast as Pairs
        from headstart.train import Plan, Texts, train

        card, tokens, document = source.card, source.card.preprocessing, tokenizer_of(source)
        assert isinstance(tokens, Tokens)
        labels, classes = view.examples.labels, len(view.classes)
        if np.bincount(labels).max() < 2:
            raise TrialError("contrast learns from pairs of one class, and no class has two examples")
        trainable, steps = self._trainable(card), self._steps(classes, len(labels))
        batches = Texts(view.examples, Words(document, tokens), batch=self.batch, device=bench.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            trunk: Any = source.module(seed)
        history = train(
            Embedder(trunk).to(bench.device),
            Pairs(None if classes == 2 else TEMPERATURE),
            lambda number: batches.balanced(steps, number),
            steps,
            Plan(1, self.rate, decay=0.01, warmup=0.0, precision=bench.trains_in, seed=seed),
            trainable,
            budget=budget,
            checkpoint=None,  # in seconds it is all done again
            progress=bench.saying(f"contrast {card.short}"),
        )
        stages: dict[str, Any] = {"device": bench.device, "stages": card.stages}
        unit = replace(tokens, normalise=True)  # as they were trained
        body = TextBody(trunk, card.architecture, unit, document, card.features, **stages)
        X = bench.features(body, view.examples.inputs, card.short)
        head = linear.logistic(X, labels, classes, self.C, standard=False)
        training = {"steps": history.steps, "stopped_by": history.stopped}
        return Predictor(view.classes, body, head, provenance={"training": training})

    def _steps(self, classes: int, examples: int) -> int:
        longer = min(max(1.0, examples / (LABELS * classes)), LONGER)
        return round(self.steps * min(max(2, classes) / 2, MOST) * longer)

    def _trainable(self, card: SourceCard) -> Any:
        """The parameters of the last stages; all of them where there are none.

        Raises:
            TrialError: there are not so many stages.
        """
        from headstart.train import Trainable

        if self.last is not None and not 1 <= self.last <= len(card.stages):
            raise TrialError(f"the last {self.last} of {len(card.stages)} stages of {card.name} cannot be trained")
        if not card.stages:
            return Trainable()
        stages = card.stages if self.last is None else card.stages[-self.last :]
        return Trainable(tuple((rf"trunk\.{re.escape(s.name)}\.", 1.0) for s in stages))
