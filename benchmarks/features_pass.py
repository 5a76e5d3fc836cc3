"""Read a target and compute the pooled features of every picture in it, in a process of its own, and say what it took.

    python features_pass.py FOLDER --json OUT

What a run does before its first trial, for all pictures: a budget would have a run take a sample of very many.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

SOURCE = "efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with a folder for each class")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    given = parser.parse_args()
    given.json.write_text(json.dumps(measure(given.data)), encoding="utf-8")


def measure(data: Path, source: str = SOURCE) -> dict[str, Any]:
    """Seconds to read the target and to have its features; how many were computed; the size of the result."""
    from headstart.features import NetworkBody, Tally, extract
    from headstart.profile import process_seconds
    from headstart.source import find
    from headstart.target import load_target

    imported, began = process_seconds(), time.perf_counter()
    target = load_target(data)
    read, tally = time.perf_counter(), Tally()
    body = NetworkBody.of(find(source))
    parts = [target.everything.examples.inputs]
    if target.split != "cross-fit":
        parts.append(target.episodes[0].seal.inputs)
    features = [extract(body, inputs, tally=tally) for inputs in parts]
    ended = time.perf_counter()
    return {
        "examples": sum(map(len, features)),
        "computed": tally.computed,
        "recalled": tally.recalled,
        "seconds": {"import": imported, "read": read - began, "features": ended - read, "work": ended - began},
        "result_mb": round(sum(array.nbytes for array in features) / 2**20, 1),
    }


if __name__ == "__main__":
    main()
