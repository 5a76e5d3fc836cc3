"""Sources: where knowledge comes from. `find` turns a name into a Source, `bundled` lists what needs no hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headstart.errors import Problem, SourceError, unknown
from headstart.source import bundled as _bundled
from headstart.source.bundled import CARDS as BUNDLED
from headstart.source.bundled import NAMED_ONLY
from headstart.source.card import (
    Classifier,
    NamingSource,
    Preprocessing,
    ReadingSource,
    Source,
    SourceCard,
    TextSource,
    Tokens,
)
from headstart.source.joined import JoinedSource, join, names_in
from headstart.source.scratch import SMALL, NothingSource, ScratchSource

__all__ = [
    "BUNDLED",
    "NAMED_ONLY",
    "SMALL",
    "Classifier",
    "JoinedSource",
    "NamingSource",
    "Preprocessing",
    "ReadingSource",
    "Source",
    "SourceCard",
    "TextSource",
    "Tokens",
    "bundled_names",
    "cards",
    "find",
    "join",
    "register",
]

_KINDS = ("bundled", "hf", "run", "scratch", "static", "timm")
_REGISTERED: dict[str, Callable[[str], Source]] = {}


def bundled_names(modality: str) -> tuple[str, ...]:
    """The names of the bundled sources that take `modality` and are tried where nobody names any.

    >>> bundled_names("text")
    ('bundled:minilm_l6',)
    """
    return tuple(name for name, card in BUNDLED.items() if card.modality == modality and name not in NAMED_ONLY)


def register(kind: str, make: Callable[[str], Source] | None) -> Callable[[str], Source] | None:
    """Make sources of your own findable as `KIND:NAME`.

    A source's card must be called by that full name. If its network is neither `small_cnn` nor an architecture of
    timm, :func:`headstart.source.architecture.register` it as well, so that a saved model can be loaded again.

    Args:
        kind: the word before the colon; registering it again replaces what stood there.
        make: gives the source called NAME, and raises SourceError where there is none; None: forget the kind.

    Returns:
        What was registered before, or None.

    Raises:
        ValueError: the kind is one of headstart's own, or empty, or holds a colon.
    """
    if kind in _KINDS or not kind or ":" in kind:
        raise ValueError(f"{kind!r} cannot be a kind of source; {', '.join(_KINDS)} are taken")
    before = _REGISTERED.pop(kind, None)
    if make is not None:
        _REGISTERED[kind] = make
    return before


def find(name: str) -> Source:
    """The source called `name`.

    Args:
        name: `bundled:NAME` (or just NAME), `timm:NAME`, `timm:NAME@FILE`, `hf:NAME`, `hf:FOLDER`, `static:NAME`,
            `static:FOLDER`, `run:FOLDER`, `scratch`, `scratch:small_cnn`, `scratch:TIMM_NAME`, or `KIND:NAME` of a
            kind that was registered; several of them joined by `+`.

    Raises:
        SourceError: nobody knows the name.

    >>> find("efficientnet_lite0").card.name
    'bundled:efficientnet_lite0'
    """
    alone = [known.partition(":")[2] for known in BUNDLED]
    names = names_in(name, [*_KINDS, *_REGISTERED, *alone])
    if len(names) > 1:
        return JoinedSource([find(part) for part in names])
    kind, _, rest = name.partition(":")
    if name == "scratch":
        return NothingSource()
    if f"bundled:{name}" in BUNDLED:
        return _bundled.find(f"bundled:{name}")
    if not rest:
        raise SourceError(unknown("source", name, [*alone, "scratch", "timm:NAME"], next="headstart sources"))
    if kind == "bundled":
        if name not in BUNDLED:
            raise SourceError(unknown("source", name, BUNDLED, next="headstart sources"))
        return _bundled.find(name)
    if kind == "scratch":
        return ScratchSource(rest)
    if kind == "timm":
        from headstart.source.timm import TimmSource

        return TimmSource(rest)
    if kind == "run":
        from headstart.source.run import RunSource

        return RunSource(rest)
    if kind in ("hf", "static"):
        from headstart.source import huggingface

        return huggingface.find(rest) if kind == "hf" else huggingface.StaticSource(rest)
    if kind in _REGISTERED:
        return _REGISTERED[kind](rest)
    raise SourceError(unknown("kind of source", kind, [*_KINDS, *_REGISTERED], next="headstart sources"))


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
