"""adabn: nothing is trained; batch norm scales each domain by the statistics of that domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart import machine
from headstart.budget import Budget
from headstart.predictor import LinearHead, Predictor
from headstart.source.card import Source, SourceCard
from headstart.strategy import linear
from headstart.strategy.contract import PLAIN, TRAINING_RATE, Adapt, Bench, Needs, Side
from headstart.strategy.deep import refuse
from headstart.target.view import TrainView


@dataclass(frozen=True)
class AdaBN(Adapt):
    """Adaptive batch normalisation (Li et al. 2018) of the last stages.

    The head is fitted on the source domain's features under the source domain's statistics, and used on the target
    domain's under the target's. The saved network holds the target's.

    Args:
        last: how many of the source's last stages get other statistics.
        batch: examples per batch of the estimate.
    """

    name: ClassVar[str] = "adabn"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True, pretrained=True, modalities=("image",), unlabelled=True, cuts=True, batch_norm=True
    )

    last: int = 1
    batch: int = 64

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """The last stage, and the last half of them."""
        half = len(card.stages) // 2
        return [cls(), *([cls(last=half)] if half > 1 else [])]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Two forward passes in torch, each a third of a training step."""
        rest = card.stages[-1 - self.last].flops
        return 1.0 + 2 * 2 * examples * rest / 3 / (2.5 * TRAINING_RATE * machine.cores())

    def frozen(self, card: SourceCard) -> float:
        """One pass as far as the cut."""
        return card.flops - card.stages[-1 - self.last].flops

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """Statistics, head, statistics.

        Raises:
            TrialError: there is no target domain, or the source has not so many stages.
        """
        from headstart.strategy import network
        from headstart.train.adaptation import renormalise, said

        card, classes = source.card, len(view.classes)
        refuse(self.name, card, view, self.last)
        assert view.unlabelled is not None
        cut = card.stages[-1 - self.last].name
        network.room(card, cut, len(view) + len(view.unlabelled))
        mine, theirs = (
            network.cut_values(source, examples, cut, 0, bench, batch=self.batch)
            for examples in (view.examples, network.without_labels(view.unlabelled))
        )
        trunk, module = network.cut_apart(source, cut, classes, seed, bench)
        renormalise(module, mine)
        features = said(module, mine)[0].numpy()
        head: LinearHead = linear.ridge(features, view.examples.labels, classes).as_logits(view.examples.labels)
        renormalise(module, theirs)
        return Predictor(view.classes, network.cut_body(source, cut, trunk, module, bench), head)
