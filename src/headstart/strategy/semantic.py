"""From names to classifiers: what zero-shot strategies share. Pure functions of arrays; no labels anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.machine import one_thread
from headstart.predictor.heads import convex

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
TOPS = (1, 10, 100)
PARTS = 10


@dataclass(frozen=True)
class _Moments:
    """All that ridge regression needs of K pairs, so that leaving some out is a subtraction."""

    count: int
    names: Wide  # (E,) sum
    weights: Wide  # (D,) sum
    gram: Wide  # (E, E)
    cross: Wide  # (E, D)

    @classmethod
    def of(cls, known: Floats, weight: Floats) -> _Moments:
        S, W = known.astype(np.float64), weight.astype(np.float64)
        return cls(len(S), S.sum(axis=0), W.sum(axis=0), S.T @ S, S.T @ W)

    def __sub__(self, other: _Moments) -> _Moments:
        return _Moments(
            self.count - other.count,
            self.names - other.names,
            self.weights - other.weights,
            self.gram - other.gram,
            self.cross - other.cross,
        )

    def centred(self) -> tuple[Wide, Wide, Wide]:
        """The mean name, and the moments about the means."""
        name, classifier = self.names / self.count, self.weights / self.count
        return (
            name,
            self.gram - self.count * np.outer(name, name),
            self.cross - self.count * np.outer(name, classifier),
        )

    def scores(self, pictures: Floats, wanted: Floats) -> Iterator[tuple[float, Wide]]:
        """For each penalty the scores (N, C) that :func:`bilinear` would give, from one eigendecomposition."""
        name, gram, cross = self.centred()
        values, Q = np.linalg.eigh(gram)
        left, right = (pictures @ cross.T) @ Q, (wanted - name) @ Q
        for penalty in PENALTIES:
            yield penalty, (left / (values + penalty)) @ right.T


def bilinear(known: Floats, weight: Floats, wanted: Floats, penalty: float) -> Floats:
    """A classifier for classes of which only the names are known, from those of known classes.

    A class with name vector s scores a picture with features x by x' V s: a form linear in both, as in ESZSL
    (Romera-Paredes & Torr 2015, equation 2). There V is fitted on labelled pictures of the known classes. Here it is
    fitted on what a network made of a million of them, its own classifier: V minimises
    sum_k |w_k - V s_k|^2 + penalty |V|^2, both centred, which is ridge regression in closed form.

    Args:
        known: (K, E) name vectors of the known classes.
        weight: (K, D) their classifier.
        wanted: (C, E) name vectors of the wanted classes.
        penalty: above zero.

    Returns:
        (C, D) float32, relative to the mean of the known classifiers.
    """
    name, gram, cross = _Moments.of(known, weight).centred()
    form = np.linalg.solve(gram + penalty * np.eye(len(gram)), cross)
    return np.asarray((wanted - name) @ form, dtype=np.float32)


@dataclass(frozen=True)
class Choice:
    """What leave-classes-out chose.

    Args:
        method: `bilinear` or `conse`.
        value: its penalty, or how many known classes it takes.
        right: share of the left-out classes whose name was found among those left out with them.
        others: the same of every other candidate, as `METHOD VALUE`.
    """

    method: str
    value: float
    right: float
    others: dict[str, float]


def leave_classes_out(known: Floats, weight: Floats, methods: tuple[str, ...] = ("bilinear", "conse")) -> Choice:
    """How well each method names known classes that it is not told of, and the one to use.

    A tenth of the known classes is left out in turn. What stands for a picture of such a class is the direction of its
    own classifier, w_k - mean(w): the picture, up to scale, that the network would be surest of. A method is right
    where, of all names left out, it gives that one. Those are cleaner than any photo, so among the penalties within a
    standard error of the best the largest is taken (the rule of Breiman et al. 1984), and likewise the most classes.

    Args:
        known: (K, E) name vectors.
        weight: (K, D) classifier.
        methods: which to compare.
    """
    with one_thread():
        tried = _tried(known, weight, methods)
    right = {candidate: float(np.mean(values)) for candidate, values in tried.items()}
    best = max(right, key=lambda candidate: right[candidate])
    error = np.sqrt(right[best] * (1 - right[best]) / len(known))
    method, value = max(c for c in right if c[0] == best[0] and right[c] >= right[best] - error)
    others = {f"{m} {v:g}": round(share, 4) for (m, v), share in right.items() if (m, v) != (method, value)}
    return Choice(method, value, right[method, value], others)


def _tried(known: Floats, weight: Floats, methods: tuple[str, ...]) -> dict[tuple[str, float], list[bool]]:
    """Every candidate on every known class, left out: whether it was right."""
    order = np.random.default_rng(0).permutation(len(known))
    tried: dict[tuple[str, float], list[bool]] = {}
    whole = _Moments.of(known, weight)
    for part in np.array_split(order, PARTS):
        rest = np.setdiff1d(order, part)
        mean = weight[rest].mean(axis=0)
        pictures = weight[part] - mean
        truth = np.arange(len(part))
        if "bilinear" in methods:
            for penalty, scores in (whole - _Moments.of(known[part], weight[part])).scores(pictures, known[part]):
                tried.setdefault(("bilinear", penalty), []).extend(scores.argmax(axis=1) == truth)
        if "conse" in methods:
            logits = pictures @ (weight[rest] - mean).T
            # As sure as a network is of a photo: the best of some hundred classes stands out by six deviations.
            logits *= 6.0 / np.maximum(logits.std(axis=1, keepdims=True), 1e-12)
            for top in TOPS:
                named = convex(logits, known[rest], top) @ known[part].T
                tried.setdefault(("conse", float(top)), []).extend(named.argmax(axis=1) == truth)
    return tried
