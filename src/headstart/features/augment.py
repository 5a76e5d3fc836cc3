"""Augmentation: random changes of a picture that leave its class as it is, drawn from a given generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from headstart.target.copies import GREY

_GREY = GREY.astype(np.float32)
_RATIO = 1.25  # a random crop is at most this much wider or higher than a square


@dataclass(frozen=True)
class Augmentation:
    """Random resized crop, mirroring, colour jitter, and operations of RandAugment (Cubuk et al. 2020).

    Args:
        crop: smallest share of the picture's area that a random crop keeps (1: no crop).
        flip: mirror half of the pictures left to right (wrong for digits and letters).
        colour: strength of brightness, contrast and saturation changes.
        operations: how many operations of RandAugment a picture goes through, each drawn from :data:`OPERATIONS`.
        magnitude: of these, 0 to 1.
    """

    crop: float = 1.0
    flip: bool = False
    colour: float = 0.0
    operations: int = 0
    magnitude: float = 0.5

    def apply(self, image: Image.Image, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A picture of any size to (size, size, 3) uint8."""
        box = self._box(image.size, rng) if self.crop < 1 else _centre(image.size)
        picture = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        for _ in range(self.operations):
            change = OPERATIONS[rng.integers(len(OPERATIONS))]
            picture = change(picture, self.magnitude * rng.choice((-1.0, 1.0)))
        pixels = np.asarray(picture)
        if self.flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return self._coloured(pixels, rng) if self.colour else np.ascontiguousarray(pixels)

    def _box(self, shape: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
        width, height = shape
        for _ in range(10):
            area = width * height * rng.uniform(self.crop, 1.0)
            ratio = math.exp(rng.uniform(-math.log(_RATIO), math.log(_RATIO)))
            w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if w <= width and h <= height:
                left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
                return left, top, left + w, top + h
        return _centre(shape)

    def _coloured(self, pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        brightness, contrast, saturation = rng.uniform(1 - self.colour, 1 + self.colour, 3).astype(np.float32)
        values = pixels.astype(np.float32) * brightness
        grey = values @ _GREY
        values *= contrast
        values += (1 - contrast) * grey.mean()
        values *= saturation
        values += ((1 - saturation) * (contrast * grey + (1 - contrast) * grey.mean()))[..., None]
        changed: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
        return changed


def _centre(shape: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest square in the middle."""
    width, height = shape
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _moved(*rows: float) -> Callable[[Image.Image, float], Image.Image]:
    """An affine map: the six numbers of the identity plus the magnitude times `rows`.

    The last number of each row is a share of the side.
    """

    def change(image: Image.Image, magnitude: float) -> Image.Image:
        side = image.width
        shifts = [magnitude * row * (side if k % 3 == 2 else 1) for k, row in enumerate(rows)]
        matrix = tuple(one + shift for one, shift in zip((1, 0, 0, 0, 1, 0), shifts, strict=True))
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)
        )

    return change


def _enhanced(kind: Any) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, magnitude: kind(image).enhance(1 + 0.9 * magnitude)


OPERATIONS: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    lambda image, _: image,
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    lambda image, magnitude: image.rotate(30 * magnitude, Image.Resampling.BILINEAR, fillcolor=(128, 128, 128)),
    lambda image, magnitude: ImageOps.posterize(image, 8 - round(4 * abs(magnitude))),
    lambda image, magnitude: ImageOps.solarize(image, 256 - round(256 * abs(magnitude))),
    *(map(_enhanced, (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness, ImageEnhance.Sharpness))),
    _moved(0, 0.3, 0, 0, 0, 0),
    _moved(0, 0, 0, 0.3, 0, 0),
    _moved(0, 0, 0.45, 0, 0, 0),
    _moved(0, 0, 0, 0, 0, 0.45),
)
"""The fourteen of the paper, each of a picture and a magnitude from -1 to 1 with the ranges of its appendix."""
