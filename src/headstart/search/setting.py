"""What may be tried, and how it stands: a source with a strategy with hyper-parameters, and its validation scores."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

from headstart.source.card import SourceCard
from headstart.strategy import Adapt, Side, parameters
from headstart.trial import Phase, Spec


@dataclass(frozen=True)
class Setting:
    """A source with a strategy with hyper-parameters: what seeds are run of.

    Args:
        card: of the source.
        strategy: with its hyper-parameters.
        rank: its place in the strategy's grid; 0 is the default.
    """

    card: SourceCard
    strategy: Adapt
    rank: int

    @property
    def side(self) -> Side:
        """Transfer or baseline."""
        return self.strategy.side

    @property
    def family(self) -> tuple[str, str]:
        """Source and strategy."""
        return self.card.name, self.strategy.name

    def spec(self, episode: str, phase: Phase, seed: int, labels: int | None = None) -> Spec:
        """The trial of this setting."""
        return Spec(episode, phase, self.card.name, self.strategy.name, parameters(self.strategy), seed, labels)

    @functools.cached_property
    def key(self) -> str:
        """As :attr:`headstart.trial.Spec.setting`."""
        return self.spec("", "search", 0).setting

    @functools.cached_property
    def passes(self) -> dict[str, float]:
        """The frozen passes whose values it takes from the store, with their operations for one input.

        The first word of a name is the source; what a cut needs beside the pooled output is a pass of its own.
        """
        if parts := getattr(self.strategy, "parts", ()):
            return {name: n for part in parts for name, n in replace(self, strategy=part).passes.items()}
        card, frozen = self.card, self.strategy.frozen(self.card)
        if card.parts and frozen:
            return {part.name: part.flops for part in card.parts}
        found = {card.name: card.flops} if frozen and card.flops else {}
        if (more := frozen - card.flops) > 0:
            found[f"{card.name} {more:g}"] = more
        return found

    @functools.cached_property
    def kinds(self) -> tuple[str, str]:
        """By what its seconds are remembered, the narrower first: with its hyper-parameters, and without.

        Of a source only its family counts: a machine is not measured with every checkpoint there is.
        """
        family, name = self.card.name.partition(":")[0], self.strategy.name
        return f"{json.dumps([name, parameters(self.strategy)], sort_keys=True)} {family}", f"{name} {family}"


def settings(cards: Sequence[SourceCard], strategies: Sequence[Any], modality: str = "image") -> list[Setting]:
    """Every source of a modality with every strategy (or Pinned) that it can serve, with all of its settings."""
    cards = [card if card.modality else replace(card, modality=modality) for card in cards]
    return [
        Setting(card, strategy, rank)
        for card in cards
        if card.modality == modality
        for kind in strategies
        if not kind.needs.lacking(card)
        for rank, strategy in enumerate(kind.grid(card))
    ]


@dataclass
class Standing:
    """How a setting stands after the search trials so far.

    Args:
        setting: which.
        scores: validation score of each seed that succeeded.
        rung: validation score on the first fold of a trial on a quarter of the labels.
        failed: trials that failed.
        seconds: wall seconds of each search trial without features, which are computed once and shared.
    """

    setting: Setting
    scores: dict[int, float] = field(default_factory=dict)
    rung: float | None = None
    failed: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def tried(self) -> bool:
        """Whether it was tried on all labels, or failed."""
        return bool(self.scores) or self.failed > 0

    @property
    def score(self) -> float:
        """Mean validation score; minus infinity while there is none."""
        return mean(self.scores.values()) if self.scores else -math.inf
