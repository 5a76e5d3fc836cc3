"""Compute the vectors of many texts, in a process of its own, and say what it took.

    python texts_pass.py 10000 --way headstart --json OUT
    python texts_pass.py 10000 --way encoder --json OUT     # the compiled encoder alone, on batches that are ready

The texts are sentences of the benchmark data, each with words of others in it, so that no two are alike.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(os.environ.get("HEADSTART_BENCH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
FILES = ("sst2/train.csv", "trec/train.csv", "banking77/train.csv")
SOURCE = "minilm_l6"
EXCHANGED = 0.3  # of the words


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--way", choices=("headstart", "encoder"), required=True)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="where the figures go")
    given = parser.parse_args()
    measure = {"headstart": headstart, "encoder": encoder}[given.way]
    given.json.write_text(json.dumps(measure(texts(given.count))), encoding="utf-8")


def texts(count: int, seed: int = 0) -> list[str]:
    """Distinct texts with the lengths of real ones."""
    rng = np.random.default_rng(seed)
    given: list[list[str]] = []
    for name in FILES:
        with (DATA / name).open(encoding="utf-8", newline="") as stream:
            given += [row["text"].split() for row in csv.DictReader(stream)]
    words = np.array(sorted({word for text in given for word in text}))
    found: dict[str, None] = {}
    while len(found) < count:
        text = np.array(given[int(rng.integers(len(given)))], dtype=object)
        at = rng.random(len(text)) < EXCHANGED
        text[at] = words[rng.integers(len(words), size=int(at.sum()))]
        found[f"{' '.join(text)} {words[rng.integers(len(words))]}"] = None
    return list(found)


def headstart(given: list[str]) -> dict[str, Any]:
    """Cutting up, computing and keeping, with an empty store."""
    from headstart.features import Tally, TextBody, extract
    from headstart.source import find
    from headstart.target.inputs import StringInputs

    inputs, tally = StringInputs(given), Tally()
    body = TextBody.of_text(find(SOURCE))
    body.prepare(len(given))
    with tempfile.TemporaryDirectory() as store:
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = extract(body, inputs, store=Path(store), tally=tally)
        spent = _spent(len(given), wall, cpu)
    return spent | {"computed": tally.computed, "result_mb": round(vectors.nbytes / 2**20, 1)}


def encoder(given: list[str]) -> dict[str, Any]:
    """The engine alone, on the batches that are best for it: sorted by length over all texts."""
    from headstart.features import TextBody
    from headstart.features.text import batches, padded
    from headstart.source import find

    body = TextBody.of_text(find(SOURCE))
    body.prepare(len(given))
    flat = [window for windows in body.words.windows(given) for window in windows]
    out = np.empty((len(flat), body.width), dtype=np.float32)
    engine: Any = body._engine
    ready = [
        (padded([flat[row] for row in rows], body.tokens.length), rows.tolist())
        for rows in batches([len(window) for window in flat], engine.batch)
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    for numbers, rows in ready:
        engine.start(numbers, rows, [out])
    engine.finish()
    return _spent(len(given), wall, cpu)


def _spent(count: int, wall: float, cpu: float) -> dict[str, Any]:
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"texts": count, "seconds": wall, "cpu_seconds": cpu, "texts_per_second": round(count / wall, 1)}


if __name__ == "__main__":
    main()
