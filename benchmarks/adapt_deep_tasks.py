"""What deep ways of adaptation are measured on: three families of pairs of domains of pictures.

- `pacs`: the pairs of `benchmarks.adapt_tasks`: every style to every other one, and three styles pooled to the fourth.
- `digit pictures`: handwritten digits of USPS, MNIST (16 x 16) and scikit-learn (8 x 8), 50 of each class and domain,
  each domain to each other one. They are shown to the network as pictures.
- `corrupted`: photos of flowers, textures and insects; half of each class as it is, the other half as a worse camera
  gives it: out of focus, dark and noisy, or with few pixels (after ImageNet-C, Hendrycks & Dietterich 2019).

Features are those of the bundled EfficientNet-Lite0. Office-Caltech exists as bags of words alone, simulated shifts are
points in a plane. Texts are a few pairs of product reviews, 500 of each kind of product, with the bundled encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.adapt_tasks import Task, seen
from benchmarks.common import DATA, STYLES
from headstart.target.adaptation import as_adaptation
from headstart.target.domain import Domain, joined_domains, load_domain
from headstart.target.inputs import ArrayInputs, Inputs, pictures_in
from headstart.target.view import TrainView

EACH = 50  # digits of each class and domain
SIDE = 256  # of corrupted photos
REVIEWS = 500  # of each kind of product
PRODUCTS = (("books", "kitchen"), ("kitchen", "books"), ("dvd", "electronics"), ("electronics", "dvd"))

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One source domain and one target domain, as pictures and as features.

    Args:
        task: features, and the truth.
        view: the source's labels and the target's inputs.
        asked: the target's inputs.
        source: name of the pretrained source.
    """

    task: Task
    view: TrainView
    asked: Inputs
    source: str = "efficientnet_lite0"


def paired(
    family: str,
    name: str,
    source: Domain,
    target: Domain,
    between: Sequence[Domain] = (),
    pretrained: str = Pair.source,
) -> Pair:
    """Domains all of whose examples have labels; of those but the source they are for the last count alone."""
    episode = as_adaptation([source], target, intermediate=between).episode
    view, asked = episode.view, episode.seal.inputs
    parts = [seen(pretrained, part) for part in (view.examples.inputs, asked)]
    truth = target.codes(view.classes)
    return Pair(Task(family, name, parts[0], view.examples.labels, parts[1], truth), view, asked, pretrained)


def _pacs() -> Iterator[Pair]:
    domains = {name: load_domain(DATA / "pacs" / name) for name in STYLES}
    for one, other in itertools.permutations(STYLES, 2):
        yield paired("pacs", f"{one} to {other}", domains[one], domains[other])
    for name in STYLES:
        others = joined_domains([domains[other] for other in STYLES if other != name])
        yield paired("pacs", f"all others to {name}", others, domains[name])


def texts() -> Iterator[Pair]:
    """Sentiment of reviews of one kind of product to another."""
    for names in PRODUCTS:
        domains = [load_domain(DATA / "product_reviews" / f"{name}.csv") for name in names]
        rows = [np.sort(np.random.default_rng(0).permutation(len(domain))[:REVIEWS]) for domain in domains]
        one, other = (domain.take(chosen) for domain, chosen in zip(domains, rows, strict=True))
        yield paired("reviews", " to ".join(names), one, other, pretrained="minilm_l6")


# -- digits -----------------------------------------------------------------------------------------------------------


def digits() -> dict[str, tuple[NDArray[np.floating], NDArray[np.int64]]]:
    """(N, side * side) grey values between 0 and 1, and (N,) digits, of each set of handwritten ones."""
    from sklearn.datasets import load_digits

    with np.load(DATA / "usps_mnist" / "USPS_vs_MNIST.npz") as found:
        raw = {name: (found[f"X{key}"], found[f"Y{key}"].ravel() - 1) for name, key in (("usps", "s"), ("mnist", "t"))}
    small = load_digits()
    raw["scikit-learn"] = (small.data / 16, small.target)
    return {name: (X, y.astype(np.int64)) for name, (X, y) in raw.items()}


