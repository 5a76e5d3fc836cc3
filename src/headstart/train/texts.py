"""Batches of texts for training: token numbers, of texts that are about equally long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.errors import TrialError
from headstart.features.text import Words, padded
from headstart.target.inputs import texts_in
from headstart.target.unreadable import Unreadable
from headstart.target.view import Examples
from headstart.train.data import drawn, spans
from headstart.train.task import Batch

POOL = 32  # batches that are drawn together and then sorted by length
UNKNOWN = 1  # the number of the unknown word


class Texts:
    """Labelled texts as training and evaluation batches. Of a long text the first window is read.

    Args:
        examples: N labelled examples.
        words: the tokenizer.
        drop: share of the words that are unknown in a training batch: a network that may not count on any one word
            learns from several (word dropout, Iyyer et al. 2015).
        batch: texts per batch.
        device: where batches go.
        even: whether classes come equally often in training; see :func:`headstart.train.data.drawn`.

    Raises:
        TrialError: a text can no longer be read.
    """

    def __init__(
        self,
        examples: Examples,
        words: Words,
        drop: float = 0.0,
        *,
        batch: int = 32,
        device: str = "cpu",
        even: bool = False,
    ) -> None:
        inputs = texts_in(examples.inputs)
        self.drop, self.batch, self.device, self.labels = drop, batch, device, examples.labels
        self.even, self.longest = even, words.how.length
        try:
            texts = [inputs.text(i) for i in range(len(inputs))]
        except (Unreadable, OSError) as error:
            raise TrialError(f"a text can no longer be read: {error}") from error
        self.rows = [windows[0] for windows in words.windows(texts)]

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self) -> int:
        """Batches of one epoch."""
        return len(spans(len(self), self.batch))

    def training(self, seed: int) -> Iterator[Batch]:
        """One epoch in an order, and with words left out, drawn from `seed`."""
        rng = np.random.default_rng(seed)
        order = drawn(self.labels, self.even, rng)
        lengths = np.array([len(row) for row in self.rows])
        pool = POOL * self.batch
        order = np.concatenate(
            [part[np.argsort(lengths[part], kind="stable")] for part in np.split(order, range(pool, len(order), pool))]
        )
        parts = spans(len(self), self.batch)
        for at in rng.permutation(len(parts)):
            rows = order[slice(*parts[at])]
            yield self._batch(rows, self._inputs(rows, rng))

    def evaluation(self) -> Iterator[Batch]:
        """All texts in order, with all their words."""
        for start in range(0, len(self), self.batch):
            rows = np.arange(start, min(len(self), start + self.batch))
            yield self._batch(rows, self._inputs(rows))

    def balanced(self, steps: int, seed: int) -> Iterator[Batch]:
        """Batches in which every class has as many texts as any other, as far as there are so many.

        All texts in every batch where they fit into one. Else as many classes as can have two texts at least, the
        classes and the texts of each in turn, in an order drawn from `seed`; no text twice in a batch.

        Args:
            steps: how many batches.
            seed: of the orders.
        """
        if len(self) <= self.batch:
            rows = np.arange(len(self))
            whole = self._batch(rows, self._inputs(rows))
            yield from (whole for _ in range(steps))
            return
        rng = np.random.default_rng(seed)
        members = [np.flatnonzero(self.labels == c) for c in np.unique(self.labels)]
        each = max(2, self.batch // len(members))
        classes = _in_turn(np.arange(len(members)), self.batch // each, rng)
        texts = [_in_turn(rows, each, rng) for rows in members]
        for _ in range(steps):
            rows = np.concatenate([next(texts[c]) for c in next(classes)])
            yield self._batch(rows, self._inputs(rows))

    def _inputs(self, rows: NDArray[np.int64], rng: np.random.Generator | None = None) -> torch.Tensor:
        """What the network is given of some texts; with `rng`, in training."""
        numbers = padded([self.rows[i] for i in rows], self.longest)
        if rng is not None and self.drop:
            numbers[(numbers > UNKNOWN) & (rng.random(numbers.shape) < self.drop)] = UNKNOWN
        return torch.from_numpy(numbers.astype(np.int64))

    def _batch(self, rows: NDArray[np.int64], inputs: torch.Tensor) -> Batch:
        return inputs.to(self.device), torch.from_numpy(self.labels[rows]).to(self.device)


class CutTexts(Texts):
    """The same batches of the same texts, as values at a cut of the network: the prefix is never run again.

    A batch is (B, L, D) float32, with NaN where a text has ended.

    Args:
        texts: N texts; words are not left out.
        values: (L, D) float16 for each, L its tokens.
    """

    def __init__(self, texts: Texts, values: Sequence[NDArray[np.float16]]) -> None:
        self.labels, self.rows, self.longest = texts.labels, texts.rows, texts.longest
        self.drop, self.batch, self.device, self.even = 0.0, texts.batch, texts.device, texts.even
        self.values = values

    def _inputs(self, rows: NDArray[np.int64], rng: np.random.Generator | None = None) -> torch.Tensor:
        chosen = [self.values[i] for i in rows]
        inputs = np.full((len(rows), max(map(len, chosen)), chosen[0].shape[1]), np.nan, dtype=np.float32)
        for place, values in zip(inputs, chosen, strict=True):
            place[: len(values)] = values
        return torch.from_numpy(inputs)


def _in_turn(values: NDArray[np.int64], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """So many of the values at a time, none twice, in a drawn order, and then in another, without end."""
    size = min(size, len(values))
    while True:
        order = rng.permutation(values)
        yield from (order[start : start + size] for start in range(0, len(order) - size + 1, size))
