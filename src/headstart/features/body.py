"""Bodies: what turns an input into a vector. A Predictor is a body with a head on it.

Each body says what its vectors depend on (`space`), so that the store can keep them, and what it needs to be saved
(`spec` and `tensors`), so that a predictor can be.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.features import compiled
from headstart.features.preprocess import decoded, normalise
from headstart.source.card import Preprocessing, Source
from headstart.target.inputs import Inputs

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("headstart")

Progress = Callable[[int, int], None]

BATCH = 16  # small batches stay in the processor's cache: faster than 32 here, with half the memory
COMPILE_FROM = 64  # inputs; converting a network takes about as long as torch takes for these
EXTRACTOR_VERSION = 1  # raise it when the same body would give other vectors


@dataclass(frozen=True)
class Forward:
    """What a body computed: `vectors` (N, D) float32, and the inputs that could not be read (NaN rows)."""

    vectors: NDArray[np.float32]
    unreadable: dict[int, str]


class Body(ABC):
    """Turns inputs into vectors of length `width`."""

    width: int

    def prepare(self, count: int) -> None:  # noqa: B027 - most bodies have nothing to prepare
        """Load what is needed to compute `count` vectors, so that it is not counted as computing them."""

    @abstractmethod
    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """Vectors for the inputs at `index`, in that order; `progress(done, total)` is called now and then."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """Plain JSON from which :func:`restore` builds the body, together with :meth:`tensors`."""

    def space(self) -> dict[str, Any] | None:
        """What the vectors depend on besides the example; None: the vectors are not worth keeping."""
        return None

    def tensors(self) -> dict[str, Any]:
        """The weights, as torch tensors by name."""
        return {}


class EmptyBody(Body):
    """Looks at nothing: vectors of width 0, for heads that need none (majority)."""

    width = 0

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """(N, 0)."""
        return Forward(np.zeros((len(index), 0), dtype=np.float32), {})

    def spec(self) -> dict[str, Any]:
        """`{"kind": "empty"}`."""
        return {"kind": "empty"}


class _PixelBody(Body):
    """A body over decoded pixels, in batches."""

    preprocessing: Preprocessing

    @abstractmethod
    def forward(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 to (B, D)."""

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """Decodes in threads beside the computation; memory does not grow with N beyond the vectors."""
        index = np.asarray(index, dtype=np.int64)
        vectors = np.full((len(index), self.width), np.nan, dtype=np.float32)
        unreadable: dict[int, str] = {}
        rows: list[int] = []
        batch: list[NDArray[np.uint8]] = []

        def flush() -> None:
            if batch:
                vectors[rows] = self.forward(np.stack(batch))
                rows.clear()
                batch.clear()

        for row, (i, pixels) in enumerate(decoded(inputs, self.preprocessing, index, ahead=2 * BATCH)):
            if isinstance(pixels, str):
                unreadable[i] = pixels
                continue
            rows.append(row)
            batch.append(pixels)
            if len(batch) == BATCH:
                flush()
                if progress is not None:
                    progress(row + 1, len(index))
        flush()
        if progress is not None:
            progress(len(index), len(index))
        return Forward(vectors, unreadable)


