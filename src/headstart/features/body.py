"""Bodies: what turns an input into a vector. A Predictor is a body with a head on it.

Each body says what it computes and what that depends on (`parts`), so that the store can keep it, and what it needs to
be saved (`spec` and `tensors`), so that a predictor can be.
"""

from __future__ import annotations

import copy
import functools
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.features import compiled
from headstart.features.augment import Augmentation
from headstart.features.engine import MAP, POOLED, Engine, TorchEngine
from headstart.features.precision import BF16, F32, Precision, has_bf16
from headstart.features.preprocess import decoded
from headstart.source.card import Preprocessing, Source, Stage, beside, halfway
from headstart.target.inputs import Inputs

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

log = logging.getLogger("headstart")

Progress = Callable[[int, int], None]
Tensors = dict[str, NDArray[Any]]

BATCH = 16  # of handcrafted features
COMPILE_FROM = 64  # inputs; converting a network takes about as long as torch takes for these
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


class _PixelBody(Body):
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


@dataclass(frozen=True)
class View:
    """An augmented view: every picture changed once, at random, but always in the same way.

    Args:
        augmentation: how pictures are changed.
        number: which of the views; each is another draw.
    """

    augmentation: Augmentation
    number: int

    def change(self, inputs: Inputs, size: int) -> Callable[[Image.Image, int], NDArray[np.uint8]]:
        """The draw depends on the picture's content and the view alone, so that the result can be kept."""

        def one(image: Image.Image, i: int) -> NDArray[np.uint8]:
            seed = [int(inputs.digest(i)[:16], 16), self.number]
            return self.augmentation.apply(image, size, np.random.default_rng(seed))

        return one


