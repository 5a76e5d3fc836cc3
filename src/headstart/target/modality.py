"""Modalities: what is different between pictures and texts, as data and functions in one place.

A modality is a reader of files, a way to examine inputs, and words. What a network makes of an input is a matter of its
source's preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.target import hygiene, image, similar, text
from headstart.target.inputs import ArrayInputs, Inputs, PathInputs, StringInputs, TextFileInputs

Progress = Callable[[int, int], None]


class Looked(Protocol):
    """What looking once at N inputs tells: whatever the modality, who cannot be read, and who is whom."""

    errors: dict[int, str]
    digests: list[str]

    def __len__(self) -> int: ...

    def notes(self) -> list[str]:
        """What is to be said about the inputs as a whole."""
        ...


@dataclass(frozen=True)
class Modality:
    """What examples are made of.

    Args:
        name: as cards, targets and evidence call it.
        one: what a single input is called in messages.
        many: several of them.
        examples: what a target's inputs are called when they are counted.
        kinds: what can be read, in words.
        suffixes: of files that are read.
        unsupported: suffixes of files that are of this modality, but of a kind that is not read.
        convert: what to do about those.
        files: inputs that are files: `files(paths, root)`.
        examine: looks at every input: `examine(inputs, threads=..., progress=...)`.
        near_duplicates: pairs that are nearly the same among those chosen, and whether all were looked at.
        made_up: a few synthetic inputs, by which a reloaded model is compared with the one in memory.
    """

    name: str
    one: str
    many: str
    examples: str
    kinds: str
    suffixes: frozenset[str]
    unsupported: frozenset[str]
    convert: str
    files: Callable[[Sequence[str], Path | None], Inputs]
    examine: Callable[..., Any]
    near_duplicates: Callable[[Any, NDArray[np.bool_]], tuple[list[tuple[int, int]], bool]]
    made_up: Callable[[], Inputs]


def _noise() -> Inputs:
    return ArrayInputs(np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8))


def _phrases() -> Inputs:
    long = " ".join(f"word{i}" for i in range(700))  # longer than one window of most networks
    return StringInputs(["a", "Where is my card? It was sent 2 weeks ago.", "Größe: 1½ £ — ça va 東京 🙂", long])


IMAGE = Modality(
    name="image",
    one="picture",
    many="pictures",
    examples="images",
    kinds="JPEG, PNG, GIF, BMP, TIFF, WebP or AVIF pictures",
    suffixes=image.SUFFIXES,
    unsupported=image.UNSUPPORTED_SUFFIXES,
    convert="convert it to JPEG or PNG",
    files=PathInputs,
    examine=hygiene.examine,
    near_duplicates=hygiene.near_duplicates,
    made_up=_noise,
)

TEXT = Modality(
    name="text",
    one="text",
    many="texts",
    examples="texts",
    kinds="texts in UTF-8, UTF-16, Windows-1252 or Latin-1",
    suffixes=text.SUFFIXES,
    unsupported=text.UNSUPPORTED_SUFFIXES,
    convert="convert it to plain text",
    files=TextFileInputs,
    examine=similar.examine,
    near_duplicates=similar.near_duplicates,
    made_up=_phrases,
)

MODALITIES = {modality.name: modality for modality in (IMAGE, TEXT)}
"""All of them, by name."""


def modality_of(inputs: Inputs) -> Modality:
    """The modality of some inputs."""
    return MODALITIES[inputs.modality]
