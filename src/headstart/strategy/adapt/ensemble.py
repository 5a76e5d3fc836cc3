"""ensemble: a probe on each of several sources, and the mean of what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.budget import Budget
from headstart.errors import TrialError
from headstart.predictor import Predictor
from headstart.source import JoinedSource
from headstart.source.card import Source, SourceCard, beside
from headstart.strategy.adapt.probe import Layers, Probe
from headstart.strategy.averaging import averaged
from headstart.strategy.contract import PLAIN, Adapt, Bench, Needs, Side
from headstart.target.view import TrainView


@dataclass(frozen=True)
class Ensemble:
    """The mean of the probabilities of probes on several sources (Hansen & Salamon 1990).

    Each is a ridge probe whose leave-one-out scores are calibrated, so that none is louder than it deserves.

    Args:
        layers: that the probes take; `mixed` for those networks that have stages.
    """

    name: ClassVar[str] = "ensemble"
    side: ClassVar[Side] = "transfer"
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"), several=True)

    layers: Layers = "mixed"

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Of mixed layers, and of the pooled outputs."""
        mixed = any(beside(part.stages, part.features) for part in card.parts)
        return [cls("mixed"), cls("deep")] if mixed else [cls("deep")]

    def _probe(self, card: SourceCard) -> Probe:
        return Probe("ridge", None, self.layers if beside(card.stages, card.features) else "deep")

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """Of all probes."""
        return sum(self._probe(part).seconds(part, examples, classes, rate) for part in card.parts)

    def frozen(self, card: SourceCard) -> float:
        """One pass through each."""
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
        """The probes, then one predictor of them."""
        if not isinstance(source, JoinedSource):
            raise TrialError(f"an ensemble takes several sources, and {source.card.name} is one")
        return averaged(
            [self._probe(part.card)(part, view, budget=budget, seed=seed, bench=bench) for part in source.parts]
        )
