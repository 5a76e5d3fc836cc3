"""Strategies: how to transfer. One file per method; `STRATEGIES` lists them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.errors import OptionError, unknown
from headstart.strategy.adapt.adabn import AdaBN
from headstart.strategy.adapt.adabn_gradual import AdaBNGradual
from headstart.strategy.adapt.adabn_tri_train import AdaBNTriTrain
from headstart.strategy.adapt.cdan import Cdan
from headstart.strategy.adapt.classical import Classical
from headstart.strategy.adapt.contrast import Contrast
from headstart.strategy.adapt.coral import Coral
from headstart.strategy.adapt.dan import Dan
from headstart.strategy.adapt.dann import Dann
from headstart.strategy.adapt.deep_coral import DeepCoral
from headstart.strategy.adapt.deep_self_train import DeepSelfTrain
from headstart.strategy.adapt.ensemble import Ensemble
from headstart.strategy.adapt.finetune import Finetune
from headstart.strategy.adapt.gradual import Gradual
from headstart.strategy.adapt.joint import Joint
from headstart.strategy.adapt.label_shift import LabelShift
from headstart.strategy.adapt.lora import Lora
from headstart.strategy.adapt.majority import Majority
from headstart.strategy.adapt.mcc import Mcc
from headstart.strategy.adapt.mcd import Mcd
from headstart.strategy.adapt.probe import Probe
from headstart.strategy.adapt.propagate import Propagate
from headstart.strategy.adapt.prototypes import Prototypes
from headstart.strategy.adapt.reweight import Reweight
from headstart.strategy.adapt.scratch import Scratch
from headstart.strategy.adapt.self_train import SelfTrain
from headstart.strategy.adapt.shot import Shot
from headstart.strategy.adapt.source_only import SourceOnly
from headstart.strategy.adapt.subspace import Subspace
from headstart.strategy.adapt.target_only import TargetOnly
from headstart.strategy.adapt.tca import Tca
from headstart.strategy.adapt.tent import Tent
from headstart.strategy.adapt.transport import Transport
from headstart.strategy.adapt.tri_train import TriTrain
from headstart.strategy.adapt.weigh import Weigh
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.strategy.contract import Adapt, Bench, Needs, Side, parameters
from headstart.strategy.pins import Pinned, parse

__all__ = [
    "ADAPTATIONS",
    "STRATEGIES",
    "Adapt",
    "Bench",
    "Needs",
    "Pinned",
    "Side",
    "asked",
    "find",
    "make",
    "parameters",
]

STRATEGIES: dict[str, type[Any]] = {
    cls.name: cls
    for cls in (
        Probe,
        Prototypes,
        Ensemble,
        Finetune,
        Contrast,
        Lora,
        ZeroShot,
        Majority,
        Classical,
        Scratch,
    )
}

ADAPTATIONS: dict[str, type[Any]] = {
    cls.name: cls
    for cls in (
        SourceOnly,
        TargetOnly,
        Joint,
        Weigh,
        Coral,
        Subspace,
        Tca,
        Transport,
        Reweight,
        LabelShift,
        SelfTrain,
        TriTrain,
        Gradual,
        Propagate,
        AdaBN,
        AdaBNTriTrain,
        AdaBNGradual,
        Dann,
        Cdan,
        DeepCoral,
        Dan,
        Mcc,
        Mcd,
        DeepSelfTrain,
        Shot,
        Tent,
    )
}
"""Strategies from labelled source domains to a target domain with few labels or none: baselines, shallow, deep."""


def find(name: str) -> type[Any]:
    """The strategy called `name`.

    Raises:
        OptionError: nobody knows the name.
    """
    known = STRATEGIES | ADAPTATIONS
    if name not in known:
        raise OptionError(unknown("strategy", name, known))
    return known[name]


def asked(texts: Sequence[str], known: Mapping[str, type[Any]] | None = None) -> list[Pinned]:
    """Strategies as a user names them: `NAME` or `NAME(PARAMETER=VALUE, ...)`.

    Args:
        texts: what was named.
        known: of these strategies; None: of `STRATEGIES`.

    Raises:
        OptionError: everything that is wrong with all of them.
    """
    return parse(texts, STRATEGIES if known is None else known)


def make(name: str, settings: dict[str, Any]) -> Adapt:
    """The strategy called `name` with these hyper-parameters; the inverse of :func:`parameters`."""
    strategy: Adapt = find(name)(**settings)
    return strategy
