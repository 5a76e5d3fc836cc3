"""Batches of pictures for training: decoded once where they fit in memory, augmented anew every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.errors import TrialError
from headstart.features.preprocess import decoded, normalise
from headstart.source.card import Preprocessing
from headstart.target.view import Examples
from headstart.train.task import Batch

KEPT_BYTES = 256 * 2**20  # decoded pictures kept in memory; beyond it they are decoded again every epoch


@dataclass(frozen=True)
class Augmentation:
    """Random changes that leave the class as it is.

    Args:
        crop: smallest share of the picture's area that a random crop keeps (1: no crop).
        flip: mirror half of the pictures left to right (wrong for digits and letters).
        colour: strength of brightness, contrast and saturation changes.
    """

    crop: float = 1.0
    flip: bool = False
    colour: float = 0.0

    def transform(self, size: int) -> Any:
        """The torchvision transform of one (3, S', S') uint8 picture to (3, size, size)."""
        from torchvision.transforms import v2

        steps: list[Any] = []
        if self.crop < 1:
            steps.append(v2.RandomResizedCrop(size, scale=(self.crop, 1.0), ratio=(0.8, 1.25), antialias=True))
        else:
            steps.append(v2.CenterCrop(size))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        if self.colour:
            steps.append(v2.ColorJitter(self.colour, self.colour, self.colour))
        return v2.Compose(steps)


class Pictures:
    """Labelled pictures as training and evaluation batches.

    Args:
        examples: N labelled examples.
        how: the network's preprocessing.
        augmentation: for training batches.
        batch: pictures per batch.
        device: where batches go.
    """

    def __init__(
        self,
        examples: Examples,
        how: Preprocessing,
        augmentation: Augmentation | None = None,
        *,
        batch: int = 32,
        device: str = "cpu",
    ) -> None:
        self.examples, self.how, self.augmentation = examples, how, augmentation
        self.batch, self.device = batch, device
        # With random crops the picture is kept somewhat larger than the network's input, so that crops lose nothing.
        crops = augmentation is not None and augmentation.crop < 1
        self._kept_how = replace(how, size=round(how.size / how.crop), crop=1.0) if crops and not how.squash else how
        self._kept: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def cuts(self) -> list[int]:
        """Where each training batch begins. A last batch of one breaks batch norm; it joins the batch before."""
        cuts = list(range(0, len(self), self.batch))
        if len(cuts) > 1 and len(self) - cuts[-1] == 1:
            cuts.pop()
        return cuts

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
        """One epoch in an order and with an augmentation drawn from `seed` (uses torch's global random state)."""
        order = np.random.default_rng(seed).permutation(len(self))
        cuts = self.cuts()
        change = self.augmentation.transform(self.how.size) if self.augmentation is not None else None
        stream = self._pictures(order)
        for start, stop in zip(cuts, [*cuts[1:], len(order)], strict=True):
            rows = [next(stream) for _ in range(stop - start)]
            pixels = np.stack([picture for _, picture in rows])
            if change is not None:
                raw = torch.from_numpy(pixels).permute(0, 3, 1, 2)
                pixels = torch.stack([change(picture) for picture in raw]).permute(0, 2, 3, 1).numpy()
            yield self._batch(pixels, [i for i, _ in rows])

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
