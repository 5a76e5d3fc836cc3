"""Which unlabelled examples to label next: those the shipped model is unsure of, and that differ from one another.

Weighted k-means (Zhdanov, "Diverse mini-batch Active Learning", 2019): the pool is divided into as many clusters as
examples are wanted, each example weighing as much as the model is unsure of it, and the one nearest to the middle of
each cluster is suggested. So what is asked about is unsure, of different kinds, and typical of its kind. Unsureness
alone asks for outliers, and for the same thing many times, while labels are few.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import OptionError, Problem, plural
from headstart.features.body import Progress
from headstart.predictor import Predictor
from headstart.predictor.heads import unit
from headstart.target.inputs import Inputs, joined

WIDE = 1_024  # wider vectors are projected at random to this width: only distances count
AT_ONCE = 1_000
CLUSTERED = 20_000  # of a larger pool, the least sure ones
SURE = 1e-3  # what an example weighs at least, so that a pool that the model is sure of is covered


@dataclass(frozen=True)
class Suggestion:
    """An example that is worth a label.

    Args:
        rank: 1 is the first to label.
        name: what the input is called.
        label: the class the model predicts.
        probability: of that class.
        why: in words.
    """

    rank: int
    name: str
    label: str
    probability: float
    why: str


@dataclass(frozen=True)
class Suggestions:
    """What :func:`suggest` found.

    Args:
        suggestions: the first to label first.
        unreadable: (name, why) of inputs that cannot be read.
        copies: inputs that are copies of others in the pool, or of labelled ones; not suggested.
        pool: inputs that could be read.
    """

    suggestions: tuple[Suggestion, ...]
    unreadable: tuple[tuple[str, str], ...]
    copies: int
    pool: int


def suggest(
    predictor: Predictor,
    pool: Inputs,
    *,
    count: int,
    labelled: Inputs | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Suggestions:
    """Which inputs of `pool` to label next.

    Args:
        predictor: the shipped model.
        pool: N inputs without labels.
        count: how many to suggest, at most.
        labelled: inputs that have labels: neither they nor near copies of them are suggested.
        seed: of the clusters.
        progress: called as `progress(done, N)`.

    Raises:
        OptionError: the count is not positive, or the model looks at nothing (the majority class).
    """
    problems = [] if count > 0 else [Problem(f"{count} examples to suggest", "one or more", "--count 20")]
    if predictor.body.width == 0:
        problems.append(
            Problem(
                "the shipped model predicts the majority class and looks at nothing",
                "a model that tells examples apart",
                "label a random sample of them",
            )
        )
    if problems:
        raise OptionError(problems)
    vectors, probabilities, unreadable = _forward(predictor, pool, progress)
    copies = _copies(predictor, pool, labelled)
    able = np.array([i for i in range(len(pool)) if i not in unreadable and i not in copies], dtype=np.int64)
    chosen, sizes = choose(vectors[able], probabilities[able], count, seed)
    return Suggestions(
        tuple(
            _suggestion(rank, pool.name(i), predictor.classes, probabilities[i], size)
            for rank, (i, size) in enumerate(zip(able[chosen].tolist(), sizes.tolist(), strict=True), 1)
        ),
        tuple((pool.name(i), why) for i, why in unreadable.items()),
        len(copies.difference(unreadable)),
        len(pool) - len(unreadable),
    )


def margins(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) by how much the most probable of (N, C) classes is ahead of the next."""
    ranked = np.sort(np.asarray(probabilities, dtype=np.float64), axis=1)
    return np.asarray(ranked[:, -1] - ranked[:, -2])


def choose(
    vectors: NDArray[np.floating], probabilities: NDArray[np.floating], count: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of `count` unsure, different and typical examples, and how many examples each stands for.

    An example weighs one minus the margin between its two most probable classes. Vectors are compared by direction. The
    cluster with the most weight is the first to be asked about.

    Args:
        vectors: (N, D) what the last layer is given.
        probabilities: (N, C).
        count: how many; fewer come back where all others are as those chosen.
        seed: of the clusters' first middles.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if not len(vectors):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    weight = np.maximum(1 - margins(probabilities), SURE)
    able = np.sort(np.argsort(-weight, kind="stable")[: max(CLUSTERED, 20 * count)])
    directions = unit(np.asarray(vectors[able], dtype=np.float64))
    means = KMeans(min(count, len(able)), n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer differ than are wanted
        means.fit(directions, sample_weight=weight[able])
    clusters = means.labels_
    distance = np.linalg.norm(directions - means.cluster_centers_[clusters], axis=1)
    order = np.lexsort((distance, clusters))
    kinds, first, sizes = np.unique(clusters[order], return_index=True, return_counts=True)
    mass = np.bincount(clusters, weights=weight[able])[kinds]
    by_mass = np.argsort(-mass, kind="stable")
    return able[order[first]][by_mass], sizes[by_mass]


def _forward(
    predictor: Predictor, pool: Inputs, progress: Progress | None
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[int, str]]:
    """Vectors, at most `WIDE` numbers each, probabilities (N, C), and why inputs cannot be read."""
    body, width = predictor.body, predictor.body.width
    body.prepare(len(pool))
    rng = np.random.default_rng(0)
    project = rng.normal(size=(width, WIDE)).astype(np.float32) / WIDE**0.5 if width > WIDE else None
    vectors = np.empty((len(pool), min(width, WIDE)), dtype=np.float32)
    probabilities = np.empty((len(pool), len(predictor.classes)), dtype=np.float32)
    unreadable: dict[int, str] = {}
    for start in range(0, len(pool), AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, len(pool)))
        forward = body.compute(pool.take(rows), np.arange(len(rows)))
        found = forward.vectors
        probabilities[rows] = np.exp(predictor.log_probabilities(found))
        vectors[rows] = found if project is None else found @ project
        unreadable |= {start + i: why for i, why in forward.unreadable.items()}
        if progress is not None:
            progress(int(rows[-1]) + 1, len(pool))
    return vectors, probabilities, unreadable


def _copies(predictor: Predictor, pool: Inputs, labelled: Inputs | None) -> set[int]:
    """Positions in the pool of what is, nearly or exactly, a labelled input or an earlier one of the pool."""
    known = 0 if labelled is None else len(labelled)
    everything = pool if labelled is None else joined(labelled, pool)
    looked: Any = predictor.modality.examine(everything)
    readable = np.array([i not in looked.errors for i in range(len(everything))], dtype=bool)
    pairs, _ = predictor.modality.near_duplicates(looked, readable)
    first: dict[str, int] = {}
    copies = set()
    for i in np.flatnonzero(readable).tolist():
        if first.setdefault(looked.digests[i], i) != i:
            copies.add(i)
    copies |= {b for a, b in pairs if a not in copies or a < known}
    return {i - known for i in copies if i >= known}


def _suggestion(
    rank: int, name: str, classes: tuple[str, ...], probabilities: NDArray[np.float32], size: int
) -> Suggestion:
    first, second = np.argsort(-probabilities, kind="stable")[:2].tolist()
    said = f"{classes[first]} {100 * probabilities[first]:.0f} %, {classes[second]} {100 * probabilities[second]:.0f} %"
    how = "unsure" if probabilities[first] - probabilities[second] < 0.5 else "unlike the others"
    like = "" if size == 1 else f"; stands for {plural(size - 1, 'other')}"
    return Suggestion(rank, name, classes[first], float(probabilities[first]), f"{how}: {said}{like}")
