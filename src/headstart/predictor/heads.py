"""Heads: what turns a body's vector into one logit per class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that was fitted, by name."""

    @classmethod
    def restored(cls, arrays: dict[str, Any]) -> Head:
        """The inverse of :meth:`arrays`."""
        return cls(**arrays)


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
    """`X @ weight.T + bias`, or the same on some columns of X.

    Args:
        weight: (C, K).
        bias: (C,).
        columns: (K,) int64, of X; None: all.
    """

    kind = "linear"

    def __init__(self, weight: Array, bias: Array, columns: NDArray[np.int64] | None = None) -> None:
        self.weight, self.bias, self.columns = weight, bias, columns

    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""
        scores: Array = (X if self.columns is None else X[:, self.columns]) @ self.weight.T + self.bias
        return scores

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`weight`, `bias` and, where not all are used, `columns`."""
        chosen = {} if self.columns is None else {"columns": self.columns}
        return {"weight": self.weight, "bias": self.bias, **chosen}


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


class CosineHead(Head):
    """`X @ weight.T + bias` after each vector is scaled to length 1: the angle decides, not the length.

    Args:
        weight: (C, D) directions of the classes, times a common scale.
        bias: (C,).
    """

    kind = "cosine"

    def __init__(self, weight: Array, bias: Array) -> None:
        self.weight, self.bias = weight, bias

    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""
        scores: Array = unit(X) @ self.weight.T + self.bias
        return scores

    def arrays(self) -> dict[str, Array]:
        """`weight` (C, D) and `bias` (C,)."""
        return {"weight": self.weight, "bias": self.bias}


class ConvexHead(Head):
    """ConSE: from known classes to their names, and from there to the names of other classes; see :func:`convex`.

    Args:
        weight: (K, D) of the known classes.
        bias: (K,) likewise.
        known: (K, E) vectors of their names, of length 1.
        wanted: (C, E) those of the other classes, times a common scale.
        top: () how many known classes are taken for each input.
    """

    kind = "convex"

    def __init__(self, weight: Array, bias: Array, known: Array, wanted: Array, top: Array) -> None:
        self.weight, self.bias, self.known, self.wanted, self.top = weight, bias, known, wanted, top

    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""
        out = np.empty((len(X), len(self.wanted)), dtype=np.float32)
        for start in range(0, len(X), _BLOCK):
            known = X[start : start + _BLOCK] @ self.weight.T + self.bias
            out[start : start + _BLOCK] = convex(known, self.known, int(self.top)) @ self.wanted.T
        return out

    def arrays(self) -> dict[str, Array]:
        """All of it."""
        return {
            "weight": self.weight,
            "bias": self.bias,
            "known": self.known,
            "wanted": self.wanted,
            "top": self.top,
        }


class MeanHead(Head):
    """The logarithm of the mean of several heads' probabilities, each on its own columns.

    Args:
        heads: P of them, for the same classes.
        columns: (P, 2) int64, first column and the one behind the last.
    """

    kind = "mean"

    def __init__(self, heads: Sequence[Head], columns: NDArray[np.int64]) -> None:
        self.heads, self.columns = tuple(heads), columns

    def logits(self, X: Array) -> Array:
        """(N, D) to (N, C)."""
        each = [
            np.exp(log_softmax(head.logits(X[:, a:b]))) for head, (a, b) in zip(self.heads, self.columns, strict=True)
        ]
        mean: Array = np.log(np.maximum(np.mean(each, axis=0), np.finfo(np.float32).tiny))
        return mean

    def arrays(self) -> dict[str, NDArray[Any]]:
        """`columns`, and those of each head under its number and kind."""
        found: dict[str, NDArray[Any]] = {"columns": self.columns}
        for i, head in enumerate(self.heads):
            found |= {f"{i}.{head.kind}.{name}": array for name, array in head.arrays().items()}
        return found

    @classmethod
    def restored(cls, arrays: dict[str, Any]) -> Head:
        """The inverse of :meth:`arrays`."""
        each: dict[tuple[int, str], dict[str, Any]] = {}
        for key, array in arrays.items():
            if key != "columns":
                number, kind, name = key.split(".", 2)
                each.setdefault((int(number), kind), {})[name] = array
        return cls([restore(kind, each[number, kind]) for number, kind in sorted(each)], arrays["columns"])


HEADS: dict[str, type[Head]] = {
    head.kind: head for head in (ConstantHead, LinearHead, KernelHead, CosineHead, ConvexHead, MeanHead)
}


def unit(X: NDArray[Any]) -> NDArray[Any]:
    """Rows scaled to length 1, of X's dtype; a row of zeros stays one."""
    scaled: NDArray[Any] = X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-12)
    return scaled


def convex(logits: Array, known: Array, top: int) -> Array:
    """ConSE: a picture's place among the names (Norouzi et al. 2014, equation 3).

    The mean of the name vectors of the `top` known classes that the picture is most likely of, weighted by their
    probabilities.

    Args:
        logits: (N, K) of the known classes.
        known: (K, E) their name vectors.
        top: how many.

    Returns:
        (N, E) float32, of length 1.
    """
    if top < logits.shape[1]:
        least = -np.partition(-logits, top - 1, axis=1)[:, top - 1 : top]
        logits = np.where(logits >= least, logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return unit((weights / weights.sum(axis=1, keepdims=True)) @ known)


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
    return HEADS[kind].restored(arrays)


def log_softmax(logits: Array) -> Array:
    """(N, C) logits to log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
