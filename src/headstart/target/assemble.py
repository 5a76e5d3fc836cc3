"""From Raw to Target: hygiene, the split, and the seal. Every reader's data passes through here."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headstart.errors import OptionError, Problem, TargetError, plural
from headstart.target.hygiene import Hygiene, Progress
from headstart.target.modality import Looked, modality_of
from headstart.target.raw import Raw, Side, listed
from headstart.target.seal import Seal
from headstart.target.split import folds, holdout
from headstart.target.target import Episode, Split, Target
from headstart.target.view import Examples, TrainView

FEWEST_TO_SPLIT = 120
"""With fewer usable examples than this a target is judged by cross-fitting."""

FEWEST_TEST_PER_CLASS = 3
"""With fewer test examples than this in any class a target is judged by cross-fitting."""

CROSS_FIT_FOLDS = 5
CROSS_FIT_REPEATS = 2

CROSS_FITTED = (
    "There is too little for a test split: routes are chosen and judged anew in each fold of a repeated cross-fitting."
)

IMBALANCED = 1.5
"""From this ratio of the largest to the smallest class on, balanced accuracy is the primary metric."""


def assemble(raw: Raw, *, test_fraction: float, seed: int, progress: Progress | None = None) -> Target:
    """Examine the inputs, leave out what cannot be used, divide the rest into what is learned from and what is sealed.

    Args:
        raw: what a reader read.
        test_fraction: how much to seal where no split was given.
        seed: for the split.
        progress: called as `progress(examined, N)`.

    Raises:
        TargetError: there is too little to learn from or to judge on; every reason at once.
        OptionError: the fraction is not between 0 and 1.
    """
    if not 0 < test_fraction < 1:
        raise OptionError(Problem(f"a test fraction of {test_fraction}", "a number between 0 and 1, such as 0.25"))
    modality = modality_of(raw.inputs)
    records = modality.examine(raw.inputs, threads=min(8, os.cpu_count() or 1), progress=progress)
    found = _Found(raw, records)
    classes = sort_classes({label for label in raw.labels if label is not None})
    _refuse(raw, found, classes)

    kept = np.array(found.kept, dtype=np.int64)
    codes = {name: code for code, name in enumerate(classes)}
    labels = np.array([codes[str(raw.labels[i])] for i in kept], dtype=np.int64)
    groups = found.groups(kept)
    examples = Examples(raw.inputs.take(kept), labels, groups)
    sizes = np.bincount(labels, minlength=len(classes))
    imbalance = float(sizes.max() / sizes.min())
    metric = "balanced_accuracy" if imbalance >= IMBALANCED else "accuracy"
    spare = raw.inputs.take(np.array(found.spare, dtype=np.int64)) if found.spare else None
    whole = TrainView(examples, classes, metric, spare)

    split: Split
    episodes: tuple[Episode, ...]
    if raw.sides is not None:
        split = "given"
        sides = np.array([raw.sides[i] for i in kept])
        episodes = (_episode("test", whole, np.flatnonzero(sides != "test"), np.flatnonzero(sides == "test")),)
        if "validation" in sides:
            view = replace(episodes[0].view, validation=sides[sides != "test"] == "validation")
            episodes = (replace(episodes[0], view=view),)
        everything = episodes[0].view
    else:
        sides = np.full(len(kept), "train", dtype="<U10")
        train, test = holdout(labels, test_fraction, seed=seed, groups=groups)
        tested = np.bincount(labels[test], minlength=len(classes))
        trained = np.bincount(labels[train], minlength=len(classes))
        if len(kept) < FEWEST_TO_SPLIT or tested.min() < FEWEST_TEST_PER_CLASS or trained.min() < 2:
            split, episodes, everything = "cross-fit", _cross_fit(whole, seed), whole
        else:
            split, episodes = "made", (_episode("test", whole, train, test),)
            everything = episodes[0].view
            sides[test] = "test"

    parts: tuple[Side, ...] = ("train", "validation", "test")
    counts: dict[str, dict[str, int]] = {
        name: {str(side): int(np.sum((labels == code) & (sides == side))) for side in parts}
        for name, code in codes.items()
    }
    hygiene = found.hygiene(counts, imbalance, split)
    return Target(raw.name, modality.name, classes, metric, split, episodes, everything, hygiene)


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: by value where all are numbers, else by name.

    >>> sort_classes(["10", "9"]), sort_classes(["b", "10", "a"]), sort_classes(["nan", "2", "1"])
    (('9', '10'), ('10', 'a', 'b'), ('1', '2', 'nan'))
    """
    names = sorted(names)
    try:
        values = {name: float(name) for name in names}
    except ValueError:
        return tuple(names)
    return tuple(names if any(map(math.isnan, values.values())) else sorted(names, key=values.__getitem__))


