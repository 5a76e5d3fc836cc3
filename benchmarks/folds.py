"""Which examples a route predicts right when it has not seen them: what `family` and `layers` compare routes by."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np


def unseen(
    name: str,
    kind: str,
    settings: dict[str, Any],
    view: Any,
    repeats: int,
    store: Path | None = None,
    thinned: Callable[[Any, int], Any] | None = None,
) -> tuple[Any, float]:
    """Train five times a repeat, each time without another fifth, which is then predicted: every example counts.

    Args:
        name: of the source.
        kind: of the strategy.
        settings: its hyper-parameters.
        view: the TrainView, of N examples.
        repeats: of the five folds, each with other folds.
        store: folder of the feature store; None: the user's cache.
        thinned: labels (n,) and seed to the rows of them that are learned from; None: all.

    Returns:
        (repeats, N) bool, and mean CPU seconds of a training whose features are there already.
    """
    from headstart.budget import Budget
    from headstart.source import find
    from headstart.strategy import Bench, make

    source, strategy = find(name), make(kind, settings)
    right = np.zeros((repeats, len(view)), dtype=bool)
    spent = []
    for seed in range(5 * repeats):
        rows, held = view.fold_index(seed)
        if thinned is not None:
            rows = rows[thinned(view.examples.labels[rows], seed)]
        part = view.take(rows)
        if seed == 0:
            strategy(source, part, budget=Budget(), seed=seed, bench=Bench(store=store))  # so that features are there
        bench, began = Bench(store=store), time.process_time()
        predictor = strategy(source, part, budget=Budget(), seed=seed, bench=bench)
        spent.append(time.process_time() - began)
        asked = view.examples.take(held)
        vectors = bench.features(predictor.body, asked.inputs, source.card.short)
        right[seed // 5, held] = predictor.log_probabilities(vectors).argmax(axis=1) == asked.labels
    return right, mean(spent)


def points(gain: Any) -> str:
    """A gain with its interval, in percentage points: estimate, low and high, in words."""
    estimate, low, high = (100 * value for value in gain[:3])
    return f"{estimate:+.1f} ({low:+.1f} to {high:+.1f})"