def _digits() -> Iterator[Pair]:
    domains = {name: _drawn(name, X, y) for name, (X, y) in digits().items()}
    for one, other in itertools.permutations(domains, 2):
        yield paired("digit pictures", f"{one} to {other}", domains[one], domains[other])


def _drawn(name: str, X: NDArray[np.floating], y: NDArray[np.int64]) -> Domain:
    """`EACH` of each class of (N, side * side) grey values between 0 and 1."""
    rng, side = np.random.default_rng(0), round(X.shape[1] ** 0.5)
    rows = np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[:EACH] for c in range(10)]))
    pictures = np.round(255 * X[rows]).astype(np.uint8).reshape(-1, side, side)
    return Domain(name, ArrayInputs(pictures), tuple(str(label) for label in y[rows]))


# -- a worse camera ---------------------------------------------------------------------------------------------------


def blurred(picture: Image.Image, rng: np.random.Generator, level: float = 1.0) -> Image.Image:
    """Out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(level * SIDE / 50))


def dark(picture: Image.Image, rng: np.random.Generator, level: float = 1.0) -> Image.Image:
    """Three tenths of the light, and noise."""
    noise = rng.normal(scale=20.0 * level, size=(*picture.size[::-1], 3))
    values = (1 - 0.7 * level) * np.asarray(picture, dtype=np.float64) + noise
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))


def coarse(picture: Image.Image, rng: np.random.Generator, level: float = 1.0) -> Image.Image:
    """Of 40 x 40 pixels."""
    side = round(SIDE * (40 / SIDE) ** level)
    return picture.resize((side, side), Image.Resampling.BOX).resize(picture.size, Image.Resampling.BILINEAR)


Camera = Callable[[Image.Image, np.random.Generator, float], Image.Image]
CAMERAS: tuple[Camera, ...] = (blurred, dark, coarse)
"""Each at its worst, or only so far from the picture as `level` says, between 0 and 1."""


def photos(parts: int) -> Iterator[tuple[str, list[Domain]]]:
    """Each set of photos, in so many parts."""
    for name, folders in (("flowers", ("",)), ("textures", ("",)), ("ants_bees", ("train", "val"))):
        whole = joined_domains([load_domain(DATA / name / folder) for folder in folders])
        yield name, [whole.take(rows) for rows in apart(whole.codes(whole.classes), parts)]


def apart(codes: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """Rows of so many parts, each class spread evenly."""
    rng = np.random.default_rng(0)
    by_class = [rng.permutation(np.flatnonzero(codes == c)) for c in range(int(codes.max()) + 1)]
    return [np.sort(np.concatenate([rows[i::parts] for rows in by_class])) for i in range(parts)]


def worsened(photographed: Domain, camera: Camera, level: float = 1.0) -> Domain:
    """What a worse camera gives of a domain."""
    rng, pictures = np.random.default_rng(0), pictures_in(photographed.inputs)
    worse = [np.asarray(camera(_square(pictures.image(i)), rng, level)) for i in range(len(photographed))]
    return Domain(f"{camera.__name__}, {level:.0%}", ArrayInputs(worse), photographed.labels)


def _corrupted() -> Iterator[Pair]:
    for name, (source, rest) in photos(2):
        for camera in CAMERAS:
            yield paired("corrupted", f"{name} to {camera.__name__}", source, worsened(rest, camera))


def _square(picture: Image.Image) -> Image.Image:
    """The middle, `SIDE` pixels on each side."""
    left, top = ((size - min(picture.size)) // 2 for size in picture.size)
    box = (left, top, left + min(picture.size), top + min(picture.size))
    return picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)


FAMILIES: dict[str, tuple[Callable[[], Iterator[Pair]], tuple[str, ...]]] = {
    "pacs": (_pacs, ("pacs",)),
    "digit pictures": (_digits, ("usps_mnist",)),
    "corrupted": (_corrupted, ("flowers", "textures", "ants_bees")),
}
"""Every family: what makes its pairs, and the folders of benchmark data that it needs."""
