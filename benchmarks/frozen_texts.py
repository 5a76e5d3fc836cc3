"""The frozen bundled encoder's best probe beside what users write: sentence-transformers, then logistic regression.

Both learn from the whole training part, choose by five folds of it, and are judged on the test part. The peer runs in
an environment of its own; the better of its two classifiers, by test labels, is what ours is compared with.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.common import DATA, target
from benchmarks.peers import environment
from benchmarks.text import parts, probe

SETS = ("sst2", "trec", "banking77")
BELOW = 0.005  # at most
LIMIT = 1800.0


def main(sets: int = len(SETS)) -> Iterator[dict[str, Any]]:
    """Every set.

    Args:
        sets: how many, in the order of `SETS`.
    """
    names = SETS[:sets]
    if why := environment.lacking(*(DATA / name for name in names), requirements=environment.TEXTS):
        yield {"skipped": why}
        return
    found: dict[str, Any] = {}
    for name in names:
        ours = probe(name)
        found[name] = {key: ours[key] for key in ("setting", "accuracy", "n_train", "n_test")} | {"peer": beside(name)}
        print(f"   {name}: {found[name]['accuracy']:.2%}, peer {found[name]['peer']['accuracies']}", file=sys.stderr)
        yield {"sets": found, "targets": [_target(name, each) for name, each in found.items()]}


def beside(name: str) -> dict[str, Any]:
    """The peer on the same parts."""
    texts, labels, test_texts, test_labels = parts(name)
    task = {"train": {"texts": texts, "labels": labels}, "test": {"texts": test_texts, "labels": test_labels}}
    python = environment.python(environment.TEXTS)
    assert python is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps(task), encoding="utf-8")
        return common.peer(python, "frozen_texts", Path(folder) / "peer.json", path, limit=LIMIT)


def _target(name: str, found: dict[str, Any]) -> dict[str, object]:
    best = max(found["peer"]["accuracies"].values())
    what = (
        f"{name}: frozen probe at most {100 * BELOW:g} points below the best of sentence-transformers and scikit-learn"
    )
    return target(what, found["accuracy"] >= best - BELOW, f"{found['accuracy']:.2%}, {best:.2%}")
