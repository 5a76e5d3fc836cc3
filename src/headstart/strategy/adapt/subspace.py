"""subspace: turn the principal subspace of the target domain towards that of the source domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.domains.align import subspace
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt
from headstart.strategy.pair import Pair, Sides, classifier
from headstart.strategy.shallow import Shallow


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

    def sides(self, pair: Pair, seed: int) -> Sides:
        """A classifier in the source's subspace, to which the target's is turned."""
        maps = subspace(pair.source.axes, pair.target.axes, width=self.width)
        found = classifier(pair.S @ maps.source, pair.ys, pair.classes)
        return pair.sides(found, source=maps.source, target=maps.target)
