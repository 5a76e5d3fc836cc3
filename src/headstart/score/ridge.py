"""Ridge regression in closed form with its leave-one-out predictions: a score, and the head of probes and baselines."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.score.spectrum import labelled

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int64]

PENALTIES = np.logspace(-2, 6, 25)
COARSE = PENALTIES[::3]  # a factor of ten apart: enough for a score
_BLOCK = 2048  # rows whose float64 copies are held at once: beside the features, memory hardly grows with N
_KEPT = 4_000_000  # numbers: so many are standardised once and not whenever they are needed
_AT_ONCE = 4_000_000  # leave-one-out residuals of several penalties that are held at once
SMALL = 256  # single precision is no faster for Gram matrices of so many rows
SINGLE = 1e-4  # of a Gram matrix's largest eigenvalue: a penalty of so much is not touched by single precision


def standardise(X: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation per feature, (D,) each.

    No deviation is smaller than a tenth of the root mean square of all: a feature that is all but constant in a few
    training examples would otherwise outweigh all others in the first example where it is not.
    """
    mean = X.mean(axis=0, dtype=np.float64).astype(np.float32)
    total = np.zeros(X.shape[1])
    for start in range(0, len(X), _BLOCK):
        total += ((X[start : start + _BLOCK] - mean).astype(np.float64) ** 2).sum(axis=0)
    scale = np.sqrt(total / max(1, len(X)))
    floor = 0.1 * float(np.sqrt((scale**2).mean())) if len(scale) else 0.0
    return mean, np.maximum(scale, floor or 1.0).astype(np.float32)


@dataclass(frozen=True)
class Solution:
    """A fitted ridge classifier: scores are X @ weight.T + bias.

    Args:
        weight: (C, D).
        bias: (C,).
        penalty: the chosen lambda.
        left_out: (N, C), leave-one-out scores at that lambda: what each example would have scored had it not been
            trained on.
    """

    weight: NDArray[np.floating]
    bias: NDArray[np.floating]
    penalty: float
    left_out: NDArray[np.floating]


@dataclass(frozen=True)
class Axes:
    """Principal axes of some examples, the longest first.

    Args:
        squares: (r,) the sum of squares of the examples along each.
        directions: (D, r) orthonormal; r is the examples' rank.
        examples: how many there were.
    """

    squares: NDArray[np.floating]
    directions: NDArray[np.floating]
    examples: int


