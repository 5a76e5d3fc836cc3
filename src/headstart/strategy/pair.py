"""Two domains as features, and what several ways of adaptation need of them, computed once."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from headstart.domains.align import RIDGE, Maps, Reduced, coral, reduced
from headstart.domains.labels import Calibrated, calibrate
from headstart.domains.two_sample import squared_distances
from headstart.predictor import LinearHead
from headstart.score.ridge import PENALTIES, SINGLE, Design, one_hot, standardise
from headstart.strategy.linear import Ridge

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]
Map = NDArray[np.floating] | None
Made = TypeVar("Made")

RECENT = 2
"""So many pairs are kept: a run fits each way without a fold of the source, and on all of it."""
LARGEST = 2**25
"""A pair of more numbers, rows of both domains times rows and features, is not kept: it would fill the memory."""

WEIGHTLESS = 1e-12
"""An example of this weight, of mean 1, does not count."""


@dataclass(frozen=True)
class Sides:
    """One classifier, as seen from either domain.

    Args:
        target: on raw features of the target domain: what is shipped.
        source: on raw features of the source domain, which may have another map: what held-out source examples are
            predicted by.
    """

    target: LinearHead
    source: LinearHead


class Pair:
    """Two domains as features; each standardised by its own moments, too.

    `S` (N, D) is the source standardised, by its mean and scale `of_source`. All else that has a name here is computed
    when a way of adaptation first asks for it, and kept for the next.

    Args:
        Xs: (N, D) of the source domain.
        ys: (N,) its labels.
        Xt: (M, D) of the target domain.
        classes: C.
    """

    def __init__(self, Xs: Features, ys: Labels, Xt: Features, classes: int) -> None:
        self.Xs, self.ys, self.Xt, self.classes = Xs, ys, Xt, classes
        self.of_source = standardise(Xs)
        self.S = scaled(Xs, self.of_source)
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made once for each key."""
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])

    @functools.cached_property
    def of_target(self) -> tuple[Features, Features]:
        """Mean and scale of the target."""
        return standardise(self.Xt)

    @functools.cached_property
    def aligned(self) -> Features:
        """(M, D), the target standardised by its own moments."""
        return scaled(self.Xt, self.of_target)

    @functools.cached_property
    def unaligned(self) -> Features:
        """(M, D), the target standardised by the source's moments."""
        return scaled(self.Xt, self.of_source)

    @functools.cached_property
    def source(self) -> Design:
        """The source decomposed."""
        return Design(self.S, single=True)

    @functools.cached_property
    def target(self) -> Design:
        """The target decomposed."""
        return Design(self.aligned, single=True)

    @functools.cached_property
    def reference(self) -> Ridge:
        """The source's classifier, on the standardised source."""
        return Ridge.of(self.source.fit(one_hot(self.ys, self.classes)))

    @functools.cached_property
    def plain(self) -> LinearHead:
        """That, as likely logits."""
        return self.reference.as_logits(self.ys)

    @functools.cached_property
    def calibrated(self) -> Calibrated:
        """What makes its scores probabilities."""
        return calibrate(self.reference.left_out, self.ys)

    @functools.cached_property
    def single(self) -> bool:
        """Whether single precision is enough for ridge regression on these features."""
        large = SINGLE * float(self.source.axes.squares.max(initial=0.0))
        return bool(self.source.dtype == np.float32 and self.reference.penalty >= large)

    @functools.cached_property
    def union(self) -> Reduced:
        """Both on the principal components of their union."""
        return reduced(self.S, self.aligned)

    @functools.cached_property
    def cost(self) -> Features:
        """(N, M) squared distances of standardised examples, of median 1."""
        found = squared_distances(self.S, self.aligned)
        found /= np.float32(max(float(np.median(found)), 1e-12))
        return found

    def recoloured(self, ridge: float = RIDGE) -> tuple[Maps, Features]:
        """CORAL's maps, and (N, D) the recoloured source."""

        def made() -> tuple[Maps, Features]:
            maps = coral(self.source.axes, self.target.axes, ridge=ridge)
            return maps, np.asarray(self.S @ maps.source.astype(np.float32))

        return self.once(("coral", ridge), made)

    def sides(self, found: LinearHead, *, source: Map = None, target: Map = None) -> Sides:
        """A classifier of standardised features, after a map of either domain where there is one, (D, d)."""
        return Sides(on_raw(found, *self.of_target, target), on_raw(found, *self.of_source, source))


def scaled(X: Features, moments: tuple[Features, Features]) -> Features:
    """(N, D), standardised by a mean and a scale."""
    return np.asarray((X - moments[0]) / moments[1], dtype=np.float32)


_recent: dict[bytes, Pair] = {}
_guard = threading.Lock()


def paired(Xs: Features, ys: Labels, Xt: Features, classes: int) -> Pair:
    """The pair of these arrays: the same as before, with all that it has computed, if it is among the last few.

    Pairs are told apart by what the arrays hold, so that features that are read from the store again are recognised,
    and arrays that were changed are not.
    """
    digest = hashlib.sha256(repr((Xs.shape, Xt.shape, classes)).encode())
    for array in (Xs, ys, Xt):
        digest.update(np.ascontiguousarray(array).data)
    key = digest.digest()
    rows = len(Xs) + len(Xt)
    with _guard:
        pair = _recent.pop(key, None) or Pair(Xs, ys, Xt, classes)
        if rows * (rows + Xs.shape[1]) <= LARGEST:
            _recent[key] = pair
            while len(_recent) > RECENT:
                del _recent[next(iter(_recent))]
    return pair


