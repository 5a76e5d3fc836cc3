"""What ways of adaptation share that learn from features which batch norm scaled by each domain's own statistics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from headstart.budget import Budget
from headstart.machine import one_thread
from headstart.predictor import LinearHead, Predictor
from headstart.score.ridge import standardise
from headstart.source.card import Source, SourceCard
from headstart.strategy.adapt.adabn import AdaBN
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.strategy.deep import refuse
from headstart.strategy.shallow import Domains, Features, OnFeatures
from headstart.target.inputs import Inputs
from headstart.target.view import TrainView


@dataclass(frozen=True)
class OwnStatistics(ABC):
    """A shallow way on the features of a network whose last stages have each domain's batch norm (Li et al. 2018).

    What changes a whole domain, such as a style of drawing, changes the statistics that batch norm was trained with.
    Scaled by its own, a domain's features are more like another's than any linear map of pooled features makes them,
    and what predicts the target begins with better labels. No weight of the network is trained; the saved one holds the
    target's statistics.

    Args:
        last: how many of the source's last stages take a domain's statistics.
        batch: examples per batch, over which statistics are averaged.
        sure: least probability of a label that is learned from.
    """

    name: ClassVar[str]
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True, pretrained=True, modalities=("image",), unlabelled=True, cuts=True, batch_norm=True
    )

    last: int = 1
    sure: float = 0.5
    batch: int = 64

    @abstractmethod
    def learner(self) -> OnFeatures:
        """What learns from such features."""

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting."""
        return [cls()]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """The statistics of the domains, and the heads."""
        parts = (AdaBN(last=self.last), self.learner())
        return sum(part.seconds(card, examples, classes, rate) for part in parts)

    def frozen(self, card: SourceCard) -> float:
        """As far as the cut, for each picture."""
        return AdaBN(last=self.last).frozen(card)

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """Statistics of each domain, the target's last; then heads, and the target's few labels if any.

        Raises:
            TrialError: a domain is missing, the source has not so many stages, or the values at the cut do not fit
                into memory.
        """
        from headstart.strategy import network, tail
        from headstart.train.adaptation import renormalise, said

        card, classes = source.card, len(view.classes)
        refuse(self.name, self.needs, card, view, self.last)
        assert view.unlabelled is not None
        cut = AdaBN(last=self.last).tuned().cut(card).name

        def values(inputs: Inputs) -> Any:
            return tail.plain_values(source, network.without_labels(inputs), cut, bench, batch=self.batch)

        def features(batches: Any) -> Features:
            return said(module, batches)[0].numpy()

        def own(batches: Any) -> Features:
            renormalise(module, batches)
            return features(batches)

        trunk, module = tail.cut_apart(source, cut, classes, seed, bench)
        S, T = values(view.examples.inputs), values(view.unlabelled)
        Xs = own(S)
        passed = view.intermediate if self.needs.intermediate else ()
        between = tuple(own(values(inputs)) for inputs in passed)
        Xt, few = own(T), None
        if view.few is not None:
            few = features(values(view.few.inputs)), view.few.labels
        with one_thread():
            domains = Domains(Xs, view.examples.labels, Xt, classes, seed, view.examples.origin, few, between)
            found = self.learner().fit(domains)
        assert found.elsewhere is not None
        return Predictor(
            view.classes,
            tail.cut_body(source, cut, trunk, module, bench),
            found.head,
            provenance=dict(found.said),
            left_out=found.left_out,
            elsewhere=_moved(found.elsewhere, Xs, features(S)),
        )


def _moved(head: LinearHead, before: Features, after: Features) -> LinearHead:
    """A head on features (N, D) of the source domain as one on those by the target's statistics: by their moments."""
    (mean, scale), (moved, stretched) = standardise(before), standardise(after)
    ratio, weight = scale / stretched, head.weight.astype(np.float64)
    bias = head.bias + weight @ (mean - ratio * moved)
    return LinearHead((weight * ratio).astype(np.float32), bias.astype(np.float32))
