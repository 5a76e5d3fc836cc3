"""How long does each score take that needs no iterative fit, on a target as large as small data get?"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from benchmarks.common import target
from headstart.score import SCORES

EXAMPLES, FEATURES, CLASSES = 10_000, 1_280, 100
ROUNDS = 5
LIMIT = 2.0
"""Seconds on two cores."""
FEW = (100, 1_024, 4)
SEEDS = 10


def main(examples: int = EXAMPLES, features: int = FEATURES, classes: int = CLASSES) -> dict[str, Any]:
    X, y = generated(examples, features, classes, seed=0)
    closed = [score for score in SCORES.values() if score.closed and not score.probabilities]
    seconds: dict[str, list[float]] = {score.name: [] for score in closed}
    for _ in range(ROUNDS):
        for score in closed:
            began = time.perf_counter()
            score.function(X, y)
            seconds[score.name].append(round(time.perf_counter() - began, 3))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    slowest = max(medians, key=lambda name: medians[name])
    above = sum(informative_above_noise(seed) for seed in range(SEEDS))
    return {
        "examples": examples,
        "features": features,
        "classes": classes,
        "rounds": ROUNDS,
        "seconds": seconds,
        "median_seconds": medians,
        "logme_few_examples": {"examples": FEW[0], "features": FEW[1], "above_noise": above, "of": SEEDS},
        "targets": [
            target(
                f"every closed-form score of {examples:,} x {features:,} features, {classes} classes, "
                f"in under {LIMIT:.0f} s, median of {ROUNDS}",
                medians[slowest] < LIMIT,
                f"slowest: {slowest}, {medians[slowest]:.2f} s",
            ),
            target(
                f"LogME of {FEW[0]} examples ranks {FEW[1]:,} informative features above noise",
                above == SEEDS,
                f"{above} of {SEEDS}",
            ),
        ],
    }


def generated(examples: int, features: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, D) float32 around a centre for each class, and labels (N,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(examples) % classes
    X = 0.3 * rng.normal(size=(classes, features))[y] + rng.normal(size=(examples, features))
    return X.astype(np.float32), y


def informative_above_noise(seed: int) -> bool:
    """Whether LogME prefers features of which a few dozen differ between classes to features that are all noise."""
    (N, D, K), rng = FEW, np.random.default_rng(seed)
    y = np.arange(N) % K
    noise, informative = rng.normal(size=(2, N, D))
    informative[:, :32] += 1.5 * rng.normal(size=(K, 32))[y]
    logme = SCORES["logme"].function
    return bool(logme(informative, y) > logme(noise, y))
