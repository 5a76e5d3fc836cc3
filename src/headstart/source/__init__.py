"""Sources: where knowledge comes from. `find` turns a name into a Source, `bundled` lists what needs no hub."""

from __future__ import annotations

from collections.abc import Iterable

from headstart.errors import Problem, SourceError, unknown
from headstart.source.bundled import CARDS as BUNDLED
from headstart.source.bundled import BundledSource
from headstart.source.card import Preprocessing, Source, SourceCard
from headstart.source.scratch import NothingSource, ScratchSource

__all__ = ["BUNDLED", "Preprocessing", "Source", "SourceCard", "cards", "find"]


def find(name: str) -> Source:
    """The source called `name`.

    Args:
        name: `bundled:NAME` (or just NAME), `timm:NAME`, `timm:NAME@FILE`, `scratch`, `scratch:small_cnn` or
            `scratch:TIMM_NAME`.

    Raises:
        SourceError: nobody knows the name.

    >>> find("efficientnet_lite0").card.name
    'bundled:efficientnet_lite0'
    """
    kind, _, rest = name.partition(":")
    if name == "scratch":
        return NothingSource()
    if f"bundled:{name}" in BUNDLED:
        return BundledSource(f"bundled:{name}")
    if not rest:
        known = [key.partition(":")[2] for key in BUNDLED]
        raise SourceError(unknown("source", name, [*known, "scratch", "timm:NAME"], next="headstart sources"))
    if kind == "bundled":
        if name not in BUNDLED:
            raise SourceError(unknown("source", name, BUNDLED, next="headstart sources"))
        return BundledSource(name)
    if kind == "scratch":
        return ScratchSource(rest)
    if kind == "timm":
        from headstart.source.timm import TimmSource

        return TimmSource(rest)
    raise SourceError(
        Problem(f"unknown kind of source {kind!r} in {name!r}", "bundled:, timm: or scratch:", "headstart sources")
    )


def cards(names: Iterable[str]) -> list[SourceCard]:
    """The cards of the sources called `names`.

    Raises:
        SourceError: some names are unknown; all of them are listed.
    """
    found: list[SourceCard] = []
    problems: list[Problem] = []
    for name in names:
        try:
            found.append(find(name).card)
        except SourceError as error:
            problems += error.problems
    if problems:
        raise SourceError(problems)
    return found
