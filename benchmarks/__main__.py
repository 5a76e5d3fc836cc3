"""Run the benchmarks and keep what they measured, with the machine and the versions they ran on.

To try one at a small size and leave the committed results alone: `python -m benchmarks scale --set small=1000 --set
large=0 --results FOLDER`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.common import RESULTS
from headstart import files, machine

NAMES = {  # with about the minutes each takes on two cores; a committed result knows better
    "bundled_weights": 0.5,
    "decode": 2,
    "speed": 8,
    "fastai": 11,
    "gpu": 2,
    "main_job": 7,
    "text": 12,
    "shots": 20,
    "frozen_texts": 6,
    "few_shot": 100,
    "layers": 12,
    "zero_shot": 3,
    "static_table": 18,
    "suggest": 8,
    "bad_input": 3,
    "peak_memory": 13,
    "scale": 25,
    "texts_scale": 12,
    "judge_simulation": 10,
    "score": 1,
    "family": 75,
    "earlier_run": 4,
    "predictions": 20,
    "planner": 180,
    "adapt": 35,
    "adapt_deep": 45,
    "adapt_gradual": 15,
}
NAMED_ONLY = {"planner"}  # which takes most of a day


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all but {', '.join(NAMED_ONLY)}"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="OPTION=NUMBER", help="for each benchmark that has this option"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="default: %(default)s")
    given = parser.parse_args(arguments)
    chosen = given.names or [name for name in NAMES if name not in NAMED_ONLY]
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    try:
        options = {name: int(number) for name, _, number in (option.partition("=") for option in given.set)}
    except ValueError:
        parser.error(f"--set {' '.join(given.set)}: expected OPTION=NUMBER")
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in chosen}
    taken = {name: options.keys() & inspect.signature(module.main).parameters for name, module in modules.items()}
    if unknown := options.keys() - set().union(*taken.values()):
        parser.error(f"no benchmark among these has the option {', '.join(sorted(unknown))}")
    missed = False
    minutes = {name: expected(name) for name in chosen}
    say(f"about {sum(minutes.values()):.0f} min: " + ", ".join(f"{name} {m:.3g}" for name, m in minutes.items()))
    for name, module in modules.items():
        say(f"== {name}, about {minutes[name]:.3g} min")
        began = time.perf_counter()
        asked = {option: options[option] for option in sorted(taken[name])}
        found = module.main(**asked)
        # A long one gives what it has from time to time, so that a cut loses little.
        for measured in found if isinstance(found, Iterator) else [found]:
            if "skipped" in measured:
                continue
            document = {
                "benchmark": name,
                "when": datetime.now(UTC).strftime("%Y-%m-%d"),
                "seconds": round(time.perf_counter() - began, 1),
                "machine": machine.describe(),
                "versions": machine.versions(),
                **({"options": asked} if asked else {}),
                "measured": measured,
            }
            files.write_json(given.results / f"{name}.json", document)
        if "skipped" in measured:
            say(f"   skipped: {measured['skipped']}")
            continue
        for target in measured.get("targets", []):
            missed |= not target["met"]
            say(f"   {'met   ' if target['met'] else 'MISSED'} {target['what']}: {target['found']}")
    sys.exit(1 if missed else 0)


def expected(name: str) -> float:
    """Minutes that a benchmark will take: what it took when its result was kept, else about what two cores take."""
    try:
        return float(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["seconds"]) / 60
    except (OSError, ValueError, KeyError):
        return NAMES[name]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
