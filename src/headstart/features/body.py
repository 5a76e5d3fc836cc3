"""Bodies: what turns an input into a vector. A Predictor is a body with a head on it.

Each body says what it computes and what that depends on (`parts`), so that the store can keep it, and what it needs to
be saved (`spec` and `tensors`), so that a predictor can be.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.features.preprocess import decoded
from headstart.source.card import Preprocessing
from headstart.target.inputs import Inputs

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("headstart")

Progress = Callable[[int, int], None]
Tensors = dict[str, NDArray[Any]]

BATCH = 16  # of handcrafted features
EXTRACTOR_VERSION = 2  # raise it when the same body would give other vectors


@dataclass(frozen=True)
class Forward:
    """What a body computed: `vectors` (N, D) float32, and the inputs that could not be read (NaN rows)."""

    vectors: NDArray[np.float32]
    unreadable: dict[int, str]


@dataclass(frozen=True)
class Part:
    """One of the things a body computes in one pass, kept under a space of its own.

    Args:
        name: of the output.
        space: what it depends on besides the example.
        shape: of one array.
        dtype: in which it is kept.
    """

    name: str
    space: dict[str, Any]
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def width(self) -> int:
        """Numbers in one array."""
        return int(np.prod(self.shape))


class Body(ABC):
    """Turns inputs into vectors of length `width`."""

    width: int
    modality: str = "image"
    """What the inputs are: the name of one of :data:`headstart.target.modality.MODALITIES`."""
    chunk: int = 256
    """Examples between two writes to the store: what a kill -9 can cost."""

    def prepare(self, count: int) -> None:  # noqa: B027 - most bodies have nothing to prepare
        """Load what is needed to compute `count` vectors, so that it is not counted as computing them."""

    @abstractmethod
    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """Vectors for the inputs at `index`, in that order; `progress(done, total)` is called now and then."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Plain JSON from which :func:`restore` builds the body, together with :meth:`tensors`."""

    def parts(self) -> list[Part]:
        """What it computes, in the order of the columns of its vectors; empty: nothing worth keeping."""
        return []

    def frozen(self) -> Body | None:
        """The part of it whose vectors are worth keeping, from which :meth:`finish` goes on; None: there is none."""
        return self if self.parts() else None

    def finish(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """From the vectors of :meth:`frozen` to its own."""
        return vectors

    def wider(self) -> Body:
        """What computes its parts, and in the same pass others that will soon be wanted."""
        return self

    @property
    def bodies(self) -> tuple[Body, ...]:
        """Those it is made of; itself where it is one."""
        return (self,)

    def portable(self) -> Body:
        """The same body with everything in it that a saved model needs."""
        return self

    def tensors(self) -> Tensors:
        """The weights, by name."""
        return {}

    def documents(self) -> dict[str, str]:
        """What it needs besides weights, as texts by file name: a tokenizer, a vocabulary."""
        return {}


class EmptyBody(Body):
    """Looks at nothing: vectors of width 0, for heads that need none (majority).

    Args:
        modality: of the inputs it does not look at.
    """

    width = 0

    def __init__(self, modality: str = "image") -> None:
        self.modality = modality

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """(N, 0)."""
        return Forward(np.zeros((len(index), 0), dtype=np.float32), {})

    def spec(self) -> dict[str, Any]:
        """The kind, and the modality where it is not that of pictures."""
        return {"kind": "empty"} | ({} if self.modality == "image" else {"modality": self.modality})


class PixelBody(Body):
    """A body over decoded pixels, in batches."""

    preprocessing: Preprocessing

    def _batch(self) -> int:
        return BATCH

    @abstractmethod
    def _start(self, pixels: NDArray[np.uint8], rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Begin computing (B, S, S, 3) uint8 into `vectors[rows]`."""

    def _finish(self) -> None:
        """Wait until everything begun has been written."""

    def _change(self, inputs: Inputs) -> Callable[[Image.Image, int], NDArray[np.uint8]] | None:
        """Picture and position to pixels; None: as the preprocessing says."""
        return None

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """Decodes in threads beside the computation; memory does not grow with N beyond the vectors."""
        index = np.asarray(index, dtype=np.int64)
        vectors = np.full((len(index), self.width), np.nan, dtype=np.float32)
        unreadable: dict[int, str] = {}
        rows: list[int] = []
        batch: list[NDArray[np.uint8]] = []
        size = self._batch()

        def flush() -> None:
            if batch:
                with profile.phase("forward"):
                    self._start(np.stack(batch), tuple(rows), vectors)
                rows.clear()
                batch.clear()

        with profile.phase("decode"):
            stream = decoded(inputs, self.preprocessing, index, ahead=max(32, 2 * size), change=self._change(inputs))
            for row, (i, pixels) in enumerate(stream):
                if isinstance(pixels, str):
                    unreadable[i] = pixels
                    continue
                rows.append(row)
                batch.append(pixels)
                if len(batch) == size:
                    flush()
                    if progress is not None:
                        progress(row + 1, len(index))
            flush()
        with profile.phase("forward"):
            self._finish()
        if progress is not None:
            progress(len(index), len(index))
        return Forward(vectors, unreadable)


class HandcraftedBody(PixelBody):
    """Features that nobody had to learn, for the classical baseline.

    Args:
        kind: `pixels`: the picture squashed to `size` x `size`, values in [0, 1], D = 3 size^2. `hog`: histograms of
            oriented gradients (Dalal & Triggs 2005; 9 orientations, 8 x 8 cells, 2 x 2 blocks) of the picture at
            `size` x `size`, with the square root of an 8-bin colour histogram per channel, because shape alone throws
            colour away.
        size: pixels.
    """

    def __init__(self, kind: str, size: int) -> None:
        if kind not in ("pixels", "hog"):
            raise ValueError(f"no handcrafted features called {kind!r}")
        self.kind, self.size = kind, size
        self.preprocessing = Preprocessing(size=size, squash=True, interpolation="bilinear")
        cells = size // 8
        self.width = 3 * size * size if kind == "pixels" else (cells - 1) ** 2 * 4 * 9 + 24

    def _start(self, pixels: NDArray[np.uint8], rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        """Computes at once."""
        if self.kind == "pixels":
            vectors[list(rows)] = (pixels.reshape(len(pixels), -1) / np.float32(255)).astype(np.float32)
        else:
            vectors[list(rows)] = np.stack([self._hog(picture) for picture in pixels])

    def _hog(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        from skimage.feature import hog

        shape = hog(picture, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1)
        colour = [np.bincount(picture[..., c].ravel() >> 5, minlength=8) / picture[..., c].size for c in range(3)]
        return np.concatenate([shape, np.sqrt(np.concatenate(colour))]).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        """Kind, features and size."""
        return {"kind": "handcrafted", "features": self.kind, "size": self.size}

    def parts(self) -> list[Part]:
        """As :meth:`spec`, with the extractor's version."""
        space = {**self.spec(), "extractor": EXTRACTOR_VERSION, "dtype": "float32"}
        return [Part(self.kind, space, (self.width,))]
