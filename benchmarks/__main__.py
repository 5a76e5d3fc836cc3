"""Run the benchmarks and keep what they measured, with the machine and the versions they ran on."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from headstart import files, machine

NAMES = ("bundled_weights", "decode", "speed", "main_job", "text", "bad_input", "peak_memory", "judge_simulation")
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    chosen = parser.parse_args().names or NAMES
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"no benchmark called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    missed = False
    for name in chosen:
        print(f"== {name}", file=sys.stderr, flush=True)
        began = time.perf_counter()
        measured = importlib.import_module(f"benchmarks.{name}").main()
        if "skipped" in measured:
            print(f"   skipped: {measured['skipped']}", file=sys.stderr)
            continue
        document = {
            "benchmark": name,
            "when": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(time.perf_counter() - began, 1),
            "machine": machine.describe(),
            "versions": machine.versions(),
            "measured": measured,
        }
        files.write_json(RESULTS / f"{name}.json", document)
        for target in measured.get("targets", []):
            missed |= not target["met"]
            print(f"   {'met   ' if target['met'] else 'MISSED'} {target['what']}: {target['found']}", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
