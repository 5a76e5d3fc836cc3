"""subspace: turn the principal subspace of the source domain towards that of the target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.domains.align import subspace
from headstart.predictor import LinearHead
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.shallow import Features, Labels, Shallow, classifier, each_standardised, on_raw


@dataclass(frozen=True)
class Subspace(Shallow):
    """Subspace alignment (Fernando et al. 2013).

    Args:
        width: dimensions of the subspaces.
    """

    name: ClassVar[str] = "subspace"

    width: int = 30

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """Two widths."""
        return [cls(30), cls(80)]

    def head(self, Xs: Features, ys: Labels, Xt: Features, classes: int, seed: int) -> LinearHead:
        """A classifier in the target's subspace."""
        S, T, mean, scale = each_standardised(Xs, Xt)
        maps = subspace(S, T, width=self.width)
        return on_raw(classifier(S @ maps.source, ys, classes), mean, scale, maps.target)
