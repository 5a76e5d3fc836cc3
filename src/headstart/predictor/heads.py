"""Heads: what turns a body's vector into one logit per class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_BLOCK = 4096  # rows scored at once, so that memory does not grow with N


class Head(ABC):
    """A fitted map from (N, D) float32 vectors to (N, C) float32 logits, made of arrays and nothing else."""

    kind: str

    @abstractmethod
    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""

    @abstractmethod
    def arrays(self) -> dict[str, Array]:
        """Everything that was fitted, by name."""


class ConstantHead(Head):
    """The same logits for every input: the log of the class frequencies."""

    kind = "constant"

    def __init__(self, bias: Array) -> None:
        self.bias = bias

    def logits(self, X: Array) -> Array:
        """(N, anything) to (N, C)."""
        return np.tile(self.bias, (len(X), 1))

    def arrays(self) -> dict[str, Array]:
        """`bias` (C,)."""
        return {"bias": self.bias}


class LinearHead(Head):
    """`X @ weight.T + bias`."""

    kind = "linear"

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias

    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""
        scores: Array = X @ self.weight.T + self.bias
        return scores

    def arrays(self) -> dict[str, Array]:
        """`weight` (C, D) and `bias` (C,)."""
        return {"weight": self.weight, "bias": self.bias}


class KernelHead(Head):
    """A Gaussian kernel machine: `exp(-gamma |x - s|^2) @ coefficients + bias`, after standardising x.

    Args:
        support: (M, D) standardised support vectors.
        coefficients: (M, C).
        bias: (C,).
        gamma: () the kernel's width parameter.
        mean: (D,) subtracted first.
        scale: (D,) divided by next.
    """

    kind = "kernel"

    def __init__(
        self, support: Array, coefficients: Array, bias: Array, gamma: Array, mean: Array, scale: Array
    ) -> None:
        self.support, self.coefficients, self.bias, self.gamma = support, coefficients, bias, gamma
        self.mean, self.scale = mean, scale

    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""
        out = np.empty((len(X), len(self.bias)), dtype=np.float32)
        for start in range(0, len(X), _BLOCK):
            block = (X[start : start + _BLOCK] - self.mean) / self.scale
            out[start : start + _BLOCK] = (
                gaussian(block, self.support, float(self.gamma)) @ self.coefficients + self.bias
            )
        return out

    def arrays(self) -> dict[str, Array]:
        """All of it."""
        return {
            "support": self.support,
            "coefficients": self.coefficients,
            "bias": self.bias,
            "gamma": self.gamma,
            "mean": self.mean,
            "scale": self.scale,
        }


HEADS: dict[str, type[Head]] = {head.kind: head for head in (ConstantHead, LinearHead, KernelHead)}


def gaussian(A: Array, B: Array, gamma: float) -> Array:
    """The Gaussian kernel `exp(-gamma |a - b|^2)` of (N, D) with (M, D): (N, M)."""
    squared = (A**2).sum(1)[:, None] + (B**2).sum(1)[None] - 2 * (A @ B.T)
    kernel: Array = np.exp(-gamma * np.maximum(squared, 0, out=squared))
    return kernel


def restore(kind: str, arrays: dict[str, Any]) -> Head:
    """The head that `arrays` describe.

    Raises:
        KeyError: the kind of head is unknown.
    """
    return HEADS[kind](**arrays)


def log_softmax(logits: Array) -> Array:
    """(N, C) logits to log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
