"""Planted targets: pictures of which it is known beforehand whether transfer helps, hurts, or makes no difference.

A picture is mid-grey, with a random coarse background, a random grain, and one of two secret patterns that carry the
label: `+p` for the class `plus`, `-p` for `minus`.

* The *detail* pattern is a 32 x 32 checkerboard whose 2 x 2 blocks have random signs. Halving the picture averages it
  away; unsigned gradients and the colour histogram are the same for `+p` and `-p`; and where it is what, no network
  that slides over the picture can tell. Only `toy:detail`, which was given the pattern, sees it.
* The *layout* pattern is coarse: downscaled pixels show it, and `toy:detail` is blind to it.

So transfer from `toy:detail` helps where the label is in the detail and hurts where it is in the layout; transfer from
`toy:pixels`, which computes what the pixel baseline computes, makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.judge import Round
from headstart.target.assemble import assemble
from headstart.target.inputs import ArrayInputs
from headstart.target.raw import Raw, Side
from headstart.target.target import Target

SIDE = 32
CLASSES = ("minus", "plus")
_GRAIN, _BACKGROUND = 20.0, 16.0  # standard deviations, grey levels
_AMPLITUDES = {"detail": 4.0, "layout": 16.0}  # grey levels

Where = Literal["detail", "layout"]


def pattern(where: Where) -> NDArray[np.float64]:
    """The (32, 32) secret pattern of +1 and -1; always the same."""
    rng = np.random.default_rng({"detail": 11, "layout": 12}[where])
    if where == "detail":
        signs = rng.choice([-1.0, 1.0], (SIDE // 2, SIDE // 2))
        return np.kron(signs, np.array([[1.0, -1.0], [-1.0, 1.0]]))
    return np.kron(rng.permutation(np.repeat([-1.0, 1.0], 32)).reshape(8, 8), np.ones((4, 4)))


@dataclass(frozen=True)
class Planted:
    """A target of which the outcome is known.

    Args:
        name: what it is called.
        pictures: (N, 32, 32, 3) uint8, the training examples first.
        labels: N class names.
        train: how many are training examples; the others are the given test split (none: no split is given).
        source: the pretrained source that the outcome holds for.
    """

    name: str
    pictures: NDArray[np.uint8]
    labels: tuple[str, ...]
    train: int
    source: str

    def raw(self) -> Raw:
        """What a reader would have read."""
        sides: list[Side] = ["train" if i < self.train else "test" for i in range(len(self.labels))]
        return Raw(self.name, ArrayInputs(self.pictures), self.labels, sides if "test" in sides else None)

    def target(self) -> Target:
        """The target, sealed."""
        return assemble(self.raw(), test_fraction=0.25, seed=0)


def positive(train: int = 80, test: int = 160, seed: int = 0) -> Planted:
    """Transfer helps, by nearly 50 points: the label is in the detail, and only the source sees it."""
    return _planted("positive", "detail", "toy:detail", train, test, seed)


def negative(train: int = 80, test: int = 160, seed: int = 0) -> Planted:
    """Transfer hurts, by nearly 50 points: the label is in the layout, and the source is blind to it."""
    return _planted("negative", "layout", "toy:detail", train, test, seed)


def null(train: int = 80, test: int = 160, seed: int = 0) -> Planted:
    """Transfer makes no difference: the label is in the layout, and the source computes what the baseline does."""
    return _planted("null", "layout", "toy:pixels", train, test, seed)


def _planted(name: str, where: Where, source: str, train: int, test: int, seed: int) -> Planted:
    rng = np.random.default_rng([seed, train, test])
    n = train + test
    # Both parts are balanced.
    y = np.concatenate([rng.permutation(np.arange(part) % 2) for part in (train, test)])
    planted = pattern(where)
    background = np.kron(rng.normal(0, _BACKGROUND, (n, 8, 8)), np.ones((4, 4)))
    pictures = background + rng.normal(0, _GRAIN, (n, SIDE, SIDE))
    # What chance has put along the pattern is taken out, so that the label is nowhere but where it was planted.
    along = np.einsum("nij,ij->n", pictures, planted) / planted.size
    pictures += ((2 * y - 1) * _AMPLITUDES[where] - along)[:, None, None] * planted
    grey = np.clip(np.round(pictures + 128), 0, 255).astype(np.uint8)
    return Planted(name, np.repeat(grey[..., None], 3, axis=3), tuple(CLASSES[c] for c in y), train, source)


def predictions(
    transfer: float,
    baseline: float,
    *,
    n: int = 150,
    classes: int = 2,
    seeds: int = 5,
    n_train: int = 80,
    seed: int = 0,
) -> Round:
    """Planted predictions for simulations: both finalists' probabilities on the same sealed examples.

    Args:
        transfer: probability that the transfer finalist is right on an example.
        baseline: likewise; the two err independently of one another.
        n: sealed examples.
        classes: number of classes.
        seeds: final trainings of each.
        n_train: training examples.
        seed: everything random.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    sides = []
    for chance in (transfer, baseline):
        wrong = (labels + rng.integers(1, classes, (seeds, n))) % classes
        predicted = np.where(rng.random((seeds, n)) < chance, labels, wrong)
        sides.append(0.6 * np.eye(classes)[predicted] + 0.4 / classes)
    return Round(labels, sides[0], sides[1], n_train)
