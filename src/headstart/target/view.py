"""What a strategy may see: labelled training examples and unlabelled inputs, never the test labels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from headstart.target.describe import Descriptions, telling
from headstart.target.inputs import Index, Inputs
from headstart.target.split import folds, stratified_sample

FOLDS = 5


@dataclass(frozen=True)
class Examples:
    """Labelled examples.

    Args:
        inputs: N inputs.
        labels: (N,) int64, positions in the target's `classes`.
        groups: (N,) int64 or None; examples of one group never stand on both sides of a split.
        origin: (N,) int64 or None; of which source domain each is, where there are several.
    """

    inputs: Inputs
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    origin: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Index) -> Examples:
        """The examples at `index`, in that order."""
        rows = np.asarray(index, dtype=np.int64)
        groups, origin = (None if of is None else of[rows] for of in (self.groups, self.origin))
        return Examples(self.inputs.take(rows), self.labels[rows], groups, origin)


@dataclass(frozen=True)
class TrainView:
    """What a strategy may see of a target.

    Args:
        examples: the labelled training examples.
        classes: the names of the classes; `examples.labels` are positions in it.
        metric: the primary metric, `accuracy` or `balanced_accuracy`.
        unlabelled: inputs without labels from the same domain (may be empty).
        validation: (N,) bool, True where a validation split was given by the user; None: none was given, and folds
            are drawn. A given validation split is used to choose and to calibrate, never to train on.
        descriptions: for each class what the user said of it, in sentences; empty: nothing.
        few: labelled examples of the target domain, where `examples` are of source domains; None: there are none.
        intermediate: inputs of domains between those of `examples` and the target, the one nearest to `examples` first.
    """

    examples: Examples
    classes: tuple[str, ...]
    metric: str
    unlabelled: Inputs | None = None
    validation: NDArray[np.bool_] | None = field(default=None)
    descriptions: Descriptions = ()
    few: Examples | None = None
    intermediate: tuple[Inputs, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def modality(self) -> str:
        """What the examples are made of: `image` or `text`."""
        return self.examples.inputs.modality

    def wordless(self) -> list[str]:
        """The classes of which nothing is said: no description, and a name without a word in it."""
        said = self.descriptions or ((),) * len(self.classes)
        return [name for name, sentences in zip(self.classes, said, strict=True) if not sentences and not telling(name)]

    def take(self, index: Index) -> TrainView:
        """The view restricted to the labelled examples at `index`, without a given validation split."""
        return replace(self, examples=self.examples.take(index), validation=None)

    def training(self) -> TrainView:
        """All the labelled examples that may be trained on."""
        return self if self.validation is None else self.take(np.flatnonzero(~self.validation))

    def fold_index(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions to train on and to validate on for `seed`: fold `seed % 5` of a stratified, grouped 5-fold split.

        Seeds 0 to 4, 5 to 9 and so on validate every example once. A given validation split is the same for every
        seed. With fewer than five groups (or examples) there are as many folds as groups, used in turn.

        Raises:
            ValueError: all examples are in one group, or there is only one.
        """
        if self.validation is not None:
            return np.flatnonzero(~self.validation), np.flatnonzero(self.validation)
        groups = self.examples.groups
        units = len(self) if groups is None else len(np.unique(groups))
        # One shuffle serves five consecutive seeds, so that their folds do not overlap.
        parts = folds(self.examples.labels, min(FOLDS, units), seed=seed // FOLDS, groups=groups)
        held = parts[seed % FOLDS % len(parts)]
        mask = np.ones(len(self), dtype=bool)
        mask[held] = False
        return np.flatnonzero(mask), held

    def fold(self, seed: int) -> tuple[TrainView, Examples]:
        """The view without the validation examples of `seed`, and those examples."""
        train, held = self.fold_index(seed)
        return self.take(train), self.examples.take(held)

    def sample(self, size: int, seed: int) -> TrainView:
        """A stratified sample of `size` of the labelled examples (all of them where `size` is larger)."""
        return self if size >= len(self) else self.take(stratified_sample(self.examples.labels, size, seed=seed))

    def fewer(self, each: int, seed: int) -> TrainView:
        """The view with `each` of each class of its labelled target examples; what few draw, more draw too."""
        if self.few is None:
            return self
        order = np.random.default_rng(seed).permutation(len(self.few))
        labels = self.few.labels[order]
        rows = [order[labels == c][:each] for c in range(len(self.classes))]
        kept = np.sort(np.concatenate(rows))
        return replace(self, few=self.few.take(kept) if len(kept) else None)

    def rest(self, size: int, seed: int, most: int) -> Examples:
        """What :meth:`sample` leaves out, `most` of it at most, without examples of groups that it has."""
        chosen = stratified_sample(self.examples.labels, size, seed=seed)
        out = np.setdiff1d(np.arange(len(self)), chosen)
        if self.examples.groups is not None:
            out = out[~np.isin(self.examples.groups[out], self.examples.groups[chosen])]
        if len(out) > most:
            out = np.sort(np.random.default_rng(seed).permutation(out)[:most])
        return self.examples.take(out)
