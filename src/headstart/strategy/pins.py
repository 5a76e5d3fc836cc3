"""Pinned hyper-parameters: `finetune(last=1, penalty=l2sp)` is finetune with two of them decided by the user."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from headstart.errors import OptionError, Problem, unknown
from headstart.source.card import SourceCard
from headstart.strategy.contract import Adapt, Needs, Side

_CALL = re.compile(r"\s*([^()]*?)\s*(?:\((.*)\))?\s*", re.DOTALL)


@dataclass(frozen=True)
class Pinned:
    """A strategy some of whose hyper-parameters are decided: stands wherever its class could.

    Args:
        kind: the strategy.
        parameters: (name, value) of those that are decided; of the others its grid is searched as always.
    """

    kind: type[Any]
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Of the strategy."""
        return str(self.kind.name)

    @property
    def side(self) -> Side:
        """Of the strategy."""
        side: Side = self.kind.side
        return side

    @property
    def needs(self) -> Needs:
        """Of the strategy."""
        needs: Needs = self.kind.needs
        return needs

    def grid(self, card: SourceCard) -> list[Adapt]:
        """The strategy's grid with what is decided put into every setting; what that makes equal comes once."""
        return list(dict.fromkeys(replace(setting, **dict(self.parameters)) for setting in self.kind.grid(card)))


def parse(texts: Sequence[str], known: Mapping[str, type[Any]]) -> list[Pinned]:
    """What the user asked for.

    Args:
        texts: of the form `NAME` or `NAME(PARAMETER=VALUE, ...)`; `none` is no value where there may be none.
        known: strategies by name.

    Raises:
        OptionError: everything that is wrong with all of them.
    """
    found, problems = [], []
    for text in texts:
        call = _CALL.fullmatch(text)
        if call is None:
            problems.append(Problem(f"strategy {text!r}", "NAME or NAME(PARAMETER=VALUE, ...)"))
            continue
        name, inside = call.groups()
        if name not in known:
            problems.append(unknown("strategy", name, known))
            continue
        pinned, wrong = _parameters(known[name], inside or "")
        problems += wrong
        found.append(Pinned(known[name], tuple(sorted(pinned.items()))))
    if problems:
        raise OptionError(problems)
    return found


def _parameters(kind: type[Any], text: str) -> tuple[dict[str, Any], list[Problem]]:
    hints = get_type_hints(kind)
    types = {field.name: hints[field.name] for field in fields(kind)}
    pinned: dict[str, Any] = {}
    problems = []
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not part.strip():
            continue
        if not equals or not value:
            problems.append(Problem(f"{part.strip()!r} in {kind.name}(...)", "PARAMETER=VALUE"))
        elif name not in types:
            problems.append(unknown(f"parameter of {kind.name}", name, types))
        elif name in pinned:
            problems.append(Problem(f"{kind.name}: {name} twice", "one value"))
        else:
            try:
                pinned[name] = _value(value, types[name])
            except ValidationError as error:
                said = error.errors()[0]["msg"].removeprefix("Input should be ")
                problems.append(Problem(f"{kind.name}: {name}={value}", said))
    return pinned, problems


def _value(text: str, kind: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_python(text)
    except ValidationError:
        if text.lower() != "none":
            raise
        return adapter.validate_python(None)
