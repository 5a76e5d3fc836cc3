"""Which unlabelled examples to label next: those the shipped model is unsure of, and that differ from one another.

BADGE (Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", 2020): each example is
represented by the gradient that its own predicted label would have in the last layer, (p - onehot(argmax p)) times its
vector. The gradient is long where the model is unsure and points elsewhere for another kind of example, so that seeding
by k-means++ (Arthur and Vassilvitskii 2007) takes unsure and different ones without weighing the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import OptionError, Problem
from headstart.features.body import Progress
from headstart.predictor import Predictor
from headstart.target.inputs import Inputs, joined

WIDE = 1_024  # wider vectors are projected at random to this width: only distances count
AT_ONCE = 1_000


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
        seed: of the seeding.
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
    chosen = able[choose(vectors[able], probabilities[able], count, seed)] if len(able) else able
    return Suggestions(
        tuple(
            _suggestion(rank, pool.name(i), predictor.classes, probabilities[i])
            for rank, i in enumerate(chosen.tolist(), 1)
        ),
        tuple((pool.name(i), why) for i, why in unreadable.items()),
        len(copies.difference(unreadable)),
        len(pool) - len(unreadable),
    )


def choose(
    vectors: NDArray[np.floating], probabilities: NDArray[np.floating], count: int, seed: int = 0
) -> NDArray[np.int64]:
    """Positions of `count` unsure and different examples, in the order in which they should be labelled.

    A gradient is the outer product of q = p - onehot and the vector, so that distances between gradients follow from
    inner products of the two parts; it is never written out. The first is the one with the longest gradient; each
    further one is drawn with a probability proportional to its squared distance from the nearest chosen one. Unlike in
    the paper, zero counts as chosen: otherwise the many examples that the model is sure of, all next to zero and so far
    from every long gradient, are drawn from at once.

    Args:
        vectors: (N, D) what the last layer is given.
        probabilities: (N, C).
        count: how many; fewer come back where all others are as those chosen.
        seed: of the draws.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    gap = np.array(probabilities, dtype=np.float64)
    gap[np.arange(len(gap)), gap.argmax(axis=1)] -= 1
    length = (gap**2).sum(axis=1) * (vectors**2).sum(axis=1)
    if not len(length) or not length.max() > 0:
        return np.empty(0, dtype=np.int64)
    rng = np.random.default_rng(seed)
    chosen = [int(length.argmax())]
    nearest = length.copy()
    least = 1e-12 * length.max()
    while len(chosen) < min(count, len(length)):
        last = chosen[-1]
        distance = length + length[last] - 2 * (gap @ gap[last]) * (vectors @ vectors[last])
        nearest = np.minimum(nearest, np.maximum(distance, 0.0))
        nearest[chosen] = 0.0
        weight = np.where(nearest > least, nearest, 0.0)
        if not weight.any():
            break
        chosen.append(int(rng.choice(len(weight), p=weight / weight.sum())))
    return np.array(chosen, dtype=np.int64)


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


def _suggestion(rank: int, name: str, classes: tuple[str, ...], probabilities: NDArray[np.float32]) -> Suggestion:
    first, second = np.argsort(-probabilities, kind="stable")[:2].tolist()
    rest = f"{classes[first]} {100 * probabilities[first]:.0f} %, {classes[second]} {100 * probabilities[second]:.0f} %"
    how = "unsure" if probabilities[first] - probabilities[second] < 0.5 else "unlike those above"
    return Suggestion(rank, name, classes[first], float(probabilities[first]), f"{how}: {rest}")
