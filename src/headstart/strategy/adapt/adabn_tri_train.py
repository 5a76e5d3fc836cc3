"""adabn-tri-train: batch norm scales each domain by the statistics of that domain, and tri-train learns from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from headstart.budget import Budget
from headstart.machine import one_thread
from headstart.predictor import LinearHead, Predictor
from headstart.score.ridge import standardise
from headstart.source.card import Source, SourceCard
from headstart.strategy.adapt.adabn import AdaBN
from headstart.strategy.adapt.tri_train import TriTrain
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.strategy.deep import refuse
from headstart.strategy.shallow import Domains, Features
from headstart.target.inputs import Inputs
from headstart.target.view import TrainView


@dataclass(frozen=True)
class AdaBNTriTrain:
    """Tri-training on the features of a network whose last stages have either domain's batch norm (Li et al. 2018).

    What changes a whole domain, such as a style of drawing, changes the statistics that batch norm was trained with.
    Scaled by its own, a domain's features are more like the other's than any linear map of pooled features makes them,
    and the teachers of :class:`headstart.strategy.adapt.tri_train.TriTrain` begin with better labels. No weight of the
    network is trained; the saved one holds the target's statistics.

    Args:
        last: how many of the source's last stages take a domain's statistics.
        sure: see :class:`~headstart.strategy.adapt.tri_train.TriTrain`.
        batch: examples per batch, over which statistics are averaged.
    """

    name: ClassVar[str] = "adabn-tri-train"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(
        network=True, pretrained=True, modalities=("image",), unlabelled=True, cuts=True, batch_norm=True
    )

    last: int = 1
    sure: float = TriTrain.sure
    batch: int = 64

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting."""
        return [cls()]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """The statistics of both domains, and the heads."""
        parts = (AdaBN(last=self.last), TriTrain())
        return sum(part.seconds(card, examples, classes, rate) for part in parts)

    def frozen(self, card: SourceCard) -> float:
        """As far as the cut, for each picture."""
        return AdaBN(last=self.last).frozen(card)

    def __call__(
        self, source: Source, view: TrainView, *, budget: Budget, seed: int, bench: Bench = PLAIN
    ) -> Predictor:
        """Statistics of the source domain, then of the target; then heads, and the target's few labels if any.

        Raises:
            TrialError: there is no target domain, the source has not so many stages, or the values at the cut do not
                fit into memory.
        """
        from headstart.strategy import network
        from headstart.train.adaptation import renormalise, said

        card, classes = source.card, len(view.classes)
        refuse(self.name, card, view, self.last)
        assert view.unlabelled is not None
        cut = AdaBN(last=self.last).tuned().cut(card).name

        def values(inputs: Inputs) -> Any:
            return network.plain_values(source, network.without_labels(inputs), cut, bench, batch=self.batch)

        def features(batches: Any) -> Features:
            return said(module, batches)[0].numpy()

        trunk, module = network.cut_apart(source, cut, classes, seed, bench)
        S, T = values(view.examples.inputs), values(view.unlabelled)
        renormalise(module, S)
        Xs = features(S)
        renormalise(module, T)
        Xt, few = features(T), None
        if view.few is not None:
            few = features(values(view.few.inputs)), view.few.labels
        with one_thread():
            domains = Domains(Xs, view.examples.labels, Xt, classes, seed, view.examples.origin, few)
            found = TriTrain(self.sure).fit(domains)
        assert found.elsewhere is not None
        return Predictor(
            view.classes,
            network.cut_body(source, cut, trunk, module, bench),
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
