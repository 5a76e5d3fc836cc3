"""source-only: a linear classifier of the source domain, used on the target as it is. The baseline of adaptation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt, Needs, Side
from headstart.strategy.pair import Pair, Sides, on_raw
from headstart.strategy.shallow import Shallow


@dataclass(frozen=True)
class SourceOnly(Shallow):
    """Nothing is adapted. Whatever is shipped instead must be better than this."""

    name: ClassVar[str] = "source-only"
    side: ClassVar[Side] = "baseline"
    learns_few: ClassVar[bool] = False
    needs: ClassVar[Needs] = Needs(network=True, pretrained=True, modalities=("image", "text"))

    @classmethod
    def grid(cls, card: SourceCard) -> list[Adapt]:
        """One setting."""
        return [cls()]

    def sides(self, pair: Pair, seed: int) -> Sides:
        """Ridge, its penalty by leave-one-out on the source."""
        head = on_raw(pair.plain, *pair.of_source)
        return Sides(head, head)