def _episode(name: str, whole: TrainView, train: NDArray[np.int64], test: NDArray[np.int64]) -> Episode:
    sealed = whole.examples.take(test)
    return Episode(name, whole.take(train), Seal(sealed.inputs, sealed.labels, sealed.groups))


def _cross_fit(whole: TrainView, seed: int) -> tuple[Episode, ...]:
    examples = whole.examples
    units = len(examples) if examples.groups is None else len(np.unique(examples.groups))
    k = min(CROSS_FIT_FOLDS, units)
    everyone = np.arange(len(examples))
    return tuple(
        _episode(f"r{repeat}f{fold}", whole, np.setdiff1d(everyone, test), test)
        for repeat in range(CROSS_FIT_REPEATS)
        # Seeds of different targets may be neighbours; repeats of one must still be different shuffles.
        for fold, test in enumerate(folds(examples.labels, k, seed=seed * 1000 + repeat, groups=examples.groups))
    )


class _Found:
    """What the records say about the data: which inputs are kept, and which are copies of one another."""

    def __init__(self, raw: Raw, records: Looked) -> None:
        self.raw, self.records, self.modality = raw, records, modality_of(raw.inputs)
        readable = [i for i in range(len(records)) if i not in records.errors]
        usable = [i for i in readable if raw.labels[i] is not None]
        self.unlabelled = [i for i, label in enumerate(raw.labels) if label is None]
        self.spare = [i for i in readable if raw.labels[i] is None and self.side(i) != "test"]

        copies: dict[str, list[int]] = defaultdict(list)
        for i in usable:
            copies[records.digests[i]].append(i)
        self.copies = [same for same in copies.values() if len(same) > 1]
        self.conflicting = [same for same in self.copies if len({raw.labels[i] for i in same}) > 1]
        labelled = np.array([label is not None for label in raw.labels])
        self.near, self.searched = self.modality.near_duplicates(records, labelled)

        left_out = {i for same in self.conflicting for i in same if self.side(i) != "test"}
        seen: set[tuple[str, Side, str | None]] = set()
        self.kept: list[int] = []
        self.repeated = 0
        for i in usable:
            if i in left_out:
                continue
            key = (records.digests[i], self.side(i), raw.labels[i])
            if key in seen:
                self.repeated += 1
            else:
                seen.add(key)
                self.kept.append(i)

    def side(self, i: int) -> Side:
        return self.raw.sides[i] if self.raw.sides is not None else "train"

    def groups(self, kept: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """(N,) group of each kept input: the user's groups, joined where they hold copies of one another."""
        parent = list(range(len(self.records)))

        def root(i: int) -> int:
            while parent[i] != i:
                parent[i] = parent[parent[i]]
                i = parent[i]
            return i

        links = [(same[0], other) for same in self.copies for other in same[1:]] + self.near
        first: dict[str, int] = {}
        for i, group in enumerate(self.raw.groups or ()):
            if group is not None:
                links.append((first.setdefault(group, i), i))
        for a, b in links:
            parent[root(b)] = root(a)
        roots = np.array([root(int(i)) for i in kept], dtype=np.int64)
        unique, groups = np.unique(roots, return_inverse=True)
        return None if len(unique) == len(kept) else groups.astype(np.int64)

    def across(self) -> list[tuple[int, int, str]]:
        """Pairs with a copy on each side of a given split."""
        pairs: list[tuple[int, int, str]] = []
        for same in self.copies:
            first: dict[Side, int] = {}
            for i in same:
                first.setdefault(self.side(i), i)
            one, *others = first.values()
            pairs.extend((one, other, "exact") for other in others)
        return pairs + [(a, b, "near") for a, b in self.near if self.side(a) != self.side(b)]

    def unreadable(self) -> tuple[tuple[str, str], ...]:
        reasons = [(self.raw.inputs.name(i), why) for i, why in sorted(self.records.errors.items())]
        return self.raw.unreadable + tuple(reasons)

    def hygiene(self, counts: dict[str, dict[str, int]], imbalance: float, split: Split) -> Hygiene:
        name = self.raw.inputs.name
        across = tuple((name(a), name(b), kind) for a, b, kind in self.across())
        unreadable = self.unreadable()
        said = [*self.raw.warnings, *self.records.notes()]
        if unreadable:
            reasons = listed([f"{who} {why}" for who, why in unreadable], 3)
            said.append(f"{plural(len(unreadable), 'input')} could not be read: {reasons}.")
        if self.unlabelled:
            said.append(f"{plural(len(self.unlabelled), 'input')} without a label: left out of training and judging.")
        if self.conflicting:
            total = sum(len(same) for same in self.conflicting)
            said.append(
                f"{plural(len(self.conflicting), self.modality.one)} under different labels: "
                f"none of the {total} copies is trained on. Correct the labels."
            )
        if self.repeated:
            said.append(f"{plural(self.repeated, 'exact copy', 'exact copies')} of other examples: left out.")
        if across:
            said.append(
                f"{plural(len(across), 'pair')} of copies across the given split: "
                "scores on the test split may be too good. Move the copies to one side."
            )
        elif self.near:
            said.append(f"{plural(len(self.near), 'pair')} of near-duplicates: kept on one side of every split.")
        if not self.searched:
            said.append(f"The {self.modality.many} are so alike that the search for near-duplicates was ended early.")
        if leaking := self._groups_across():
            said.append(f"{plural(len(leaking), 'group')} across the given split: {listed(leaking)}.")
        if imbalance >= IMBALANCED:
            said.append(
                f"The largest class has {imbalance:.1f} times as many examples as the smallest: "
                "balanced accuracy is the primary metric."
            )
        if split == "cross-fit":
            said.append(CROSS_FITTED)
        return Hygiene(
            unreadable=unreadable,
            ignored=self.raw.ignored,
            unlabelled=tuple(name(i) for i in self.unlabelled),
            exact_duplicates=tuple(tuple(name(i) for i in same) for same in self.copies),
            near_duplicates=tuple((name(a), name(b)) for a, b in self.near),
            across_splits=across,
            duplicates_were="reported" if split == "given" else "moved",
            conflicting=tuple(tuple(name(i) for i in same) for same in self.conflicting),
            counts=counts,
            imbalance=imbalance,
            warnings=tuple(said),
        )

    def _groups_across(self) -> list[str]:
        if self.raw.sides is None or self.raw.groups is None:
            return []
        sides: dict[str, set[Side]] = defaultdict(set)
        for i in self.kept:
            if (group := self.raw.groups[i]) is not None:
                sides[group].add(self.side(i))
        return sorted(group for group, where in sides.items() if len(where) > 1)


def _refuse(raw: Raw, found: _Found, classes: tuple[str, ...]) -> None:
    """Raise a TargetError with everything that makes the target impossible to judge."""
    problems: list[Problem] = []
    unreadable = found.unreadable()
    reasons = listed([f"{name} {why}" for name, why in unreadable], 3)
    if len(found.records.errors) == len(found.records):
        raise TargetError(
            Problem(
                f"none of the {len(found.records)} {found.modality.many} of {raw.name} can be read ({reasons})",
                found.modality.kinds,
                "open one of them in a viewer, and convert them if they are of another kind",
            )
        )
    if not classes:
        raise TargetError(
            Problem(f"none of the {len(found.records)} examples of {raw.name} has a label", "a label for every example")
        )
    if len(classes) == 1:
        problems.append(
            Problem(
                f"{raw.name} has a single class, {classes[0]!r}",
                "at least two classes to tell apart",
                "add a folder (or rows) with examples of another class",
            )
        )
    parts: dict[str, int] = {"": 2} if raw.sides is None else {"train": 2, "test": 1}
    for part, fewest in parts.items():
        usable = Counter(raw.labels[i] for i in found.kept if part in ("", found.side(i)))
        few = [f"{name} ({usable[name]})" for name in classes if usable[name] < fewest]
        if few:
            examples = f"usable {part} examples" if part else "usable examples"
            fewer = f"{len(few)} of {len(classes)} classes have fewer than {fewest} {examples}"
            left_out = f"; left out: {reasons}" if unreadable else ""
            problems.append(
                Problem(
                    f"{fewer}: {listed(few)}{left_out}",
                    f"at least {fewest} per class",
                    "add examples of these classes, or take the classes out",
                )
            )
    kept = np.array(found.kept, dtype=np.int64)
    groups = found.groups(kept) if raw.sides is None and not problems else None
    if groups is not None:
        held: dict[str | None, set[int]] = defaultdict(set)
        for i, group in zip(found.kept, groups.tolist(), strict=True):
            held[raw.labels[i]].add(group)
        lone = [name for name in classes if len(held[name]) == 1]
        if lone:
            problems.append(
                Problem(
                    f"all examples of {listed(lone)} belong to one group or are copies of one another",
                    "at least two groups of every class, so that one can be held out",
                    "add examples from another group, or take the classes out",
                )
            )
    if problems:
        raise TargetError(problems)