class NetworkBody(_PixelBody):
    """The pooled output of a network without its classification head, or what it computes on the way there.

    Args:
        module: keeps timm's contract (see :class:`headstart.source.card.Source`), or a function that gives it.
        architecture: the name under which :func:`headstart.source.architecture.build` makes it again.
        preprocessing: how pictures become inputs.
        width: D, of the pooled output.
        revision: digest of the weights; None: trained here, so its vectors are not kept.
        device: where it runs.
        stages: where it can be cut.
        outputs: `pooled`, the name of a stage (the mean over its positions), or `STAGE:map` (its values as they are,
            kept in half precision). All are computed in one pass.
        view: compute an augmented view of each picture instead of the picture.
        tensors: its weights, where they are known without the module.
        digest: of weights that were trained here, by which the cache of compiled networks knows them.
        precision: of the arithmetic, `f32` or `bf16`; the latter where the processor has it, else `f32` stands in.
    """

    def __init__(
        self,
        module: Any,
        architecture: str,
        preprocessing: Preprocessing,
        width: int,
        revision: str | None = None,
        device: str = "cpu",
        *,
        stages: tuple[Stage, ...] = (),
        outputs: tuple[str, ...] = (POOLED,),
        view: View | None = None,
        tensors: Tensors | None = None,
        digest: str = "",
        precision: Precision = F32,
    ) -> None:
        self.precision: Precision = precision
        self._digest = revision or (f"trained:{digest}" if digest else None)
        self._module, self.architecture, self.preprocessing = module, architecture, preprocessing
        self._pooled, self.revision, self.device = width, revision, device
        self.stages, self.view, self._tensors = stages, view, tensors
        self._ready: nn.Module | None = None
        self._give(outputs)

    def _give(self, outputs: tuple[str, ...]) -> None:
        """Compute these outputs."""
        self.outputs = outputs
        shapes = {stage.name: stage.shape for stage in self.stages}
        self._shapes = [_shape(name, self._pooled, shapes) for name in outputs]
        self.widths = tuple(int(np.prod(shape)) for shape in self._shapes)
        ends = np.cumsum([0, *self.widths])
        self._columns = [slice(a, b) for a, b in itertools.pairwise(ends)]  # of the vectors, for each output
        self.width = int(ends[-1])
        self._engine: Engine | None = None
        self._scale = 0
        self._wide: NetworkBody | None = None

    def only(self, outputs: tuple[str, ...]) -> NetworkBody:
        """The same network with other outputs."""
        other = copy.copy(self)
        other._module = lambda: self.module  # loaded once for both
        other._give(outputs)
        return other

    def wider(self) -> Body:
        """With the means of the stages that a probe may take beside the pooled output, or alone."""
        if self.view is not None or any(name.endswith(MAP) for name in self.outputs):
            return self
        wanted = (*self.outputs, POOLED, *beside(self.stages, self._pooled), *halfway(self.stages))
        outputs = tuple(dict.fromkeys(wanted))
        if outputs == self.outputs:
            return self
        self._wide = self._wide or self.only(outputs)
        return self._wide

    @classmethod
    def of(
        cls,
        source: Source,
        device: str = "cpu",
        outputs: tuple[str, ...] = (POOLED,),
        view: View | None = None,
        precision: Precision = F32,
    ) -> NetworkBody:
        """The body of a source of pictures as it is. The network is only loaded when something must be computed."""
        card = source.card
        if not isinstance(card.preprocessing, Preprocessing):
            raise TypeError(f"{card.name} has no network for pictures")
        return cls(
            source.module,
            card.architecture,
            card.preprocessing,
            card.features,
            source.revision(),
            device,
            stages=card.stages,
            outputs=outputs,
            view=view,
            precision=precision,
        )

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
        # More inputs than before may be worth another engine: throughput instead of latency, or a conversion.
        scale = 1 + (count >= compiled.CompiledEngine.FEW) + (count >= COMPILE_FROM)
        if self._engine is not None and scale <= self._scale:
            return
        self._scale = scale
        folder = self.engine_folder()
        precision = self.computes_in
        if precision != self.precision and self.device == "cpu":
            log.warning(
                "features of this model are computed in %s where the processor has it; here %s is used, which takes "
                "longer and is no less exact",
                self.precision,
                precision,
            )
        if folder is not None:
            # Only a compiled network has bf16, and a handful of inputs must not have other features than many.
            if not folder.is_dir() and (count >= COMPILE_FROM or precision == BF16):
                names = tuple(stage.name for stage in self.stages)
                traced, kept = self._staged(names)
                state = self.tensors() if self._tensors is None else None  # a saved model has them already
                self._convert(traced, kept, folder, state)
            if folder.is_dir() and not compiled.refused(folder):
                try:
                    self._engine = _engine(folder, self.outputs, count < compiled.CompiledEngine.FEW, precision)
                    return
                except Exception as error:  # a damaged cache must not stop anyone
                    log.warning("the compiled network in %s cannot be read (%s); torch is used", folder, error)
        stages = tuple(dict.fromkeys(name.removesuffix(MAP) for name in self.outputs if name != POOLED))
        module, kept = self._staged(stages)
        if kept != stages:
            raise ValueError(f"{self.architecture} cannot be cut at {', '.join(stages)}")
        self._engine = self._eager(module, stages, count)

    @property
    def computes_in(self) -> Precision:
        """The precision of its features on this machine: f32 where the processor, or the network, cannot do bf16."""
        folder = self.engine_folder() if self.precision == BF16 else None
        return BF16 if folder is not None and has_bf16() and not compiled.refused(folder) else F32

    def engine_folder(self) -> Path | None:
        """Where the compiled network lies or would lie; None: torch is used."""
        if self._digest is None or self.device != "cpu":
            return None
        return compiled.place(self.architecture, f"{self._digest} {[s.name for s in self.stages]}", self.preprocessing)

    def _staged(self, stages: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
        """A module that gives `(pooled, *stages)`, and the stages it gives."""
        return _with_stages(self.module, stages)

    def _convert(self, module: Any, stages: tuple[str, ...], folder: Any, state: Tensors | None) -> None:
        """Compile into `folder`."""
        compiled.convert(module, stages, self.preprocessing, folder, state, self.architecture)

    def _eager(self, module: Any, stages: tuple[str, ...], count: int) -> Engine:
        """The engine that runs `module` in torch."""
        return TorchEngine(module, stages, self.outputs, self.preprocessing, self.device, count)

    def _batch(self) -> int:
        if self._engine is None:
            self.prepare(1)
        assert self._engine is not None
        return self._engine.batch

    def _start(self, pixels: NDArray[Any], rows: Sequence[int], vectors: NDArray[np.float32]) -> None:
        assert self._engine is not None
        self._engine.start(pixels, list(rows), [vectors[:, columns] for columns in self._columns])

    def _finish(self) -> None:
        assert self._engine is not None
        self._engine.finish()

    def _change(self, inputs: Inputs) -> Callable[[Image.Image, int], NDArray[np.uint8]] | None:
        return None if self.view is None else self.view.change(inputs, self.preprocessing.size)

    def spec(self) -> dict[str, Any]:
        """Architecture, preprocessing, width, revision, and where it can be cut."""
        return {
            "kind": "network",
            "architecture": self.architecture,
            "preprocessing": self.preprocessing.to_json(),
            "width": self._pooled,
            "revision": self.revision,
            "stages": [[stage.name, list(stage.shape), stage.flops] for stage in self.stages],
            "outputs": list(self.outputs),
        } | ({} if self.precision == F32 else {"precision": self.precision})

    def _common(self) -> dict[str, Any]:
        """What the values of all outputs depend on."""
        apart = ("stages", "width", "outputs", "precision")
        common = {key: value for key, value in self.spec().items() if key not in apart}
        if self.device != "cpu":
            common["device"] = self.device.partition(":")[0]  # bf16 there
        elif self.computes_in != F32:
            common["precision"] = self.computes_in
        return common

    def parts(self) -> list[Part]:
        """Architecture, preprocessing, revision, precision, output, dtype, augmented view, the extractor's version."""
        if self.revision is None:
            return []
        common = self._common()
        if self.view is not None:
            common |= {"augmentation": asdict(self.view.augmentation), "view": self.view.number}
        parts = []
        for name, shape in zip(self.outputs, self._shapes, strict=True):
            dtype = "float16" if name.endswith(MAP) else "float32"
            space = {**common, "stage": name, "dtype": dtype, "extractor": EXTRACTOR_VERSION}
            parts.append(Part(name, space, shape, dtype))
        return parts

    def tensors(self) -> Tensors:
        """The network's state dict as arrays, from where it is known without loading the network, if it is."""
        if self._tensors is None:
            folder = self.engine_folder() if self._ready is None else None
            try:
                self._tensors = compiled.weights(folder) if folder is not None else None
            except OSError:
                self._tensors = None
        if self._tensors is None:
            state = self.module.state_dict()
            return {key: np.array(value.detach().cpu().numpy(), order="C") for key, value in state.items()}
        return self._tensors


class CutBody(Body):
    """A network in two parts: a frozen prefix, whose values are kept, and a tail that was trained here.

    Args:
        prefix: gives one output, `STAGE:map`.
        tail: from those values to pooled features, a torch module.
        whole: prefix and tail as one network.
    """

    BATCH = 64

    def __init__(self, prefix: NetworkBody, tail: nn.Module, whole: NetworkBody) -> None:
        self.prefix, self.tail, self.whole = prefix, tail, whole
        self.width = whole.width

    def prepare(self, count: int) -> None:
        """Of the prefix."""
        self.prefix.prepare(count)

    def compute(self, inputs: Inputs, index: NDArray[np.int64], progress: Progress | None = None) -> Forward:
        """Prefix, then tail."""
        forward = self.prefix.compute(inputs, index, progress)
        return Forward(self.finish(forward.vectors), forward.unreadable)

    def frozen(self) -> Body:
        """The prefix."""
        return self.prefix

    def finish(self, vectors: NDArray[Any]) -> NDArray[np.float32]:
        """(N, numbers at the cut) to (N, D)."""
        import torch

        out = np.empty((len(vectors), self.width), dtype=np.float32)
        shape = self.prefix.parts()[0].shape
        device = next(self.tail.parameters()).device
        with torch.inference_mode(), profile.phase("forward"):
            for start in range(0, len(vectors), self.BATCH):
                values = np.asarray(vectors[start : start + self.BATCH], dtype=np.float32)
                batch = torch.from_numpy(values.reshape(-1, *shape)).to(device)
                out[start : start + self.BATCH] = self.tail(batch).float().cpu().numpy()
        return out

    def portable(self) -> Body:
        """The whole network."""
        return self.whole

    def spec(self) -> dict[str, Any]:
        """Of the whole network."""
        return self.whole.spec()

    def tensors(self) -> Tensors:
        """Of the whole network."""
        return self.whole.tensors()


def _shape(output: str, pooled: int, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    if output == POOLED:
        return (pooled,)
    shape = shapes[output.removesuffix(MAP)]
    if output.endswith(MAP):
        return shape
    return (shape[0] if len(shape) == 3 else shape[-1],)


def _with_stages(module: nn.Module, stages: tuple[str, ...]) -> tuple[Any, tuple[str, ...]]:
    """A module that gives `(pooled, *stages)`, and the stages it gives: none where the network cannot be traced."""
    from headstart.source import cuts

    traced = cuts.trace(module)
    if traced is None or not set(stages) <= traced.cuts.keys():
        return cuts.Pooled(module).eval(), ()
    return traced.with_stages(stages), stages


@functools.lru_cache(maxsize=2)  # each holds some 100 MiB
def _engine(folder: Any, outputs: tuple[str, ...], few: bool, precision: Precision) -> Engine:
    """Compiled networks are shared by all bodies of a process."""
    return compiled.CompiledEngine(folder, outputs, 1 if few else 1_000, precision)
