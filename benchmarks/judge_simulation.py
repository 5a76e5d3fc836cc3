"""Does judge keep its word? Planted gains, thousands of test sets, and how often the interval covers the truth.

Each test set is drawn from a probit model: an example is predicted right when the sum of the class's level, the seed's
effect, the example's difficulty (shared by both routes), its difficulty for this route, and noise is above zero. The
true gain is known in closed form. With one seed per route the truth is the gain of those very models; with more it is
the mean over all seeds there could be.
"""

from __future__ import annotations

import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from headstart.judge.intervals import bootstrap, corrected_resampled_t
from headstart.judge.power import minimal_detectable_gain

REPEATS = 1000
RESAMPLES = 999


@dataclass(frozen=True)
class Design:
    """One kind of test set: n examples, C classes, S seeds per route, and what is true of the routes."""

    n: int
    classes: int
    seeds: int
    baseline: float
    gain: float
    metric: str = "accuracy"
    imbalance: float = 1.0
    seed_sd: float = 0.05
    shared: float = 0.3
    own: float = 0.2


DESIGNS = [
    Design(30, 2, 1, 0.70, 0.0, seed_sd=0.0),
    Design(30, 2, 5, 0.70, 0.2),
    Design(60, 12, 5, 0.70, 0.1),
    Design(60, 6, 1, 0.60, 0.1, "balanced_accuracy", imbalance=4),
    Design(100, 2, 1, 0.66, 0.29),
    Design(100, 3, 3, 0.80, 0.0),
    Design(100, 4, 5, 0.50, 0.0, shared=0.6),
    Design(150, 2, 5, 0.66, 0.29, seed_sd=0.1),
    Design(150, 2, 3, 0.85, 0.0, "balanced_accuracy", imbalance=4, seed_sd=0.0),
    Design(150, 12, 1, 0.80, 0.1, "balanced_accuracy", imbalance=8),
    Design(150, 5, 5, 0.80, -0.2),
    Design(300, 2, 1, 0.95, 0.0, seed_sd=0.0),
    Design(400, 2, 5, 0.50, 0.3, seed_sd=0.1),
    Design(400, 5, 3, 0.80, 0.05, seed_sd=0.1),
    Design(400, 12, 1, 0.90, 0.05),
    Design(400, 12, 5, 0.98, 0.0, "balanced_accuracy", imbalance=5),
    Design(400, 12, 3, 0.90, -0.1, shared=0.0),
    Design(100, 6, 1, 0.75, 0.0, "balanced_accuracy", imbalance=6, seed_sd=0.0),
]
# Under about eight disagreements no honest interval can be exact: here it may cover more, never less.
SPARSE = [
    Design(40, 2, 1, 0.90, 0.0, seed_sd=0.0, shared=0.0),
    Design(30, 3, 1, 0.97, 0.0, seed_sd=0.0),
    Design(30, 12, 1, 0.90, 0.0, seed_sd=0.0),
    Design(60, 2, 5, 0.99, 0.0),
    Design(100, 2, 1, 0.98, 0.01),
    Design(400, 2, 1, 0.995, 0.0, seed_sd=0.0),
]


def class_counts(design: Design) -> NDArray[np.int64]:
    """Test examples per class, falling geometrically by `imbalance` from the first class to the last; two at least."""
    share = design.imbalance ** -np.linspace(0, 1, design.classes)
    counts = np.maximum(2, (share / share.sum() * design.n).astype(np.int64))
    counts[0] += design.n - counts.sum()
    return counts


def planted(
    design: Design, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_], tuple[float, float]]:
    """One test set: labels (N,), right or wrong per seed of transfer and baseline (S, N), their true scores."""
    counts = class_counts(design)
    labels = np.repeat(np.arange(design.classes), counts)
    weights = counts / counts.sum() if design.metric == "accuracy" else np.full(design.classes, 1 / design.classes)
    level_of_class = rng.normal(0, 0.3, design.classes)
    difficulty = math.sqrt(design.shared) * rng.normal(size=design.n)
    correct, truth = [], []
    for score in (design.baseline + design.gain, design.baseline):
        spread = math.sqrt(1 + design.seed_sd**2)
        level = level_of_class + brentq(lambda x: weights @ norm.cdf((x + level_of_class) / spread) - score, -9, 9)  # noqa: B023
        of_seed = design.seed_sd * rng.normal(size=(design.seeds, 1))
        own = math.sqrt(design.own) * rng.normal(size=design.n)
        noise = math.sqrt(1 - design.shared - design.own) * rng.normal(size=(design.seeds, design.n))
        correct.append(level[labels] + of_seed + difficulty + own + noise > 0)
        truth.append(float(weights @ norm.cdf(level + of_seed[0])) if design.seeds == 1 else score)
    return labels, correct[0], correct[1], (truth[0], truth[1])


