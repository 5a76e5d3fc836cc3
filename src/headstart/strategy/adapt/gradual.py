"""gradual: from the source to the target over domains in between, each learned from before the next is predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from headstart.domains.labels import softmax
from headstart.score.ridge import standardise
from headstart.source.card import SourceCard
from headstart.strategy.adapt.self_train import SelfTrain
from headstart.strategy.adapt.tri_train import TriTrain
from headstart.strategy.contract import Adapt, Needs
from headstart.strategy.pair import Pair, Sides, on_raw, scaled
from headstart.strategy.shallow import Domains, Fitted, OnFeatures, fitted

TEACHERS = {"self-train": SelfTrain(), "tri-train": TriTrain()}


@dataclass(frozen=True)
class Gradual(OnFeatures):
    """Gradual self-training (Kumar, Ma & Liang 2020) over intermediate domains, of which no label is used.

    A classifier that is adapted to the nearest domain labels it; the examples that it is sure of join those learned
    from, and the next domain is adapted to from there, the target last. Each domain is standardised by its own moments,
    as when one adapts to the target at once. The paper forgets the domains before the last one. Here they are kept,
    because the domains that people have are seldom as close to each other as its theorems ask; where they are, and the
    shift goes far, forgetting is better.

    Args:
        teacher: how each domain is adapted to.
        sure: least probability of a label of an intermediate domain that is learned from.
        keep: what was learned from before stays beside each domain that joins.
    """

    name: ClassVar[str] = "gradual"
    needs: ClassVar[Needs] = replace(OnFeatures.needs, intermediate=True)

    teacher: Literal["self-train", "tri-train"] = "self-train"
    sure: float = 0.5
    keep: bool = True

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """With each teacher."""
        return [cls(), cls(teacher="tri-train")]

    def seconds(self, card: SourceCard, examples: int, classes: int, rate: float) -> float:
        """The teacher, on the target and on a domain before it that is about as large."""
        return 2 * TEACHERS[self.teacher].seconds(card, examples, classes, rate)

    def fit(self, domains: Domains) -> Fitted:
        """From domain to domain; of each, `said` tells how many of its examples were learned from."""
        teacher = TEACHERS[self.teacher]
        of_source = standardise(domains.Xs)
        Z, y, learned = scaled(domains.Xs, of_source), domains.ys, []
        for X in domains.intermediate:
            found = softmax(teacher.sides(Pair(Z, y, X, domains.classes), domains.seed).target.logits(X))
            rows = np.flatnonzero(found.max(axis=1) >= self.sure)
            joins, said = scaled(X, standardise(X))[rows], found[rows].argmax(axis=1)
            if self.keep:
                Z, y = np.concatenate([Z, joins]), np.concatenate([y, said])
            elif len(rows):  # what was known is not forgotten for nothing
                Z, y = joins, said
            learned.append({"examples": len(X), "learned": len(rows)})
        last = teacher.sides(Pair(Z, y, domains.Xt, domains.classes), domains.seed)
        made = fitted(Sides(last.target, on_raw(last.source, *of_source)), domains)
        return replace(made, said=made.said | {"intermediate": learned})
