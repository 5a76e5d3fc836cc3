"""Strategies: how to transfer. One file per method; `STRATEGIES` lists them by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstart.errors import OptionError, unknown
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.contrast import Contrast
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.majority import Majority
from headstart.strategy.adapt.probe import Probe
from headstart.strategy.adapt.prototypes import Prototypes
from headstart.strategy.adapt.scratch import Scratch
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.strategy.contract import Adapt, Bench, Needs, Side, parameters
from headstart.strategy.pins import Pinned, parse

__all__ = ["STRATEGIES", "Adapt", "Bench", "Needs", "Pinned", "Side", "asked", "find", "make", "parameters"]

STRATEGIES: dict[str, type[Any]] = {
    cls.name: cls
    for cls in (
        Probe,
        Prototypes,
        Finetune,
        Contrast,
        Lora,
        ZeroShot,
        Majority,
        Classical,
        Scratch,
    )
}


def find(name: str) -> type[Any]:
    """The strategy called `name`.

    Raises:
        OptionError: nobody knows the name.
    """
    if name not in STRATEGIES:
        raise OptionError(unknown("strategy", name, STRATEGIES))
    return STRATEGIES[name]


def asked(texts: Sequence[str]) -> list[Pinned]:
    """Strategies as a user names them: `NAME` or `NAME(PARAMETER=VALUE, ...)`.

    Raises:
        OptionError: everything that is wrong with all of them.
    """
    return parse(texts, STRATEGIES)


def make(name: str, settings: dict[str, Any]) -> Adapt:
    """The strategy called `name` with these hyper-parameters; the inverse of :func:`parameters`."""
    strategy: Adapt = find(name)(**settings)
    return strategy
