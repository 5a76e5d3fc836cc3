"""What adaptation over intermediate domains is measured on: four families of chains of domains.

- `rotated`: handwritten digits of USPS, MNIST and scikit-learn: upright, turned by 20 and by 40 degrees, and, the
  target, by 60; each domain is other digits. These truly lie in between (as in Kumar, Ma & Liang 2020).
- `worse cameras`: photos of flowers, textures and insects, and the three cameras of `benchmarks.adapt_deep_tasks`, a
  third as bad, two thirds as bad, and, the target, as bad as there; each domain is other photos.
- `styles`: PACS, every style to every other one over a third one, which need not lie between.
- `products`: sentiment of reviews, every kind of product to every other one over a third one, which hardly can.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.adapt_deep_tasks import CAMERAS, Pair, apart, digits, paired, photos, worsened
from benchmarks.common import DATA, STYLES
from headstart.target.domain import Domain, load_domain
from headstart.target.inputs import ArrayInputs

ANGLES = (0, 20, 40, 60)
LEVELS = (0.0, 1 / 3, 2 / 3, 1.0)
DRAWN = 32  # pixels on each side of a digit that is turned
KINDS = ("books", "dvd", "electronics", "kitchen")


def _rotated() -> Iterator[Pair]:
    for name, (X, y) in digits().items():
        domains = []
        for rows, angle in zip(apart(y, len(ANGLES)), ANGLES, strict=True):
            pictures = np.stack([_turned(X[row], angle) for row in rows])
            domains.append(Domain(f"{angle} degrees", ArrayInputs(pictures), tuple(str(label) for label in y[rows])))
        yield _chain("rotated", name, domains)


def _turned(values: NDArray[np.floating], angle: float) -> NDArray[np.uint8]:
    side = round(values.size**0.5)
    picture = Image.fromarray(np.clip(np.round(255 * values.reshape(side, side)), 0, 255).astype(np.uint8))
    larger = picture.resize((DRAWN, DRAWN), Image.Resampling.BICUBIC)
    return np.asarray(larger.rotate(angle, Image.Resampling.BICUBIC))


def _cameras() -> Iterator[Pair]:
    for name, (first, *others) in photos(len(LEVELS)):
        for camera in CAMERAS:
            worse = [worsened(group, camera, level) for level, group in zip(LEVELS[1:], others, strict=True)]
            yield _chain("worse cameras", f"{name}, {camera.__name__}", [first, *worse])


def _styles() -> Iterator[Pair]:
    domains = {name: load_domain(DATA / "pacs" / name) for name in STYLES}
    yield from _triples("styles", domains)


def _products() -> Iterator[Pair]:
    domains = {name: load_domain(DATA / "product_reviews" / f"{name}.csv") for name in KINDS}
    yield from _triples("products", domains, "minilm_l6")


def _triples(family: str, domains: dict[str, Domain], source: str = Pair.source) -> Iterator[Pair]:
    for first, between, last in itertools.permutations(domains, 3):
        found = [domains[name] for name in (first, between, last)]
        yield _chain(family, f"{first} over {between} to {last}", found, source)


def _chain(family: str, name: str, domains: list[Domain], source: str = Pair.source) -> Pair:
    first, *between, last = domains
    return paired(family, name, first, last, between, source)


FAMILIES: dict[str, tuple[Callable[[], Iterator[Pair]], tuple[str, ...]]] = {
    "rotated": (_rotated, ("usps_mnist",)),
    "worse cameras": (_cameras, ("flowers", "textures", "ants_bees")),
    "styles": (_styles, ("pacs",)),
    "products": (_products, ("product_reviews",)),
}
"""Every family: what makes its chains, and the folders of benchmark data that it needs."""
