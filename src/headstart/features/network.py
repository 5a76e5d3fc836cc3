"""Networks as bodies: pictures to pooled features, to the values of stages, or from a cut on."""

from __future__ import annotations

import copy
import functools
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import profile
from headstart.features import compiled
from headstart.features.augment import Augmentation
from headstart.features.body import EXTRACTOR_VERSION, Body, Forward, Part, PixelBody, Progress, Tensors
from headstart.features.engine import MAP, POOLED, Engine, TorchEngine
from headstart.features.precision import BF16, F32, Precision, has_bf16
from headstart.source.card import Preprocessing, Source, Stage, beside, halfway
from headstart.target.inputs import Inputs

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

log = logging.getLogger("headstart")

COMPILE_FROM = 64  # inputs; converting a network takes about as long as torch takes for these


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


class NetworkBody(PixelBody):
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

    traced = cuts.trace(module) if stages else None  # a toy network is traced for longer than it runs
    if traced is None or not set(stages) <= traced.cuts.keys():
        return cuts.Pooled(module).eval(), ()
    return traced.with_stages(stages), stages


@functools.lru_cache(maxsize=2)  # each holds some 100 MiB
def _engine(folder: Any, outputs: tuple[str, ...], few: bool, precision: Precision) -> Engine:
    """Compiled networks are shared by all bodies of a process."""
    return compiled.CompiledEngine(folder, outputs, 1 if few else 1_000, precision)