def on_raw(head: LinearHead, mean: Features, scale: Features, onto: Map = None) -> LinearHead:
    """A head on ((x - mean) / scale) @ onto, as one on x."""
    weight = head.weight.astype(np.float64) if onto is None else head.weight.astype(np.float64) @ onto.T
    weight = weight / scale
    return LinearHead(weight.astype(np.float32), (head.bias - weight @ mean).astype(np.float32))


def classifier(Z: NDArray[np.floating], y: Labels, classes: int) -> LinearHead:
    """Ridge classifier whose scores are likely as logits, of features that are standardised first."""
    Z = Z.astype(np.float32, copy=False)
    return Ridge.of(Design(Z, scaling=standardise(Z), single=True).fit(one_hot(y, classes))).as_logits(y)


def weighted(Z: NDArray[np.floating], Y: Floats, weights: Floats) -> Ridge:
    """Ridge regression of soft targets with weights, its penalty by weighted leave-one-out.

    Args:
        Z: (N, D), about standardised.
        Y: (N, C) between -1 and 1.
        weights: (N,), not negative.
    """
    # An example without weight is left out already; weights and penalties are as if it were there.
    used = weights > WEIGHTLESS * weights.mean()
    penalties = PENALTIES * float(used.mean())
    found = Design(Z[used], weights=weights[used], penalties=penalties, single=True).fit(Y[used])
    left_out = np.asarray(Z @ found.weight.T + found.bias)
    left_out[used] = found.left_out
    return Ridge.of(replace(found, penalty=found.penalty / float(used.mean()), left_out=left_out))


class Taught:
    """Source examples, and examples of the target with labels that were guessed.

    Their Gram matrix is put together from that of the source, which is made once for a pair, and the target's.

    Args:
        pair: the domains.
        chosen: (m,) rows of the target.
        guessed: (m,) their labels.
        target_weight: what one of them counts against a source example.
        aligned: the target is standardised by its own moments, not by the source's.
    """

    def __init__(
        self, pair: Pair, chosen: Labels, guessed: Labels, *, target_weight: float = 1.0, aligned: bool = True
    ) -> None:
        T = pair.aligned if aligned else pair.unaligned
        self.pair, self.chosen, self.aligned = pair, chosen, aligned
        self.Z, self.y = np.concatenate([pair.S, T[chosen]]), np.concatenate([pair.ys, guessed])
        weights = np.concatenate([np.ones(len(pair.ys)), np.full(len(chosen), target_weight)])
        self.weights = weights / weights.mean()

    def head(self) -> LinearHead:
        """Ridge on all of them, its penalty by leave-one-out."""
        weights = None if np.ptp(self.weights) == 0 else self.weights
        design = Design(self.Z, weights=weights, single=self.pair.single, gram=self._gram())
        return Ridge.of(design.fit(one_hot(self.y, self.pair.classes))).as_logits(self.y)

    def quick(self, penalty: float) -> LinearHead:
        """Ridge with a penalty that is known: a tenth of the work."""
        from scipy.linalg import cho_factor, cho_solve

        gram, Y, n = self._gram(), one_hot(self.y, self.pair.classes), len(self.Z)
        share = self.weights / n
        centre, offset = (share.astype(self.Z.dtype) @ self.Z).astype(np.float64), share @ Y
        gram[np.diag_indices(len(gram))] += gram.dtype.type(penalty)
        factor = cho_factor(gram, overwrite_a=True, check_finite=False)
        if len(gram) == n:
            root = np.sqrt(self.weights)[:, None]
            solved = root * cho_solve(factor, root * (Y - offset), check_finite=False)
            weight = (self.Z.T @ solved.astype(self.Z.dtype)).T - np.outer(solved.sum(axis=0), centre)
        else:
            part = (self.weights[:, None] * (Y - offset)).astype(self.Z.dtype)
            cross = self.Z.T @ part - np.outer(centre, part.sum(axis=0))
            weight = cho_solve(factor, cross, check_finite=False).T
        return LinearHead(weight.astype(np.float32), (offset - weight @ centre).astype(np.float32))

    def _gram(self) -> NDArray[Any]:
        """The smaller Gram matrix of the centred examples times the roots of their weights."""
        pair, n, start = self.pair, len(self.Z), len(self.pair.S)
        dtype = np.float32 if pair.single else np.float64
        Z, weights = self.Z.astype(dtype, copy=False), self.weights
        share = weights / n
        if n > Z.shape[1]:
            of_source = pair.once(("source", dtype), lambda: _products(Z[:start].T))
            centre = np.asarray(share.astype(dtype) @ Z)
            found = dtype(weights[0]) * of_source - dtype(n) * np.outer(centre, centre)
            return np.asarray(found + dtype(weights[-1]) * _products(Z[start:].T))
        T = pair.aligned if self.aligned else pair.unaligned
        both = pair.once(("both", dtype, self.aligned), lambda: _products(np.concatenate([pair.S, T]).astype(dtype)))
        rows = np.concatenate([np.arange(start), start + self.chosen])
        K = both[np.ix_(rows, rows)]
        along = K @ share.astype(dtype)
        K -= along[:, None]
        K -= along - dtype(share @ along)
        root = np.sqrt(weights).astype(dtype)
        K *= root[:, None]
        K *= root
        return np.asarray(K)


def _products(X: NDArray[Any]) -> NDArray[Any]:
    """X @ X.T."""
    return np.asarray(X @ X.T)
