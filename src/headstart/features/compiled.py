"""Compiled networks: the frozen forward pass through OpenVINO, several times faster than eager torch on a CPU.

The converted network is kept in the cache under a digest of everything it depends on, so that it is converted once
per machine. Before it is first used its outputs are compared with torch's; where they differ, or where conversion
fails, torch is used, the reason is said, and it is remembered, so that it is not tried again by every process.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import machine
from headstart.features.engine import MAP, POOLED, Engine
from headstart.features.precision import F32, Precision
from headstart.features.preprocess import normalise
from headstart.files import cache_directory, new_directory
from headstart.source.card import Preprocessing

log = logging.getLogger("headstart")

TOLERANCE = 1e-3  # largest difference from torch, relative to the largest output
VERSION = 3  # of what lies in a folder
BATCHES = (1, 2, 4, 8, 16, 32)  # tried once per network and machine, upwards, until they bring nothing
_MODEL, _ABOUT, _WEIGHTS = "network.xml", "about.json", "weights.safetensors"


def place(architecture: str, revision: str, how: Preprocessing | None) -> Path:
    """The folder of the cache where the converted network lies, or would lie; `how` is what becomes part of it."""
    inside = [how.size, how.mean, how.std] if how is not None else ["tokens"]
    state = json.dumps([architecture, revision, *inside, metadata.version("openvino"), machine.features(), VERSION])
    return cache_directory() / "compiled" / hashlib.sha256(state.encode()).hexdigest()[:32]


def refused(folder: Path) -> bool:
    """Whether this network was found not to be convertible."""
    try:
        return bool(json.loads((folder / _ABOUT).read_text(encoding="utf-8")).get("refused"))
    except (OSError, ValueError):
        return False


@functools.lru_cache(maxsize=2)
def weights(folder: Path) -> dict[str, NDArray[Any]]:
    """The tensors of the network as it was converted, without torch; every trial on a source asks for the same.

    Raises:
        OSError: they were not kept.
    """
    from safetensors.numpy import load_file

    return dict(load_file(folder / _WEIGHTS))


class CompiledEngine(Engine):
    """A converted network in OpenVINO's throughput mode: as many requests at once as the machine is best at.

    Args:
        folder: of the converted network.
        outputs: see :class:`Engine`; the network computes nothing that they do not need.
        count: how many pictures will come; for a handful the latency of one batch matters, not the throughput.
        precision: of the arithmetic.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged (OpenVINO itself would not notice a changed weight), or has no such stage.
    """

    FEW = 8

    def __init__(
        self, folder: Path, outputs: tuple[str, ...] = (POOLED,), count: int = 1_000, precision: Precision = F32
    ) -> None:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        if about["sha256"] != _digest(folder):
            raise ValueError("its digest is another")
        openvino = _openvino()
        from openvino import opset13 as ops

        core = openvino.Core()
        model = core.read_model(folder / _MODEL)
        by_name = dict(zip([POOLED, *about["stages"]], model.outputs, strict=True))
        wanted = []
        for name in outputs:
            if (stage := name.removesuffix(MAP)) not in by_name:
                raise ValueError(f"no stage {stage}")
            node = by_name[stage].get_node().input_value(0)
            if name != POOLED and not name.endswith(MAP):
                rank = len(node.get_partial_shape())
                axes = {4: [2, 3], 3: [1]}.get(rank)
                node = ops.reduce_mean(node, np.array(axes), keep_dims=False).output(0) if axes else node
            wanted.append(ops.result(node))
        # Always said: on processors with bf16 arithmetic OpenVINO would otherwise round to it, and say nothing.
        settings = {
            "PERFORMANCE_HINT": "LATENCY" if count < self.FEW else "THROUGHPUT",
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(openvino.Model(wanted, model.get_parameters()), "CPU", settings)
        requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self.outputs, self.batch = outputs, int(about.get("batch", 4))
        # No AsyncInferQueue: its threads drop the callback when they please, for which they need Python, and where
        # Python is at its end by then they take the process down.
        number = requests if count < self.FEW else requests + 1
        self._requests = [compiled.create_infer_request() for _ in range(number)]
        self._pending: deque[tuple[Any, Sequence[int], Sequence[NDArray[np.float32]]]] = deque()

    def start(self, pixels: NDArray[Any], rows: Sequence[int], into: Sequence[NDArray[np.float32]]) -> None:
        """Waits only while as many batches are under way as the machine is best at."""
        if len(self._pending) == len(self._requests):
            self._take()
        busy = [id(request) for request, _, _ in self._pending]
        request = next(request for request in self._requests if id(request) not in busy)
        self._pending.append((request, rows, into))  # first, so that it is waited for whatever interrupts this
        request.start_async({0: np.ascontiguousarray(pixels)})

    def _take(self) -> None:
        """Wait for the batch that was started first, and copy its outputs to where they belong."""
        request, rows, into = self._pending[0]
        try:
            request.wait()
            for k, place in enumerate(into):
                place[rows] = request.get_output_tensor(k).data.reshape(len(rows), -1)
        finally:
            self._pending.popleft()

    def finish(self) -> None:
        """Wait for all requests; where one fails, what the others computed is there nevertheless."""
        failed: BaseException | None = None
        while self._pending:
            try:
                self._take()
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise failed


def convert(
    module: Any,
    stages: tuple[str, ...],
    how: Preprocessing,
    folder: Path,
    state: dict[str, NDArray[Any]] | None = None,
    architecture: str = "",
) -> bool:
    """Convert a network, compare it with torch, and keep it in `folder`.

    Normalisation becomes part of the network, so that it takes (B, S, S, 3) uint8.

    Args:
        module: gives `(pooled, *stages)` for (B, 3, S, S), in evaluation mode, on the CPU.
        stages: the names of those stages.
        how: preprocessing.
        folder: where it is put.
        state: the network's tensors, kept beside it so that a model can be saved without torch; None: not kept.
        architecture: what `headstart cache` calls it.

    Returns:
        Whether it can be used: not where it cannot be converted, or where the two disagree.
    """
    import torch

    pixels = np.random.default_rng(0).integers(0, 256, (4, how.size, how.size, 3), dtype=np.uint8)
    example = torch.from_numpy(normalise(pixels, how))

    def made() -> Any:
        # Traced with another batch than it is checked with, so that one that was taken for a constant is found.
        # (From torch.export it comes out the same, but six times slower.) What is traced is not traced once more to be
        # compared: its outputs are compared with torch's below, on other inputs.
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        decoder = TorchScriptPythonDecoder(module, example_input=example[:2], trace_kwargs={"check_trace": False})
        network = _openvino().convert_model(decoder, input=[-1, 3, how.size, how.size])
        return _with_preprocessing(network, how)

    return keep(
        module,
        stages,
        folder,
        state,
        architecture,
        example=example,
        given=pixels,
        made=made,
        fastest=lambda building: _fastest(building, how),
    )


def keep(
    module: Any,
    stages: tuple[str, ...],
    folder: Path,
    state: dict[str, NDArray[Any]] | None,
    architecture: str,
    *,
    example: Any,
    given: NDArray[Any],
    made: Callable[[], Any],
    fastest: Callable[[Path], int],
) -> bool:
    """Convert a network, compare it with torch, and keep it in `folder`, whatever it takes.

    Args:
        module: gives `(pooled, *stages)` for `example`.
        stages: the names of those stages.
        folder: where it is put.
        state: as for :func:`convert`.
        architecture: likewise.
        example: a batch of four as the module takes it.
        given: the same batch as the converted network takes it.
        made: converts the network.
        fastest: measures the batch that the converted network in a folder is fastest at.

    Returns:
        Whether it can be used.
    """
    import torch

    about: dict[str, Any] = {"architecture": architecture, "stages": list(stages), "torch": metadata.version("torch")}
    try:
        openvino = _openvino()
        with torch.inference_mode():
            values = module(example)
            expected = [value.numpy() for value in (values if isinstance(values, tuple) else (values,))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between torch and openvino are not the user's business
            network = made()
        with new_directory(folder) as building:
            openvino.save_model(network, building / _MODEL, compress_to_fp16=False)
            if state is not None:
                from safetensors.numpy import save_file

                save_file(state, building / _WEIGHTS)
            about["sha256"] = _digest(building)
            _write_about(building, about)
            difference = 0.0
            engine = CompiledEngine(building, (POOLED, *(stage + MAP for stage in stages)))
            found = [np.empty((4, value[0].size), dtype=np.float32) for value in expected]
            engine.start(given, range(4), found)
            engine.finish()
            del engine  # and with it the memory of its requests
            for mine, theirs in zip(found, expected, strict=True):
                worst = np.abs(mine - theirs.reshape(4, -1)).max() / np.abs(theirs).max()
                difference = max(difference, float(worst))
            if not difference <= TOLERANCE:
                raise _Differs(f"its outputs differ from torch's by {difference:.1e} (relative)")
            about |= {"difference": difference, "batch": fastest(building)}
            _write_about(building, about)
    except OSError as error:
        log.warning("the compiled network is not kept (%s); torch is used", error)
        return False
    except Exception as error:  # converters fail in many ways, and torch is always there
        why = str(error).partition("\n")[0][:200] or type(error).__name__
        log.warning("the network cannot be compiled (%s); torch is used", why)
        try:
            with new_directory(folder) as building:
                _write_about(building, {"architecture": architecture, "refused": why})
        except OSError:
            pass
        return False
    finally:
        machine.release()
    return True


class _Differs(Exception):  # noqa: N818 - what it is
    """The compiled network does not compute what torch computes."""


def _with_preprocessing(network: Any, how: Preprocessing) -> Any:
    openvino = _openvino()
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(network)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (how.mean, how.std))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(mean).scale(std)
    return steps.build()


def _fastest(folder: Path, how: Preprocessing) -> int:
    """The batch size with the most pictures per second, measured on this machine for a tenth of a second each."""
    engine = CompiledEngine(folder)
    into = [np.empty((max(BATCHES), _width(engine)), dtype=np.float32)]
    speeds: dict[int, float] = {}
    for batch in BATCHES:
        # Large batches fall out of the processor's caches, and take memory that is not given back.
        if speeds and list(speeds.values())[-1] < 0.97 * max(speeds.values()):
            break
        pixels = np.zeros((batch, how.size, how.size, 3), dtype=np.uint8)
        speeds[batch] = speed(engine, pixels, into, seconds=0.1)
    return max(speeds, key=lambda batch: speeds[batch])


def speed(engine: CompiledEngine, batch: NDArray[Any], into: list[NDArray[np.float32]], *, seconds: float) -> float:
    """Numbers of a batch of this shape that an engine takes in per second, in the second of two rounds."""
    for least in (0.0, seconds):  # the first round allocates
        began, rounds = time.perf_counter(), 0
        while time.perf_counter() - began < least or rounds < 2:
            engine.start(batch, range(len(batch)), into)
            rounds += 1
        engine.finish()
        found = rounds * batch.size / (time.perf_counter() - began)
    return found


def _width(engine: CompiledEngine) -> int:
    return int(engine._requests[0].get_compiled_model().outputs[0].get_partial_shape()[1].get_length())


def _write_about(folder: Path, about: dict[str, Any]) -> None:
    (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _digest(folder: Path) -> str:
    """SHA-256 over the network and its weights."""
    state = hashlib.sha256()
    for path in (folder / _MODEL, (folder / _MODEL).with_suffix(".bin"), folder / _WEIGHTS):
        if path.suffix != ".safetensors" or path.exists():
            state.update(path.read_bytes())
    return state.hexdigest()


def _openvino() -> Any:
    """OpenVINO, with its telemetry package out of reach: it then falls back to a stub of its own."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
