"""Batches for training: of pictures, decoded once where they fit in memory, or of values at a cut of a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from headstart.errors import TrialError
from headstart.features.augment import Augmentation
from headstart.features.preprocess import decoded, normalise
from headstart.source.card import Preprocessing
from headstart.target.view import Examples
from headstart.train.task import Batch

KEPT_BYTES = 256 * 2**20  # decoded pictures kept in memory; beyond it they are decoded again every epoch


class Batches(Protocol):
    """What the training loop is fed with."""

    def __len__(self) -> int: ...

    def training(self, seed: int) -> Iterator[Batch]:
        """One epoch in an order and with an augmentation drawn from `seed`."""
        ...

    def evaluation(self) -> Iterator[Batch]:
        """Everything in order, as it is."""
        ...

    def steps(self) -> int:
        """Batches of one epoch of training."""
        ...


def spans(count: int, batch: int) -> list[tuple[int, int]]:
    """Where each training batch begins and ends. A last batch of one breaks batch norm; it joins the batch before."""
    starts = list(range(0, count, batch))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def drawn(labels: NDArray[np.int64], even: bool, rng: np.random.Generator) -> NDArray[np.int64]:
    """The order of one epoch: every example once; or, `even`, every class equally often.

    Then there are still N examples (to within one per class): those of small classes come several times, each as
    often as any other of its class, to within one; of large classes each epoch takes a part.

    Args:
        labels: (N,) int64.
        even: whether classes come equally often.
        rng: draws.
    """
    if not even:
        return rng.permutation(len(labels))
    present = np.unique(labels)
    each = -(-len(labels) // len(present))
    rows = []
    for c in present:
        members = np.flatnonzero(labels == c)
        turns = [rng.permutation(members) for _ in range(-(-each // len(members)))]
        rows.append(np.concatenate(turns)[:each])
    return rng.permutation(np.concatenate(rows))[: len(labels)]


class CutValues:
    """Labelled values at a cut of a network, several augmented views of each example: the prefix is never run again.

    Args:
        views: (N, numbers) float16 each; every epoch draws one for each example.
        plain: (N, numbers) float16 without augmentation.
        shape: of the values of one example.
        labels: (N,) int64.
        batch: examples per batch.
        device: where batches go.
        even: whether classes come equally often in training; see :func:`drawn`.
    """

    def __init__(
        self,
        views: list[NDArray[np.float16]],
        plain: NDArray[np.float16],
        shape: tuple[int, ...],
        labels: NDArray[np.int64],
        *,
        batch: int,
        device: str = "cpu",
        even: bool = False,
    ) -> None:
        self.views, self.plain, self.shape, self.labels = views or [plain], plain, shape, labels
        self.batch, self.device, self.even = batch, device, even

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self) -> int:
        """Batches of one epoch."""
        return len(spans(len(self), self.batch))

    def training(self, seed: int) -> Iterator[Batch]:
        """One epoch in an order and with views drawn from `seed`."""
        rng = np.random.default_rng(seed)
        order, view = drawn(self.labels, self.even, rng), rng.integers(len(self.views), size=len(self))
        for start, stop in spans(len(self), self.batch):
            rows = order[start:stop]
            values = np.stack([self.views[v][i] for v, i in zip(view[start:stop], rows, strict=True)])
            yield self._batch(values, rows)

    def evaluation(self) -> Iterator[Batch]:
        """All examples in order, without augmentation."""
        for start in range(0, len(self), self.batch):
            rows = np.arange(start, min(len(self), start + self.batch))
            yield self._batch(self.plain[rows], rows)

    def _batch(self, values: NDArray[np.float16], rows: NDArray[np.int64]) -> Batch:
        inputs = torch.from_numpy(values.astype(np.float32).reshape(-1, *self.shape)).to(self.device)
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return inputs, torch.from_numpy(self.labels[rows]).to(self.device)


class Pictures:
    """Labelled pictures as training and evaluation batches.

    Args:
        examples: N labelled examples.
        how: the network's preprocessing.
        augmentation: for training batches.
        batch: pictures per batch.
        device: where batches go.
        even: whether classes come equally often in training; see :func:`drawn`.
    """

    def __init__(
        self,
        examples: Examples,
        how: Preprocessing,
        augmentation: Augmentation | None = None,
        *,
        batch: int = 32,
        device: str = "cpu",
        even: bool = False,
    ) -> None:
        self.examples, self.how, self.augmentation = examples, how, augmentation
        self.batch, self.device, self.even = batch, device, even
        # With random crops the picture is kept somewhat larger than the network's input, so that crops lose nothing.
        crops = augmentation is not None and augmentation.crop < 1
        self._kept_how = replace(how, size=round(how.size / how.crop), crop=1.0) if crops and not how.squash else how
        self._kept: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def steps(self) -> int:
        """Batches of one epoch."""
        return len(spans(len(self), self.batch))

    def _pictures(self, index: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        if self._kept is not None:
            for i in index:
                yield int(i), self._kept[i]
            return
        size = self._kept_how.size
        if len(self) * size * size * 3 <= KEPT_BYTES:
            kept = np.empty((len(self), size, size, 3), dtype=np.uint8)
            for i, pixels in self._decoded(np.arange(len(self))):
                kept[i] = pixels
            self._kept = kept
            yield from self._pictures(index)
            return
        yield from self._decoded(index)

    def _decoded(self, index: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for i, pixels in decoded(self.examples.inputs, self._kept_how, index):
            if isinstance(pixels, str):
                raise TrialError(f"{self.examples.inputs.name(i)} can no longer be read: {pixels}")
            yield i, pixels

    def training(self, seed: int) -> Iterator[Batch]:
        """One epoch in an order and with an augmentation drawn from `seed`."""
        rng = np.random.default_rng(seed)
        order = drawn(self.examples.labels, self.even, rng)
        stream = self._pictures(order)
        for start, stop in spans(len(self), self.batch):
            rows = [next(stream) for _ in range(stop - start)]
            pictures = [picture for _, picture in rows]
            if (change := self.augmentation) is not None:
                pictures = [change.apply(Image.fromarray(p), self.how.size, rng) for p in pictures]
            yield self._batch(np.stack(pictures), [i for i, _ in rows])

    def evaluation(self) -> Iterator[Batch]:
        """All pictures in order, without augmentation."""
        plain = Pictures(self.examples, self.how, None, batch=self.batch, device=self.device)
        index = np.arange(len(self))
        for start in range(0, len(self), self.batch):
            rows = list(plain._decoded(index[start : start + self.batch]))
            yield self._batch(np.stack([picture for _, picture in rows]), [i for i, _ in rows])

    def _batch(self, pixels: NDArray[np.uint8], rows: list[int]) -> Batch:
        inputs = torch.from_numpy(normalise(pixels, self.how)).to(self.device, memory_format=torch.channels_last)
        return inputs, torch.from_numpy(self.examples.labels[rows]).to(self.device)
