"""In which arithmetic frozen features are computed on a CPU, and whether this one has it."""

from __future__ import annotations

from typing import Literal

from headstart import machine

Precision = Literal["f32", "bf16"]
F32: Precision = "f32"
BF16: Precision = "bf16"

_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})


def has_bf16() -> bool:
    """Whether this processor multiplies bf16 numbers by itself; where it does not, bf16 would only be rounding."""
    return not _INSTRUCTIONS.isdisjoint(machine.features().split())