class HandcraftedBody(_PixelBody):
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

    def forward(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 to (B, D)."""
        if self.kind == "pixels":
            return (pixels.reshape(len(pixels), -1) / np.float32(255)).astype(np.float32)
        return np.stack([self._hog(picture) for picture in pixels])

    def _hog(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        from skimage.feature import hog

        shape = hog(picture, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2), channel_axis=-1)
        colour = [np.bincount(picture[..., c].ravel() >> 5, minlength=8) / picture[..., c].size for c in range(3)]
        return np.concatenate([shape, np.sqrt(np.concatenate(colour))]).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        """Kind, features and size."""
        return {"kind": "handcrafted", "features": self.kind, "size": self.size}

    def space(self) -> dict[str, Any]:
        """As :meth:`spec`, with the extractor's version."""
        return {**self.spec(), "extractor": EXTRACTOR_VERSION, "dtype": "float32"}


class NetworkBody(_PixelBody):
    """The pooled output of a network without its classification head.

    Args:
        module: keeps timm's contract (see :class:`headstart.source.card.Source`).
        architecture: the name under which :func:`headstart.source.architecture.build` makes it again.
        preprocessing: how pictures become inputs.
        width: D.
        revision: digest of the weights; None: trained here, so its vectors are not kept.
        device: where it runs.
    """

    def __init__(
        self,
        module: Any,
        architecture: str,
        preprocessing: Preprocessing,
        width: int,
        revision: str | None = None,
        device: str = "cpu",
    ) -> None:
        self._module, self.architecture, self.preprocessing = module, architecture, preprocessing
        self.width, self.revision, self.device = width, revision, device
        self._ready: nn.Module | None = None
        self._compiled: compiled.Forward | None = None
        self._tried = False

    @classmethod
    def frozen(cls, source: Source, device: str = "cpu") -> NetworkBody:
        """The body of a source as it is. The network is only loaded when something must be computed."""
        card = source.card
        if card.preprocessing is None:
            raise TypeError(f"{card.name} has no network")
        return cls(source.module, card.architecture, card.preprocessing, card.features, source.revision(), device)

    @property
    def module(self) -> nn.Module:
        """The network, in evaluation mode on its device."""
        import torch
        from torch import nn

        if self._ready is None:
            module = self._module if isinstance(self._module, nn.Module) else self._module()
            module = module.eval().to(self.device)
            self._ready = module.to(memory_format=torch.channels_last)
        return self._ready

    def prepare(self, count: int) -> None:
        """Through OpenVINO where the network is already compiled or the inputs are many, else through torch."""
        if self._compiled is None and self.revision is not None and self.device == "cpu":
            folder = compiled.place(self.architecture, self.revision, self.preprocessing.size)
            if folder.is_dir():
                self._compiled = _loaded(folder)
            elif count >= COMPILE_FROM and not self._tried:
                self._tried = True
                self._compiled = compiled.convert(self.module, self.preprocessing.size, folder)
        if self._compiled is None:
            self.module  # noqa: B018 - loads it

    def forward(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 to (B, D)."""
        if self._compiled is not None:
            return self._compiled(normalise(pixels, self.preprocessing))
        import torch

        module: Any = self.module
        with torch.inference_mode():
            batch = torch.from_numpy(normalise(pixels, self.preprocessing))
            batch = batch.to(self.device, memory_format=torch.channels_last)
            pooled = module.forward_head(module.forward_features(batch), pre_logits=True)
        vectors: NDArray[np.float32] = pooled.float().cpu().numpy()
        return vectors

    def spec(self) -> dict[str, Any]:
        """Architecture, preprocessing, width and revision."""
        return {
            "kind": "network",
            "architecture": self.architecture,
            "preprocessing": self.preprocessing.to_json(),
            "width": self.width,
            "revision": self.revision,
        }

    def space(self) -> dict[str, Any] | None:
        """Architecture, preprocessing, revision, stage, dtype and the extractor's version."""
        if self.revision is None:
            return None
        return {
            **self.spec(),
            "stage": "pooled",
            "dtype": "float32",
            "extractor": EXTRACTOR_VERSION,
        }

    def tensors(self) -> dict[str, Any]:
        """The network's state dict, on the CPU."""
        return {key: value.detach().cpu() for key, value in self.module.state_dict().items()}


def _loaded(folder: Path) -> compiled.Forward | None:
    try:
        return compiled.load(folder)
    except Exception as error:  # a damaged cache must not stop anyone
        log.warning("the compiled network in %s cannot be read (%s); torch is used", folder, error)
        return None


def restore(spec: dict[str, Any], tensors: dict[str, Any]) -> Body:
    """The body that `spec` and `tensors` describe.

    Raises:
        headstart.errors.WeightsError: the tensors do not fit the architecture.
        ValueError: the kind of body is unknown.
    """
    if spec["kind"] == "empty":
        return EmptyBody()
    if spec["kind"] == "handcrafted":
        return HandcraftedBody(spec["features"], spec["size"])
    if spec["kind"] == "network":
        from headstart.source import architecture, weights

        module = architecture.build(spec["architecture"])
        weights.load(module, tensors, "the saved model")
        preprocessing = Preprocessing.from_json(spec["preprocessing"])
        return NetworkBody(module, spec["architecture"], preprocessing, spec["width"], spec["revision"])
    raise ValueError(f"no body of kind {spec['kind']!r}")
