"""What `benchmarks.adapt` is measured on: families of pairs of domains, as features, with the truth of the target.

- `simulated`: the four shifts of skada-bench (Lalou et al. 2024) in the plane, five seeds, 800 examples a domain
  (1,200 of the subspace shift). Linear heads are fitted on 100 Gaussian bumps around points of both domains.
- `office`: Office-Caltech 10, SURF bags of words in histograms of sum 1; all examples of both domains, the protocol of
  Long et al. (2013), not draws of 20 per class.
- `digits`: 1,800 of USPS and 2,000 of MNIST, 16 x 16 grey values; 400 Gaussian bumps around pictures of both, as a
  linear head on bare pixels is far below the nearest neighbour.
- `pacs`: every domain to every other one, 60 pictures of each class, features of the bundled EfficientNet-Lite0; and
  three domains pooled to the fourth.
- `reviews`: sentiment of 2,000 reviews in four domains, features of the bundled sentence encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import DATA, STYLES, labelled_texts
from headstart.predictor.heads import unit

Floats = NDArray[np.float64]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]

SEEDS = 5
BUMPS = 100
SHIFTS = ("covariate", "target", "concept", "subspace")


@dataclass(frozen=True)
class Task:
    """One source domain and one target domain.

    Args:
        family: which it belongs to.
        name: which it is.
        Xs: (N, D) features of the source.
        ys: (N,) its labels.
        Xt: (M, D) features of the target.
        yt: (M,) its labels, which nothing but the last count may see.
        points: the planar points behind the features, of source and target; None: there are none.
    """

    family: str
    name: str
    Xs: Features
    ys: Labels
    Xt: Features
    yt: Labels
    points: tuple[Features, Features] | None = None

    @property
    def classes(self) -> int:
        """How many, in the source."""
        return int(self.ys.max()) + 1


# -- shifts in the plane ----------------------------------------------------------------------------------------------


def _disc(n: int, rng: np.random.Generator) -> Floats:
    angle, radius = 2 * np.pi * rng.random(n), np.sqrt(rng.random(n))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _beside(n: int, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """(8 n, 2): a tilted disc of class 0, and beside it four clusters of class 1."""
    clusters = [
        ((-1.5, 3.0), ((0.15, 0.0), (0.0, 0.3))),
        ((-0.5, 1.0), ((0.2, -0.1), (-0.1, 0.2))),
        ((1.0, -0.4), ((0.17, -0.05), (-0.05, 0.17))),
        ((3.0, -1.0), ((0.3, 0.0), (0.0, 0.15))),
    ]
    parts = [_disc(4 * n, rng) @ np.array([[2.0, -0.5], [-0.5, 2.0]]) + 2.0]
    parts += [rng.normal(size=(n, 2)) @ np.array(spread) + mean for mean, spread in clusters]
    return np.concatenate(parts), np.repeat([0, 1], 4 * n)


def _across(n: int, rng: np.random.Generator) -> tuple[Floats, Labels]:
    """(4 n, 2): one cluster of class 0 between two of class 1, apart along one diagonal only."""
    parts = [0.5 * rng.normal(size=(2 * n, 2)) + (-1.0, 1.0)]
    parts += [0.1 * rng.normal(size=(n, 2)) + mean for mean in ((1.5, 0.5), (-0.5, -1.5))]
    return np.concatenate(parts), np.repeat([0, 1], 2 * n)


def planar(shift: str, seed: int, n: int = 100) -> tuple[Floats, Labels, Floats, Labels]:
    """Source points (N, 2), their labels, target points (M, 2), their labels, as skada-bench sets them.

    Args:
        shift: `covariate`: target points are drawn near (0, 2); `target`: nine tenths are of class 0; `concept`: every
            point is moved and scaled, 0.7 x + 1; `subspace`: mirrored at the origin, three times as many points.
        seed: of all draws.
        n: a domain has 8 n points (12 n of `subspace`).
    """
    rng = np.random.default_rng((SHIFTS.index(shift), seed))
    make, noise, n = (_across, 0.4, 3 * n) if shift == "subspace" else (_beside, 0.8, n)
    A, a = make(n, rng)
    if shift == "covariate":
        B, b = make(100 * n, rng)
        likely = np.exp(-2 * ((B - (0.0, 2.0)) ** 2).sum(axis=1))
        rows = rng.choice(len(B), 8 * n, replace=False, p=likely / likely.sum())
        B, b = B[rows], b[rows]
    elif shift == "target":
        B, b = make(3 * n, rng)
        kept = [rng.permutation(np.flatnonzero(b == c))[: round(8 * n * share)] for c, share in enumerate((0.9, 0.1))]
        B, b = (part[np.concatenate(kept)] for part in (B, b))
    else:
        B, b = make(n, rng)
        B = -B if shift == "subspace" else 0.7 * B + 1.0
    return A + noise * rng.normal(size=A.shape), a, B + noise * rng.normal(size=B.shape), b


def bumps(
    A: NDArray[np.floating], B: NDArray[np.floating], seed: int, *, count: int = BUMPS, narrow: float = 2.0
) -> tuple[Features, Features]:
    """(N, count) and (M, count): Gaussian bumps around points of both, exp(-narrow (distance / median distance)^2)."""
    both = np.concatenate([A, B]).astype(np.float64)
    centres = both[np.random.default_rng(seed).permutation(len(both))[:count]]

    def squared(X: NDArray[np.floating]) -> Floats:
        return np.maximum((X**2).sum(axis=1)[:, None] - 2 * X @ centres.T + (centres**2).sum(axis=1), 0.0)

    width = np.median(squared(centres)[np.triu_indices(len(centres), 1)]) / narrow
    return tuple(np.exp(-squared(X) / width).astype(np.float32) for X in (A, B))  # type: ignore[return-value]


def _simulated() -> Iterator[Task]:
    for shift, seed in itertools.product(SHIFTS, range(SEEDS)):
        A, a, B, b = planar(shift, seed)
        S, T = bumps(A, B, seed)
        yield Task("simulated", f"{shift} {seed}", S, a, T, b, (A.astype(np.float32), B.astype(np.float32)))


# -- real data --------------------------------------------------------------------------------------------------------

Part = tuple[Features, Labels]


def _pairs(family: str, parts: dict[str, Part]) -> Iterator[Task]:
    """Every ordered pair of domains."""
    for one, other in itertools.permutations(parts, 2):
        yield Task(family, f"{one} to {other}", *parts[one], *parts[other])


def _office() -> Iterator[Task]:
    from scipy.io import loadmat

    parts = {}
    for name in ("Caltech10", "amazon", "webcam", "dslr"):
        document = loadmat(DATA / "office_caltech_surf" / f"{name}_SURF_L10.mat")
        counts = document["fts"].astype(np.float64)
        shares = counts / counts.sum(axis=1, keepdims=True)
        parts[name.removesuffix("10").lower()] = (
            (100 * shares).astype(np.float32),
            document["labels"].ravel().astype(np.int64) - 1,
        )
    return _pairs("office", parts)


def _digits() -> Iterator[Task]:
    with np.load(DATA / "usps_mnist" / "USPS_vs_MNIST.npz") as found:
        parts = {
            name: (_rows(found[f"X{key}"], found[f"Y{key}"]), found[f"Y{key}"].ravel().astype(np.int64) - 1)
            for name, key in (("usps", "s"), ("mnist", "t"))
        }
    (usps, mnist), labels = (X for X, _ in parts.values()), [y for _, y in parts.values()]
    seen = bumps(usps, mnist, 0, count=400, narrow=6.0)
    return _pairs("digits", dict(zip(parts, zip(seen, labels, strict=True), strict=True)))


def _rows(X: NDArray[Any], y: NDArray[Any]) -> Features:
    """An example a row, whichever way it was saved, of length 1."""
    X = np.asarray(X if len(X) == y.size else X.T, dtype=np.float64)
    return unit(X).astype(np.float32)


def _pacs() -> Iterator[Task]:
    from headstart.target.domain import load_domain

    parts: dict[str, Part] = {}
    for name in STYLES:
        domain = load_domain(DATA / "pacs" / name)
        parts[name] = (seen("efficientnet_lite0", domain.inputs), domain.codes(domain.classes))
    yield from _pairs("pacs", parts)
    for name in STYLES:
        others = [parts[other] for other in STYLES if other != name]
        Xs, ys = (np.concatenate(part) for part in zip(*others, strict=True))
        yield Task("pacs", f"all others to {name}", Xs, ys, *parts[name])


def _reviews() -> Iterator[Task]:
    from headstart.target.inputs import StringInputs

    parts: dict[str, Part] = {}
    for name in ("books", "dvd", "electronics", "kitchen"):
        rows = labelled_texts(DATA / "product_reviews" / f"{name}.csv")
        labels = sorted({label for _, label in rows})
        parts[name] = (
            seen("minilm_l6", StringInputs([text for text, _ in rows])),
            np.array([labels.index(label) for _, label in rows]),
        )
    return _pairs("reviews", parts)


def seen(source: str, inputs: Any) -> Features:
    """Frozen features, from the user's store: computed once on a machine."""
    from headstart.source import find
    from headstart.strategy.contract import Bench

    found, bench = find(source), Bench()
    return np.asarray(bench.features(bench.body(found), inputs, found.card.short), dtype=np.float32)


FAMILIES: dict[str, tuple[Callable[[], Iterator[Task]], str]] = {
    "simulated": (_simulated, ""),
    "office": (_office, "office_caltech_surf"),
    "digits": (_digits, "usps_mnist"),
    "pacs": (_pacs, "pacs"),
    "reviews": (_reviews, "product_reviews"),
}
"""Every family: what makes its tasks, and the folder of benchmark data that it needs."""
