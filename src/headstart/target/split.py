"""Dividing labelled examples: stratified by class, groups kept whole, the same for the same seed.

Written here, and not taken from scikit-learn, because classes with fewer members than folds are everyday here: they are
spread as evenly as they can be, without a warning, and grouped and ungrouped examples follow the same rule.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike, NDArray

Positions = NDArray[np.int64]


def _codes(values: ArrayLike) -> Positions:
    """Values as numbers 0, 1, 2, ..."""
    codes: Positions = np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1).astype(np.int64)
    return codes


def _units(n: int, groups: ArrayLike | None) -> list[Positions]:
    """What is never divided: the members of each group (without groups, every example by itself)."""
    if groups is None:
        return list(np.arange(n, dtype=np.int64)[:, None])
    codes = _codes(groups)
    if len(codes) != n:
        raise ValueError(f"{n} labels but {len(codes)} groups")
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if n else []


def folds(labels: ArrayLike, k: int, *, seed: int, groups: ArrayLike | None = None) -> list[Positions]:
    """Divide examples into `k` parts of nearly equal size and nearly equal class proportions.

    Groups of several examples are dealt first, the largest first, each to the part that has the smallest share of its
    classes; single examples then fill up the parts, class by class. Without groups, neither the sizes of two parts nor
    the counts of any class in them differ by more than one.

    Args:
        labels: (N,) anything that can be compared.
        k: how many parts, at least 2.
        seed: the same seed gives the same parts.
        groups: (N,) or None; examples of one group come into the same part.

    Returns:
        `k` sorted arrays of positions; every position is in exactly one. With fewer groups than `k`, some are empty.
    """
    if k < 2:
        raise ValueError(f"{k} folds, expected at least 2")
    codes = _codes(labels)
    rng = np.random.default_rng(seed)
    sizes = np.bincount(codes).astype(np.float64) if len(codes) else np.ones(1)
    counts = np.zeros((k, len(sizes)))
    part = np.full(len(codes), -1, dtype=np.int64)

    units = _units(len(codes), groups)
    several = [unit for unit in units if len(unit) > 1]
    rng.shuffle(several)
    for unit in sorted(several, key=len, reverse=True):
        members = np.bincount(codes[unit], minlength=len(sizes))
        # The growth of the sum over classes of squared shares, then the size of the part.
        growth = ((2 * counts * members + members**2) / sizes**2).sum(axis=1).round(12)
        chosen = int(np.lexsort((rng.random(k), counts.sum(axis=1), growth))[0])
        part[unit] = chosen
        counts[chosen] += members

    single = np.array([unit[0] for unit in units if len(unit) == 1], dtype=np.int64)
    for label in rng.permutation(len(sizes)):
        members = rng.permutation(single[codes[single] == label])
        # Every part offers places counts+0, counts+1, ...; the lowest are taken, in the smallest parts first.
        rank = np.lexsort((rng.random(k), counts.sum(axis=1))).argsort()
        places = (counts[:, label, None] + np.arange(len(members))) * k + rank[:, None]
        chosen_parts = np.argsort(places, axis=None)[: len(members)] // max(len(members), 1)
        part[members] = chosen_parts
        counts[:, label] += np.bincount(chosen_parts, minlength=k)
    return [np.flatnonzero(part == i) for i in range(k)]


def stratified_sample(labels: ArrayLike, size: int, *, seed: int) -> Positions:
    """Choose `size` examples with the classes in proportion, at least one of every class where `size` allows.

    For one seed the samples are nested: a larger one contains a smaller one, so that a label curve adds examples
    and never swaps them.

    Args:
        labels: (N,) anything that can be compared.
        size: how many; all N where it is larger.
        seed: the same seed gives the same sample.

    Returns:
        Sorted positions.
    """
    codes = _codes(labels)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(codes))
    place = np.empty(len(codes))
    for label in range(codes.max() + 1 if len(codes) else 0):
        members = order[codes[order] == label]
        # The first of each class comes before all others; the rest are spread evenly over the queue.
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[0]] = -rng.random()
    return np.sort(np.argsort(place, kind="stable")[: max(size, 0)])


def holdout(
    labels: ArrayLike, fraction: float, *, seed: int, groups: ArrayLike | None = None
) -> tuple[Positions, Positions]:
    """Hold out about `fraction` of the examples of every class.

    Groups are visited in random order; each is held out if that brings the held-out class counts closer to their
    quotas. A class with two or more examples has a quota of at least one, and never of all.

    Args:
        labels: (N,) anything that can be compared.
        fraction: between 0 and 1.
        seed: the same seed gives the same division.
        groups: (N,) or None; examples of one group come to the same side.

    Returns:
        Sorted positions kept and held out.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a held-out fraction of {fraction}, expected one between 0 and 1")
    codes = _codes(labels)
    rng = np.random.default_rng(seed)
    sizes: list[int] = np.bincount(codes).tolist() if len(codes) else []
    wanted: list[float] = [min(max(fraction * size, 1.0), size - 1.0) for size in sizes]
    wanted_in_all = sum(wanted)
    units = _units(len(codes), groups)
    queue = [units[number] for number in rng.permutation(len(units))]
    held: list[Positions] = []
    for final in (False, True):
        undecided = []
        for unit in queue:
            members = Counter(codes[unit].tolist())
            # The change of the sum over classes of (quota - held out)^2 / size.
            change = sum(m * (m - 2 * wanted[c]) / sizes[c] for c, m in members.items())
            if change < -1e-9 or (final and change < 1e-9 and wanted_in_all >= len(unit) / 2):
                held.append(unit)
                wanted_in_all -= len(unit)
                for c, m in members.items():
                    wanted[c] -= m
            elif change < 1e-9:
                undecided.append(unit)  # half an example is wanted: decided last, by what is wanted in all
        queue = undecided
    test = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    return np.setdiff1d(np.arange(len(codes)), test), test
