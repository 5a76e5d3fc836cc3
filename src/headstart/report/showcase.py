"""The examples a report shows: those that transfer put right, those that it put wrong, and those in doubt."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


_SIDES = ("fixed", "broke", "doubted")
LONGEST = 280  # characters of a text that are shown


@dataclass(frozen=True)
class Shown:
    """One test example with what both finalists said about it.

    Args:
        name: what the example is called (its path relative to the target's root).
        truth: its true class.
        transfer: the class that the transfer finalist predicted.
        baseline: the class that the baseline finalist predicted.
        transfer_probability: the probability, 0 to 1, that the transfer finalist gave to its prediction.
        thumbnail: of a picture: a small JPEG or PNG, see :func:`thumbnail`.
        text: of a text: its beginning, see :func:`beginning`.
    """

    name: str
    truth: str
    transfer: str
    baseline: str
    transfer_probability: float
    thumbnail: bytes = b""
    text: str = ""

    @property
    def data_uri(self) -> str:
        """The thumbnail as a `data:` address, so that a page can hold it without a second file."""
        kind = "png" if self.thumbnail.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.thumbnail).decode('ascii')}"


@dataclass(frozen=True)
class Telling:
    """What tells a class of texts apart.

    Args:
        name: of the class.
        words: that speak for it most.
        example: the test text of the class that the shipped model is surest of, where it is right.
    """

    name: str
    words: tuple[str, ...] = ()
    example: str = ""


@dataclass(frozen=True)
class Showcase:
    """Test examples on which the finalists disagree, and training examples whose labels are in doubt.

    Args:
        fixed: transfer is right, the baseline wrong.
        broke: transfer is wrong, the baseline right.
        doubted: training examples whose label the transfer finalist confidently disagrees with, though it was not
            trained on them; `truth` is the label as it was given.
        telling: of texts: what tells each class apart.
        credit: who made the pictures and under which licence, where that must be said.
    """

    fixed: list[Shown] = field(default_factory=list)
    broke: list[Shown] = field(default_factory=list)
    doubted: list[Shown] = field(default_factory=list)
    telling: list[Telling] = field(default_factory=list)
    credit: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON document, thumbnails in base64; :meth:`from_json` reads it back."""
        sides = {
            side: [
                {**asdict(shown), "thumbnail": base64.b64encode(shown.thumbnail).decode("ascii")}
                for shown in getattr(self, side)
            ]
            for side in _SIDES
        }
        return {**sides, "telling": [asdict(item) for item in self.telling], "credit": self.credit}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Showcase:
        """The showcase that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the document is something else.
        """
        read = {
            side: [
                Shown(**{**shown, "thumbnail": base64.b64decode(shown["thumbnail"], validate=True)})
                for shown in document.get(side, [])
            ]
            for side in _SIDES
        }
        telling = [Telling(**{**item, "words": tuple(item["words"])}) for item in document.get("telling", [])]
        return cls(**read, telling=telling, credit=document["credit"])


def beginning(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text on one line, cut between words where there are any.

    >>> beginning("one two  three", 9)
    'one two …'
    """
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    head = line[: longest - 1]
    return f"{head.rsplit(' ', 1)[0] if ' ' in head else head} …"


def thumbnail(image: Image.Image, size: int = 112) -> bytes:
    """`image` as a JPEG whose longer side has at most `size` pixels. The picture given is left as it is.

    >>> from PIL import Image
    >>> Image.open(io.BytesIO(thumbnail(Image.new("RGB", (400, 200)), size=100))).size
    (100, 50)
    """
    small = image.convert("RGB")
    small.thumbnail((size, size))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()
