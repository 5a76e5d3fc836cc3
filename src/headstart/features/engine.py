"""Engines: what runs the frozen forward pass. One contract, two implementations: OpenVINO (compiled.py) and torch.

An engine takes batches of uint8 pixels, or of token numbers, and writes its outputs into arrays of the caller,
possibly later: several batches are under way at a time, so that decoding, copying and computing overlap.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.features.preprocess import normalise
from headstart.source.card import Preprocessing

POOLED = "pooled"  # the network's own pooled features, (B, D)
MAP = ":map"  # suffix: the values at the end of a stage as they are; without it their mean over positions


class Engine(ABC):
    """Runs a network on batches.

    Args:
        outputs: what is computed: `pooled`, a stage (its mean over positions), or `STAGE:map` (all its values).
        batch: pictures per batch (of texts: tokens) that this machine computes fastest.
    """

    outputs: tuple[str, ...]
    batch: int

    @abstractmethod
    def start(self, pixels: NDArray[Any], rows: Sequence[int], into: Sequence[NDArray[np.float32]]) -> None:
        """Begin computing (B, S, S, 3) or (B, L); by :meth:`finish`, `into[k][rows]` holds output k, flattened."""

    @abstractmethod
    def finish(self) -> None:
        """Wait until everything that was started has been written; raises what went wrong."""


def averaged(values: Any) -> Any:
    """The mean over positions of (B, C, H, W) or (B, L, C) values, as arrays or tensors; (B, C) stays."""
    return values.mean((2, 3)) if values.ndim == 4 else values.mean(1) if values.ndim == 3 else values


class TorchEngine(Engine):
    """Eager or compiled torch: the reference on a CPU, and the way to a GPU.

    On CUDA: bf16 autocast, channels last, pinned memory with copies that do not wait, and one batch computed while
    the one before is copied back; `torch.compile` where there are enough pictures to pay for it.

    Args:
        module: gives `(pooled, *stages)` for (B, 3, S, S).
        stages: the names of those stages.
        outputs: see :class:`Engine`.
        how: preprocessing.
        device: where `module` is.
        count: how many pictures will come.
    """

    COMPILE_FROM = 20_000  # pictures; below, torch.compile takes longer than it saves

    def __init__(
        self,
        module: Any,
        stages: tuple[str, ...],
        outputs: tuple[str, ...],
        how: Preprocessing,
        device: str = "cpu",
        count: int = 0,
    ) -> None:
        import torch

        self._torch, self.how, self.device, self.outputs = torch, how, device, outputs
        self.cuda = device.startswith("cuda")
        self.batch = 256 if self.cuda else 16
        self._module = torch.compile(module) if self.cuda and count >= self.COMPILE_FROM else module
        self._places = [0 if o == POOLED else 1 + stages.index(o.removesuffix(MAP)) for o in outputs]
        self._pending: list[tuple[Any, Sequence[int], Sequence[NDArray[np.float32]]]] = []

    def start(self, pixels: NDArray[Any], rows: Sequence[int], into: Sequence[NDArray[np.float32]]) -> None:
        """On CUDA at most two batches are under way."""
        torch = self._torch
        with torch.inference_mode():
            batch = self._input(pixels)
            with torch.autocast("cuda", dtype=torch.bfloat16, enabled=self.cuda):
                values = self._module(batch)
            values = values if isinstance(values, tuple) else (values,)
            chosen = [
                (values[place] if name == POOLED or name.endswith(MAP) else averaged(values[place])).float()
                for name, place in zip(self.outputs, self._places, strict=True)
            ]
            if self.cuda:
                copies = [torch.empty(v.shape, dtype=v.dtype, pin_memory=True) for v in chosen]
                for copy, value in zip(copies, chosen, strict=True):
                    copy.copy_(value, non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record()
                self._pending.append(((arrived, copies), rows, into))
                if len(self._pending) > 1:
                    self._take()
                return
        self._write(chosen, rows, into)

    def _input(self, pixels: NDArray[Any]) -> Any:
        """The batch as the network takes it, on its device."""
        torch = self._torch
        if self.cuda:
            raw = torch.from_numpy(pixels).pin_memory().to(self.device, non_blocking=True)
            mean, scale = self._constants
            return ((raw.float() - mean) * scale).permute(0, 3, 1, 2)  # channels last already
        batch = torch.from_numpy(normalise(pixels, self.how)).to(self.device)
        return batch.contiguous(memory_format=torch.channels_last)

    @functools.cached_property
    def _constants(self) -> tuple[Any, Any]:
        """Mean and scale of the pixels, copied once: a copy that is not pinned waits for all that is under way."""
        mean, std = (self._torch.tensor(value, device=self.device) for value in (self.how.mean, self.how.std))
        return mean * 255, 1 / (255 * std)

    def _take(self) -> None:
        (arrived, copies), rows, into = self._pending.pop(0)
        arrived.synchronize()
        self._write(copies, rows, into)

    @staticmethod
    def _write(values: list[Any], rows: Sequence[int], into: Sequence[NDArray[np.float32]]) -> None:
        for value, place in zip(values, into, strict=True):
            place[rows] = value.cpu().numpy().reshape(len(rows), -1)

    def finish(self) -> None:
        """Take what is still under way."""
        while self._pending:
            self._take()