class Design:
    """Examples decomposed once: ridge regression to any targets, its penalty by leave-one-out, is then a few products.

    With centred X and hat matrix H(lambda) = X (X'X + lambda I)^-1 X' + 11'/N, the prediction for example i by the
    model trained without it is y_i - (y_i - f_i) / (1 - H_ii) (Allen 1974; Rifkin & Lippert 2007), so one
    eigendecomposition, of the N x N or the D x D Gram matrix, whichever is smaller, serves every lambda and all
    targets. Weighted examples are rows times the roots of their weights. Of many examples nothing of size N x D is held
    beside X.

    Args:
        X: (N, D).
        scaling: mean and scale, (D,) each, by which X is standardised; None: it is as it should be.
        weights: (N,), above zero; None: all the same.
        penalties: (P,) the lambdas to choose among, the smallest first.
        single: compute in float32 what is large, which halves the time. Where the best lambda may be so small against
            the largest eigenvalue that rounding would touch it, everything is done again in float64.
        gram: the smaller Gram matrix of the centred rows times the roots of their weights of mean 1, where it is known.
    """

    def __init__(
        self,
        X: NDArray[np.floating],
        *,
        scaling: tuple[Floats, Floats] | None = None,
        weights: Doubles | None = None,
        penalties: Doubles = PENALTIES,
        single: bool = False,
        gram: NDArray[np.floating] | None = None,
    ) -> None:
        self.X, self.scaling, self.penalties = X, scaling, penalties
        self.wide = len(X) <= X.shape[1]
        self.dtype = np.float32 if single and min(X.shape) > SMALL else np.float64
        self.weights = weights
        self.share = np.full(len(X), 1 / len(X)) if weights is None else weights / weights.sum()
        self.root = np.sqrt(len(X) * self.share)[:, None]
        self.centre = sum((self.share[at] @ self._standardised(at) for at in self._blocks()), np.zeros(X.shape[1]))
        self._kept: dict[int, NDArray[Any]] = {}
        self.gram = self._gram() if gram is None else gram.astype(self.dtype)

    def _blocks(self) -> list[slice]:
        return [slice(start, start + _BLOCK) for start in range(0, len(self.X), _BLOCK)]

    def _standardised(self, at: slice) -> NDArray[Any]:
        return self.X[at] if self.scaling is None else (self.X[at] - self.scaling[0]) / self.scaling[1]

    def _rows(self, at: slice) -> NDArray[Any]:
        """Standardised and centred rows of X, times the roots of their weights; of few examples made once."""
        if at.start not in self._kept:
            rows = np.asarray(self._standardised(at) - self.centre.astype(self.dtype), dtype=self.dtype)
            if self.weights is not None:
                rows = rows * self.root[at].astype(self.dtype)
            if self.X.size > _KEPT:
                return rows
            self._kept[at.start] = rows
        return self._kept[at.start]

    def _gram(self) -> NDArray[Any]:
        if self.wide:
            R = np.concatenate([self._rows(at) for at in self._blocks()])
            return np.asarray(R @ R.T)
        found = np.zeros((self.X.shape[1], self.X.shape[1]), self.dtype)
        for at in self._blocks():
            R = self._rows(at)
            found += R.T @ R
        return found

    @functools.cached_property
    def _decomposed(self) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.dtype == np.float64:
            # SciPy's BLAS is another than NumPy's, with threads of its own: the two would wait for each other.
            values, vectors = np.linalg.eigh(np.asarray(self.gram, dtype=np.float64))
        else:  # which NumPy's does no faster; whoever asks for single precision has one thread
            from scipy.linalg import eigh

            values, vectors = eigh(self.gram, driver="evd", check_finite=False)
        return np.maximum(values, 1e-12), vectors

    @functools.cached_property
    def _exact(self) -> Design:
        """The same in float64."""
        return Design(self.X, scaling=self.scaling, weights=self.weights, penalties=self.penalties)

    @functools.cached_property
    def axes(self) -> Axes:
        """Principal axes: of examples that are centred by themselves those of principal component analysis."""
        values, vectors = self._decomposed
        rounding = max(float(values[-1]), 0.0) * max(self.X.shape) * np.finfo(self.dtype).eps
        kept = np.flatnonzero(values > rounding)[::-1]
        directions = vectors[:, kept]
        if self.wide:
            directions = sum(self._rows(at).T @ directions[at] for at in self._blocks()) / np.sqrt(values[kept])
        return Axes(values[kept], np.asarray(directions), len(self.X))

    @functools.cached_property
    def _leverages(self) -> Doubles:
        """(N, P): of each example on its own prediction, by penalty."""
        values, vectors = self._decomposed
        found = np.empty((len(self.X), len(self.penalties)))
        shrinks = (values[:, None] / (values[:, None] + self.penalties)).astype(self.dtype)
        scaled = vectors if self.wide else vectors / np.sqrt(values)
        for at in self._blocks():
            found[at] = np.square(vectors[at] if self.wide else self._rows(at) @ scaled) @ shrinks
        return np.asarray(found + self.share[:, None])

    def fit(self, Y: Doubles) -> Solution:
        """Ridge regression, its penalty by weighted leave-one-out: the one with the smallest squared error is kept.

        A penalty that suits the source as it is may be far too large for the part of it that is like the target.

        Args:
            Y: (N, C) targets, between -1 and 1.

        Returns:
            In float64, on X as it was given.
        """
        values, vectors = self._decomposed
        offset = self.share @ Y
        T = (self.root * (Y - offset)).astype(self.dtype)
        if self.wide:
            along = vectors.T @ T
        else:
            along = vectors.T @ sum(self._rows(at).T @ T[at] for at in self._blocks())
        errors, per = np.zeros(len(self.penalties)), max(1, _AT_ONCE // (min(_BLOCK, len(T)) * T.shape[1]))
        for start in range(0, len(self.penalties), per):
            some = slice(start, start + per)
            maps = self._maps(along, some)
            for at in self._blocks():
                residuals = self._residuals(T, maps, at, some)
                errors[some] += np.einsum("ncp,ncp->p", residuals, residuals)
        best = int(errors.argmin())
        penalty = float(self.penalties[best])
        if self.dtype == np.float32 and self._blurred(errors, best):
            return self._exact.fit(Y)
        dual = (along / (values + penalty).astype(self.dtype)[:, None]).astype(self.dtype)
        coefficients = vectors @ dual
        if self.wide:
            coefficients = sum(self._rows(at).T @ coefficients[at] for at in self._blocks())
        left_out, chosen = np.empty_like(Y, dtype=np.float64), slice(best, best + 1)
        maps = self._maps(along, chosen)
        for at in self._blocks():
            left_out[at] = Y[at] - self._residuals(T, maps, at, chosen)[:, :, 0] / self.root[at]
        weight = coefficients.T.astype(np.float64)
        bias = offset - weight @ self.centre
        if self.scaling is not None:
            weight = weight / self.scaling[1]
            bias = bias - weight @ self.scaling[0]
        return Solution(weight, bias, penalty, left_out)

    def _blurred(self, errors: Doubles, best: int) -> bool:
        """Whether the best penalty is, or may be, among those at which single precision blurs the errors."""
        clear = np.flatnonzero(self.penalties >= SINGLE * float(self._decomposed[0][-1]))
        if len(clear) < 2 or best < clear[0]:
            return True
        return bool(errors[clear[0]] < errors[clear[1]])  # they fall towards smaller ones

    def _maps(self, along: NDArray[Any], some: slice) -> NDArray[Any]:
        """(r or D, C p): what makes fitted values of the basis, or of rows, at some penalties."""
        values, vectors = self._decomposed
        by = 1 / (values[:, None] + self.penalties[some])
        each = along[:, :, None] * (values[:, None] * by if self.wide else by)[:, None].astype(self.dtype)
        flat = each.reshape(len(values), -1)
        return flat if self.wide else np.asarray(vectors @ flat)

    def _residuals(self, T: NDArray[Any], maps: NDArray[Any], at: slice, some: slice) -> NDArray[Any]:
        """Weighted leave-one-out residuals (n, C, p) of a block of examples, at some penalties."""
        fitted = (self._decomposed[1][at] if self.wide else self._rows(at)) @ maps
        residual = fitted.reshape(len(fitted), T.shape[1], -1)
        np.subtract(T[at][:, :, None], residual, out=residual)
        residual /= np.maximum(1 - self._leverages[at, some], 1e-6)[:, None].astype(self.dtype)
        return np.asarray(residual)


def linear_accuracy(features: ArrayLike, labels: ArrayLike) -> float:
    """Leave-one-out accuracy of a linear probe: of :func:`solve`, with its penalty from 0.01 to 10^6 in steps of ten.

    What headstart's own `probe` with a ridge head would get right of an example, had it been trained on all others.

    The frequencies of the classes are taken for known, from all examples: the offsets of the scores are not left out.
    Without an example its class is a little rarer, so that features which say nothing would otherwise be wrong on every
    example of balanced classes, and a leave-one-out accuracy of 0 would stand where chance is meant.

    Args:
        features: (N, D) numbers.
        labels: (N,) integers.

    Returns:
        Between 0 and 1; larger transfers better. Unchanged by the order of examples, by shifts and by common scaling
        of the features; not by rotations, because features are standardised one by one.

    Raises:
        ValueError: the shapes do not fit, a feature is not finite, or there are fewer than two classes.
    """
    data = labelled(features, labels)
    solution = solve(data.X.astype(np.float32), data.y, data.classes, COARSE)
    Y = one_hot(data.y, data.classes)
    scores = solution.left_out + (Y - Y.mean(axis=0)) / (len(Y) - 1)
    # What is left where features say nothing is rounding, and must not tell the class.
    return float((scores.round(5).argmax(axis=1) == data.y).mean())


def solve(
    X: Floats,
    y: Labels,
    classes: int,
    penalties: Doubles = PENALTIES,
    importance: Floats | None = None,
) -> Solution:
    """Ridge regression to one-hot targets in {-1, +1}, its penalty chosen by leave-one-out; see :class:`Design`.

    Args:
        X: (N, D) float32; it is standardised.
        y: (N,) int64 in 0..classes-1.
        classes: C.
        penalties: (P,) float64, the lambdas to choose among.
        importance: (D,) float32, not negative: each feature's penalty is lambda over its importance, and one of 0 is
            left out; None: all have 1.

    Returns:
        In float32, for raw vectors.
    """
    mean, scale = standardise(X)
    if importance is not None:
        with np.errstate(divide="ignore"):
            scale = (scale / np.sqrt(importance)).astype(np.float32)
    found = Design(X, scaling=(mean, scale), penalties=penalties).fit(one_hot(y, classes))
    return Solution(
        found.weight.astype(np.float32), found.bias.astype(np.float32), found.penalty, found.left_out.astype(np.float32)
    )


def one_hot(y: Labels, classes: int) -> Doubles:
    """(N, C) of -1 and +1."""
    return np.where(y[:, None] == np.arange(classes), 1.0, -1.0)
