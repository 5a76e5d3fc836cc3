"""Compiled networks: the frozen forward pass through OpenVINO, several times faster than eager torch on a CPU.

The converted network is kept in the cache under a digest of everything it depends on, so that it is converted once
per machine. Before it is first used its outputs are compared with torch's; where they differ, or where conversion
fails, torch is used and the reason is said.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.files import cache_directory, new_directory

log = logging.getLogger("headstart")

TOLERANCE = 1e-3  # largest difference from torch, relative to the largest output
_MODEL, _DIGEST = "network.xml", "sha256"

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def place(architecture: str, revision: str, size: int) -> Path:
    """The folder of the cache where the converted network lies, or would lie."""
    state = json.dumps([architecture, revision, size, metadata.version("openvino"), 2])
    return cache_directory() / "compiled" / hashlib.sha256(state.encode()).hexdigest()[:32]


def load(folder: Path) -> Forward:
    """A converted network as a function from (B, 3, S, S) to (B, D) float32.

    Raises:
        OSError: a file is missing.
        ValueError: a file is damaged; OpenVINO itself would not notice a changed weight.
    """
    if (folder / _DIGEST).read_text(encoding="ascii") != _digest(folder):
        raise ValueError("its digest is another")
    core = _openvino().Core()
    # f32: on processors with bf16 arithmetic OpenVINO would otherwise round to it, and say nothing.
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    network = core.compile_model(core.read_model(folder / _MODEL), "CPU", settings)

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = network(batch)[0]
        return result

    return forward


def convert(module: Any, size: int, folder: Path) -> Forward | None:
    """Convert the pooled forward pass of `module`, compare it with torch, and keep it in `folder`.

    Returns:
        The function, or None where the network cannot be converted or the two disagree.
    """
    import torch
    from torch import nn

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pooled: torch.Tensor = module.forward_head(module.forward_features(x), pre_logits=True)
            return pooled

    example = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, size, size)).astype(np.float32))
    pooled = Pooled().eval()
    try:
        openvino = _openvino()
        with torch.inference_mode():
            expected = pooled(example).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations between torch and openvino are not the user's business
            batch = torch.export.Dim("batch", min=1, max=1024)
            exported = torch.export.export(pooled, (example,), dynamic_shapes={"x": {0: batch}})
            network = openvino.convert_model(exported)
            network.reshape([-1, 3, size, size])
        with new_directory(folder) as building:
            openvino.save_model(network, building / _MODEL, compress_to_fp16=False)
            (building / _DIGEST).write_text(_digest(building), encoding="ascii")
        forward = load(folder)
        difference = float(np.abs(forward(example.numpy()) - expected).max() / np.abs(expected).max())
    except OSError as error:
        log.warning("the compiled network is not kept (%s); torch is used", error)
        return None
    except Exception as error:  # converters fail in many ways, and torch is always there
        why = str(error).partition("\n")[0][:200] or type(error).__name__
        log.warning("the network cannot be compiled (%s); torch is used", why)
        return None
    if difference > TOLERANCE:
        log.warning("the compiled network differs from torch by %.1e (relative); torch is used", difference)
        (folder / _MODEL).unlink(missing_ok=True)
        return None
    return forward


def _digest(folder: Path) -> str:
    """SHA-256 over the network and its weights."""
    state = hashlib.sha256()
    for path in (folder / _MODEL, (folder / _MODEL).with_suffix(".bin")):
        state.update(path.read_bytes())
    return state.hexdigest()


def _openvino() -> Any:
    """OpenVINO, with its telemetry package out of reach: it then falls back to a stub of its own."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
