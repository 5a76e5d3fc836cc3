"""Values at every token: what the frozen lower stages of a text encoder compute, kept to train the upper ones from.

Texts differ in length, and an array of the store does not: texts whose first window is padded to the same length share
a space, so that each takes as many rows as it has tokens, and at most `STEP - 1` more.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.features.body import Body, Forward, Part, Progress
from headstart.features.engine import MAP
from headstart.features.text import STEP, TextBody, Words, padded, tokenizer_of
from headstart.source.card import Source, Tokens
from headstart.target.inputs import Inputs, texts_in

BATCH = 1_024  # tokens that are computed at a time
Values = Callable[[Body, Inputs], dict[str, NDArray[Any]]]
"""What a body computes of inputs, by name, from the store where that has it."""


def token_values(
    source: Source, inputs: Inputs, cut: str, device: str, values: Values, lengths: list[int]
) -> list[NDArray[np.float16]]:
    """The values at the end of a stage, for each text (L, D) float16: those of its first window.

    Args:
        source: of texts, whose network can be resumed there.
        inputs: N texts.
        cut: the stage.
        device: where it is computed.
        values: computes a body on inputs, or recalls it.
        lengths: L of each text, padding not counted.
    """
    load = functools.cache(lambda: source.module().eval().to(device))
    whole = TextBody.of_text(source, device, (cut,))
    words = Words(tokenizer_of(source), whole.tokens)
    rounded = np.array([_rounded(length, whole.tokens) for length in lengths])
    found: list[Any] = [None] * len(lengths)
    for length in np.unique(rounded):
        rows = np.flatnonzero(rounded == length)
        body = _OneLength(load, words, whole.parts()[0], cut, int(length))
        arrays = values(body, inputs.take(rows))[cut + MAP].reshape(len(rows), int(length), -1)
        for row, array in zip(rows, arrays, strict=True):
            found[row] = array[: lengths[row]]
    return found


def _rounded(length: int, how: Tokens) -> int:
    return min(-(-length // STEP) * STEP, max(how.length, length))


class _OneLength(Body):
    """Values of texts that are padded to one length; what stands in padding means nothing.

    Args:
        load: gives the network.
        words: its tokenizer.
        pooled: the part that is the mean of these values, by which the store knows the network.
        cut: the stage.
        length: tokens.
    """

    modality = "text"

    def __init__(self, load: Callable[[], Any], words: Words, pooled: Part, cut: str, length: int) -> None:
        self.load, self.words, self.pooled, self.cut, self.length = load, words, pooled, cut, length
        self.shape = (length, pooled.width)
        self.width = length * pooled.width

    def prepare(self, count: int) -> None:
        """Load the network."""
        self.load()

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """As far as the cut, in torch."""
        import torch

        network, texts = self.load(), texts_in(inputs)
        rows = [windows[0] for windows in self.words.windows([texts.text(int(i)) for i in index])]
        out = np.empty((len(rows), self.width), dtype=np.float32)
        size = max(1, BATCH // self.length)
        device = next(network.parameters()).device
        for start in range(0, len(rows), size):
            numbers = padded([*rows[start : start + size], np.zeros(self.length, dtype=np.int32)], self.length)[:-1]
            with torch.inference_mode():
                values, _ = network.read_to(torch.from_numpy(numbers.astype(np.int64)).to(device), self.cut)
            out[start : start + size] = values.float().cpu().numpy().reshape(len(numbers), -1)
            if progress is not None:
                progress(min(start + size, len(rows)), len(rows))
        return Forward(out, {})

    def spec(self) -> dict[str, Any]:
        """It is never part of a saved model."""
        raise NotImplementedError("values at tokens are made for training, not for predictors")

    def parts(self) -> list[Part]:
        """Those of the pooled values, at every token and of one length."""
        space = {**self.pooled.space, "stage": self.cut + MAP, "tokens at": self.length, "dtype": "float16"}
        return [Part(self.cut + MAP, space, self.shape, "float16")]
