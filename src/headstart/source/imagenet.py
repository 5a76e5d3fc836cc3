"""The 1,000 classes of ImageNet-1k by name, in the order of every classifier trained on it."""

from __future__ import annotations

import functools
from importlib import util
from pathlib import Path

from headstart.errors import Problem, SourceError

IMAGENET = "ImageNet-1k"


@functools.lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The lemmas of each class's WordNet synset, such as `tench, Tinca tinca`.

    They are among timm's data (Apache-2.0; the lemmas are WordNet's). Its files are read without importing it: that
    takes seconds, and brings torch along.

    Raises:
        SourceError: the installed timm has no such files.
    """
    found = util.find_spec("timm")
    folder = Path(found.submodule_search_locations[0]) / "data" / "_info" if found else Path()  # type: ignore[index]
    try:
        synsets = (folder / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
        lines = (folder / "imagenet_synset_to_lemma.txt").read_text(encoding="utf-8").splitlines()
        lemmas = dict(line.split("\t", 1) for line in lines if line)
        return tuple(lemmas[synset].strip() for synset in synsets)
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(
            Problem(
                "the names of ImageNet's classes are not among timm's data", "timm 1.0.15 or newer", "pip install timm"
            )
        ) from error
