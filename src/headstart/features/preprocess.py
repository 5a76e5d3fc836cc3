"""From a picture to a network's input."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart import machine
from headstart.source.card import Preprocessing
from headstart.target.image import UnreadableImage
from headstart.target.inputs import Inputs

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def to_pixels(image: Image.Image, how: Preprocessing) -> NDArray[np.uint8]:
    """A picture as the (S, S, 3) uint8 pixels that `how` asks for, not yet normalised."""
    filter = _FILTERS.get(how.interpolation, Image.Resampling.BICUBIC)
    size = how.size
    if how.squash:
        return np.asarray(image.resize((size, size), filter))
    # As torchvision's Resize and CenterCrop: the shorter side to floor(size / crop), then the centre.
    short = int(size / how.crop)
    width, height = image.size
    scale = short / min(width, height)
    resized = (max(short, int(width * scale)), max(short, int(height * scale)))
    # Only the part that survives the crop is resampled, so that a 1 x 10,000 strip does not become a 10^6-pixel one.
    left, top = round((resized[0] - size) / 2.0), round((resized[1] - size) / 2.0)
    horizontal, vertical = width / resized[0], height / resized[1]
    box = (
        left * horizontal,
        top * vertical,
        min(width, (left + size) * horizontal),
        min(height, (top + size) * vertical),
    )
    return np.asarray(image.resize((size, size), filter, box=box))


def normalise(pixels: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float32]:
    """(B, S, S, 3) uint8 to (B, 3, S, S) float32: `(value / 255 - mean) / std`."""
    scale = (1 / (255 * np.array(how.std))).astype(np.float32)
    shift = (np.array(how.mean) / np.array(how.std)).astype(np.float32)
    # A contiguous copy with channels first: the layout that compiled networks take.
    batch = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32)
    batch *= scale[:, None, None]
    batch -= shift[:, None, None]
    return batch


def decoded(
    inputs: Inputs, how: Preprocessing, index: NDArray[np.int64], *, threads: int | None = None, ahead: int = 64
) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    """Decode inputs in threads, at most `ahead` of them before they are taken, in order.

    Yields:
        (position, pixels (S, S, 3) uint8), or (position, the reason) where an input cannot be read.
    """

    def one(i: int) -> tuple[int, NDArray[np.uint8] | str]:
        try:
            return i, to_pixels(inputs.image(i), how)
        except UnreadableImage as error:
            return i, str(error)

    with ThreadPoolExecutor(threads or machine.cores()) as pool:
        waiting = iter(int(i) for i in index)
        queue = [pool.submit(one, i) for i in islice(waiting, ahead)]
        queue.reverse()
        try:
            while queue:
                result = queue.pop().result()
                if (upcoming := next(waiting, None)) is not None:
                    queue.insert(0, pool.submit(one, upcoming))
                yield result
        finally:
            for future in queue:
                future.cancel()
