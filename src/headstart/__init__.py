"""headstart: does a pretrained model help on your small labelled data set, which one, how, and is it proven?

>>> import headstart as hs
>>> "fit" in hs.__all__
True
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Nothing calls home: the libraries below us are told before they are imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")

if TYPE_CHECKING:
    from headstart.api import (
        Run,
        adapt,
        check,
        fit,
        load,
        open_run,
        plan,
        rank,
        replay,
        shift,
        sources,
        suggest,
        zero_shot,
    )
    from headstart.errors import HeadstartError, InputError
    from headstart.judge.evidence import Evidence
    from headstart.predictor import Predictor
    from headstart.search.adapt import Adapted
    from headstart.search.rank import Ranking
    from headstart.search.rehearse import Rehearsal
    from headstart.search.shift import Shift
    from headstart.target import Target, load_target

_WHERE = {
    "Adapted": "headstart.search.adapt",
    "Evidence": "headstart.judge.evidence",
    "HeadstartError": "headstart.errors",
    "InputError": "headstart.errors",
    "Predictor": "headstart.predictor",
    "Ranking": "headstart.search.rank",
    "Rehearsal": "headstart.search.rehearse",
    "Run": "headstart.api",
    "Shift": "headstart.search.shift",
    "Target": "headstart.target",
    "adapt": "headstart.api",
    "check": "headstart.api",
    "fit": "headstart.api",
    "load": "headstart.api",
    "load_target": "headstart.target",
    "open_run": "headstart.api",
    "plan": "headstart.api",
    "rank": "headstart.api",
    "replay": "headstart.api",
    "shift": "headstart.api",
    "sources": "headstart.api",
    "suggest": "headstart.api",
    "zero_shot": "headstart.api",
}

__all__ = [
    "Adapted",
    "Evidence",
    "HeadstartError",
    "InputError",
    "Predictor",
    "Ranking",
    "Rehearsal",
    "Run",
    "Shift",
    "Target",
    "adapt",
    "check",
    "fit",
    "load",
    "load_target",
    "open_run",
    "plan",
    "rank",
    "replay",
    "shift",
    "sources",
    "suggest",
    "zero_shot",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import headstart` costs next to nothing."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