def paired(design: Design, repeats: int, seed: int) -> dict[str, Any]:
    """How often the interval of the gain covers the truth, and what the verdict is, over `repeats` test sets."""
    rng = np.random.default_rng(seed)
    low, high, truth, disagreements, one_route = (np.zeros(repeats) for _ in range(5))
    for i in range(repeats):
        labels, transfer, baseline, (t, b) = planted(design, rng)
        found = bootstrap([transfer, baseline], labels, design.metric, resamples=RESAMPLES, seed=i)
        low[i], high[i], truth[i] = found.low, found.high, t - b
        disagreements[i] = np.mean(transfer != baseline) * design.n
        alone = bootstrap([transfer], labels, design.metric, resamples=RESAMPLES, seed=i)
        one_route[i] = alone.low <= t <= alone.high
    return {
        "design": asdict(design),
        "repeats": repeats,
        "disagreements": round(float(disagreements.mean()), 1),
        "coverage": float(np.mean((low <= truth) & (truth <= high))),
        "too_high": float(np.mean(low > truth)),
        "helped": float(np.mean(low > 0)),
        "hurt": float(np.mean(high < 0)),
        "coverage_of_one_route": float(one_route.mean()),
    }


def power(design: Design, repeats: int, seed: int) -> dict[str, Any]:
    """How often *helped* is said when the true gain is the one that null test sets report as minimal detectable."""
    rng = np.random.default_rng(seed)
    reported = []
    for i in range(50):
        labels, transfer, baseline, _ = planted(design, rng)
        found = bootstrap([transfer, baseline], labels, design.metric, resamples=RESAMPLES, seed=i)
        reported.append(minimal_detectable_gain(found.standard_error, found.n_effective, critical=found.critical))
    gain = float(np.median(reported))
    measured = paired(replace(design, gain=gain), repeats, seed)
    return {"design": asdict(design), "minimal_detectable_gain": gain, "helped": measured["helped"]}


def cross_fitted(
    n: int, transfer: float, baseline: float, repeats: int, seed: int, folds: int = 5, rounds: int = 3
) -> dict[str, Any]:
    """Coverage and verdicts of the corrected resampled t-test.

    Two classes of Gaussian features, ten for each route with class means at plus and minus `transfer` (or `baseline`)
    along each; the learner is the nearest class mean, whose true accuracy is known in closed form. The truth is the
    mean true gain over all the training sets.
    """
    rng = np.random.default_rng(seed)
    size, features = n // folds, 10
    labels = np.arange(n) % 2
    sign = 2.0 * labels - 1
    intervals, truths = [], []
    for _ in range(repeats):
        views = [(shift, sign[:, None] * shift + rng.normal(size=(n, features))) for shift in (transfer, baseline)]
        differences = []
        for _ in range(rounds):
            order = rng.permutation(n)
            for fold in range(folds):
                judged = np.zeros(n, dtype=bool)
                judged[order[fold * size : (fold + 1) * size]] = True
                scores = []
                for shift, x in views:
                    first, second = x[~judged & (labels == 0)].mean(axis=0), x[~judged & (labels == 1)].mean(axis=0)
                    w, middle = second - first, (first + second) / 2
                    scores.append(np.mean(((x[judged] - middle) @ w > 0) == labels[judged]))
                    length = np.linalg.norm(w)
                    reach, offset = shift * w.sum() / length, middle @ w / length
                    truths.append((1 if len(scores) == 1 else -1) * norm.cdf([reach - offset, reach + offset]).mean())
                differences.append(scores[0] - scores[1])
        intervals.append(corrected_resampled_t(np.array(differences), n - size, size)[1:])
    truth = 2 * float(np.mean(truths))
    low, high = np.array(intervals).T
    return {
        "design": {"n": n, "folds": folds, "rounds": rounds, "true_gain": truth},
        "repeats": repeats,
        "coverage": float(np.mean((low <= truth) & (truth <= high))),
        "helped": float(np.mean(low > 0)),
        "hurt": float(np.mean(high < 0)),
    }


def main(repeats: int = REPEATS) -> dict[str, Any]:
    """The whole table; a few minutes on two cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        coverage = [pool.submit(paired, design, repeats, seed) for seed, design in enumerate(DESIGNS)]
        sparse = [pool.submit(paired, design, repeats, seed) for seed, design in enumerate(SPARSE)]
        powers = [pool.submit(power, replace(DESIGNS[i], baseline=0.6, gain=0.0), repeats, 1) for i in (0, 4, 5, 9, 14)]
        small = [
            pool.submit(cross_fitted, n, transfer, baseline, repeats // 2, 1)
            for n, transfer, baseline in [(30, 0.3, 0.3), (60, 0.2, 0.2), (60, 0.4, 0.1), (60, 0.1, 0.4)]
        ]
        tables = [[job.result() for job in jobs] for jobs in (coverage, sparse, powers, small)]
    null = [row for row in tables[0] + tables[1] if row["design"]["gain"] == 0]
    return {
        "paired": tables[0],
        "paired_few_disagreements": tables[1],
        "power_at_minimal_detectable_gain": tables[2],
        "cross_fitting": tables[3],
        "summary": {
            "coverage_lowest": min(row["coverage"] for row in tables[0]),
            "coverage_mean": float(np.mean([row["coverage"] for row in tables[0]])),
            "coverage_highest": max(row["coverage"] for row in tables[0]),
            "coverage_of_one_route_lowest": min(row["coverage_of_one_route"] for row in tables[0] + tables[1]),
            "standard_error_of_a_coverage": math.sqrt(0.95 * 0.05 / repeats),
            "helped_under_null_highest": max(row["helped"] for row in null),
            "helped_under_null_mean": float(np.mean([row["helped"] for row in null])),
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
