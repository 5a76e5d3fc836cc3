"""From a picture to a network's input."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart import machine, profile
from headstart.source.card import Preprocessing
from headstart.target.image import extent
from headstart.target.inputs import Inputs, pictures_in
from headstart.target.unreadable import Unreadable

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
    start, above, right, bottom = extent(image)
    if how.squash:
        return np.asarray(image.resize((size, size), filter, box=(start, above, right, bottom)))
    # As torchvision's Resize and CenterCrop: the shorter side to floor(size / crop), then the centre.
    short = int(size / how.crop)
    width, height = right - start, bottom - above
    scale = short / min(width, height)
    resized = (max(short, int(width * scale)), max(short, int(height * scale)))
    # Only the part that survives the crop is resampled, so that a 1 x 10,000 strip does not become a 10^6-pixel one.
    left, top = round((resized[0] - size) / 2.0), round((resized[1] - size) / 2.0)
    horizontal, vertical = width / resized[0], height / resized[1]
    box = (
        start + left * horizontal,
        above + top * vertical,
        min(right, start + (left + size) * horizontal),
        min(bottom, above + (top + size) * vertical),
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


REDUCING = 2
"""Large JPEGs are decoded no smaller than this many times what is needed, and then resized with antialiasing."""


def needed(how: Preprocessing) -> int:
    """How long the shorter side of a picture must be before it is resized, pixels."""
    return REDUCING * (how.size if how.squash else int(how.size / how.crop))


def decoded(
    inputs: Inputs,
    how: Preprocessing,
    index: NDArray[np.int64],
    *,
    threads: int | None = None,
    ahead: int = 64,
    change: Callable[[Image.Image, int], NDArray[np.uint8]] | None = None,
) -> Iterator[tuple[int, NDArray[np.uint8] | str]]:
    """Decode inputs in threads, at most `ahead` of them before they are taken, in order.

    Args:
        inputs: what to decode.
        how: preprocessing.
        index: which.
        threads: how many; None: one per core.
        ahead: bound of the queue.
        change: picture and position to pixels; None: :func:`to_pixels`.

    Yields:
        (position, pixels (S, S, 3) uint8), or (position, the reason) where an input cannot be read.
    """
    at_least, pictures = needed(how), pictures_in(inputs)
    if change is None:

        def change(image: Image.Image, _: int) -> NDArray[np.uint8]:
            return to_pixels(image, how)

    def one(i: int) -> tuple[int, NDArray[np.uint8] | str]:
        try:
            with profile.phase("decode"):  # busy seconds of this thread, beside the wall time
                return i, change(pictures.preview(i, at_least), i)
        except Unreadable as error:
            return i, str(error)

    with ThreadPoolExecutor(threads or machine.cores()) as pool:
        waiting = iter(int(i) for i in index)
        queue = deque(pool.submit(one, i) for i in islice(waiting, ahead))
        try:
            while queue:
                result = queue.popleft().result()
                if (upcoming := next(waiting, None)) is not None:
                    queue.append(pool.submit(one, upcoming))
                yield result
        finally:
            for future in queue:
                future.cancel()
