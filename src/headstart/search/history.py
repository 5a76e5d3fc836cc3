"""What this machine was seen to do, kept between runs: how long what takes, and how far off predictions were.

One small file in the user's cache. It makes the first predictions of a run better and decides nothing else, so nothing
here ever makes a run fail: a file that is missing, damaged or not to be written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from headstart import files, machine
from headstart import source as sources
from headstart.errors import HeadstartError
from headstart.features import Body, HandcraftedBody, body_of, compiled
from headstart.search.plan import Plan
from headstart.search.seconds import STATES, Known, accuracy
from headstart.search.setting import Setting
from headstart.store import Store
from headstart.store.manage import SECONDS
from headstart.strategy.adapt.classical import Classical
from headstart.target.inputs import Inputs
from headstart.target.unreadable import Unreadable
from headstart.trial import Result

FORMAT = 1
KEPT = 5  # measurements of a kind, of which the median counts
MOST = 500  # kinds of a machine
MACHINES = 4  # that share a cache folder


def path() -> Path:
    """Where it lies."""
    return files.cache_directory() / SECONDS


def known(settings: Sequence[Setting], view: Inputs, sealed: Inputs, device: str = "cpu") -> Known:
    """What is known of this machine before a run.

    Args:
        settings: that may be tried.
        view: labelled inputs; which of their features are in the store is looked up, and nothing is computed.
        sealed: sealed inputs, likewise.
        device: of the run; each has rates of its own.
    """
    mine = _mine(_read(), device)
    held: dict[str, tuple[float, float]] = {}
    ready: list[str] = []
    helpers = {str(getattr(setting.strategy, "encoder", "")) for setting in settings}
    # Of other sources one would have to load the weights, or to download them, to know by what name they are kept.
    for name in sorted({name for name in helpers | {s.card.name for s in settings} if name.startswith("bundled:")}):
        if "+" not in name:
            with contextlib.suppress(HeadstartError, OSError, Unreadable):
                body = body_of(sources.find(name), device)
                held[name] = _shares(body, view, sealed)
                folder = body.engine_folder()
                if folder is not None and folder.is_dir() and not compiled.refused(folder):
                    ready.append(name)
    for setting in settings:
        made = setting.strategy
        if isinstance(made, Classical) and made.size is not None and not made.parts:
            with contextlib.suppress(HeadstartError, OSError, Unreadable):
                held |= dict.fromkeys(setting.passes, _shares(HandcraftedBody(made.features, made.size), view, sealed))
    held = {name: shares for name, shares in held.items() if any(shares)}
    asked = _names(settings)
    rates = {name: median(values) for name, values in mine.get("rates", {}).items() if name in asked}
    return Known(rates, held, tuple(ready), mine.get("last"))


def _names(settings: Sequence[Setting]) -> set[str]:
    """The names of all rates that predictions for these settings look for."""
    found: set[str] = set()
    for setting in settings:
        kind, source = setting.kinds[-1], setting.card.name
        found |= {*setting.kinds, f"answer {kind}", f"once {kind}"}
        found |= {f"pass {name}" for name in setting.passes}
        found |= {name for state in STATES for name in (f"once {kind} {state}", f"prepare {source} {state}")}
    return found


def _shares(body: Body, view: Inputs, sealed: Inputs) -> tuple[float, float]:
    """Which shares of the inputs have the features of a body in the store."""
    shelves = [Store(part.space, (part.width,), dtype=part.dtype) for part in body.parts()]
    digests = (view.digests(), sealed.digests())
    first, second = (
        min((float(shelf.has(each).mean()) for shelf in shelves), default=0.0) if each else 0.0 for each in digests
    )
    return first, second


def learn(plans: Sequence[tuple[Plan, Sequence[Result]]], device: str = "cpu") -> None:
    """Keep what the results of a run say of this machine.

    Args:
        plans: of each episode, or of the draws together, with its results.
        device: of the run.
    """
    found: dict[str, list[float]] = {}
    for plan, results in plans:
        for name, value in plan.seconds(results).measured().items():
            found.setdefault(name, []).append(value)
    last = accuracy([result for _, results in plans for result in results])
    with contextlib.suppress(OSError, ValueError), _locked():
        document = _read()
        mine, here = _mine(document, device), _machine(device)
        rates = dict(mine.get("rates", {}))
        for name, values in found.items():
            before = rates.pop(name, [])  # what was measured last stands last
            rates[name] = [*before, float(f"{median(values):.4g}")][-KEPT:]
        machines = {key: value for key, value in document.get("machines", {}).items() if key != here}
        machines[here] = {
            "rates": dict(list(rates.items())[-MOST:]),
            "last": mine.get("last") if last is None else {key: last[key] for key in ("trials", "within", "ratio")},
        }
        files.write_json(path(), {"format": FORMAT, "machines": dict(list(machines.items())[-MACHINES:])})


def _machine(device: str) -> str:
    """What tells machines apart that share a cache folder."""
    about = machine.describe()
    return hashlib.sha256(f"{about['system']} {about['processor']} {about['cores']} {device}".encode()).hexdigest()[:16]


def _read() -> dict[str, Any]:
    try:
        document = json.loads(path().read_text(encoding="utf-8"))
        sound = document["format"] == FORMAT and all(isinstance(each, dict) for each in document["machines"].values())
        return document if sound else {}
    except (OSError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _mine(document: dict[str, Any], device: str) -> dict[str, Any]:
    """What a document says of this machine, as far as it is sound."""
    try:
        mine = document["machines"][_machine(device)]
        rates = {str(name): [float(value) for value in values] for name, values in mine["rates"].items()}
        sound = {name: values for name, values in rates.items() if values and all(0 < v < 1e12 for v in values)}
        last = mine["last"]
        if last is not None:
            last = {"trials": int(last["trials"]), "within": float(last["within"]), "ratio": float(last["ratio"])}
            last = last if all(0 <= value < 1e12 for value in last.values()) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}
    return {"rates": sound, "last": last}


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Two runs that end together both have their say."""
    path().parent.mkdir(parents=True, exist_ok=True)
    with open(path().with_suffix(".lock"), "w", encoding="utf-8") as lock:
        with contextlib.suppress(ImportError):  # no such locks on Windows
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
