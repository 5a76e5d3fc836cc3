"""Several sources as one: `A+B`, for the routes that take knowledge from more than one of them."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headstart.errors import Problem, SourceError
from headstart.source.card import Source, SourceCard

if TYPE_CHECKING:
    from torch import nn

MARK = "+"


def join(cards: Sequence[SourceCard]) -> SourceCard:
    """The card of several sources together; everything that costs something is the sum.

    Raises:
        SourceError: they are fewer than two, or the same twice, or not all of them are networks for the same modality.
    """
    name = MARK.join(card.name for card in cards)
    able = len({card.modality for card in cards}) == 1 and all(card.preprocessing is not None for card in cards)
    if len(cards) < 2 or len({card.name for card in cards}) < len(cards) or not able or any(c.parts for c in cards):
        raise SourceError(
            Problem(f"{name} is not several sources as one", "two or more different networks for the same modality")
        )
    return SourceCard(
        name=name,
        modality=cards[0].modality,
        architecture="",
        pretraining="; ".join(dict.fromkeys(card.pretraining for card in cards)) if _all_pretrained(cards) else "",
        licence="; ".join(dict.fromkeys(card.licence for card in cards)),
        origin="; ".join(dict.fromkeys(card.origin for card in cards)),
        preprocessing=cards[0].preprocessing,
        parameters=sum(card.parameters for card in cards),
        features=sum(card.features for card in cards),
        flops=sum(card.flops for card in cards),
        bytes=sum(card.bytes for card in cards),
        parts=tuple(cards),
    )


def _all_pretrained(cards: Sequence[SourceCard]) -> bool:
    return all(card.pretrained for card in cards)


def names_in(name: str, kinds: Sequence[str]) -> list[str]:
    """The names joined in `A+B`; one where it is a single name. A plus inside a file's name does not part it.

    Args:
        name: of a source or several.
        kinds: what may stand before the colon of a name, and names that stand alone.

    >>> names_in("timm:x@a+b.pt+bundled:y+z", ("timm", "bundled", "z"))
    ['timm:x@a+b.pt', 'bundled:y', 'z']
    """
    heads = "|".join(rf"{re.escape(kind)}(?=[:+]|$)" for kind in kinds)
    return re.split(rf"\{MARK}(?=(?:{heads}))", name)


class JoinedSource:
    """Several sources; it has no network of its own, only theirs.

    Args:
        parts: two or more.

    Raises:
        SourceError: as :func:`join`.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = tuple(parts)
        self.card = join([part.card for part in parts])

    @functools.lru_cache(maxsize=1)  # noqa: B019 - a run holds a handful of sources
    def revision(self) -> str:
        """SHA-256 over those of its parts."""
        return hashlib.sha256(" ".join(part.revision() for part in self.parts).encode()).hexdigest()

    def module(self, seed: int = 0) -> nn.Module:
        """None: each part has its own.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self.card.name} is {len(self.parts)} networks, not one")
