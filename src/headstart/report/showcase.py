"""The pictures a report shows: test examples that transfer put right, and test examples that it put wrong."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Shown:
    """One test example with what both finalists said about it.

    Args:
        name: what the example is called (its path relative to the target's root).
        truth: its true class.
        transfer: the class that the transfer finalist predicted.
        baseline: the class that the baseline finalist predicted.
        transfer_probability: the probability, 0 to 1, that the transfer finalist gave to its prediction.
        thumbnail: a small JPEG or PNG, see :func:`thumbnail`.
    """

    name: str
    truth: str
    transfer: str
    baseline: str
    transfer_probability: float
    thumbnail: bytes

    @property
    def data_uri(self) -> str:
        """The thumbnail as a `data:` address, so that a page can hold it without a second file."""
        kind = "png" if self.thumbnail.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.thumbnail).decode('ascii')}"


@dataclass(frozen=True)
class Showcase:
    """Test examples on which the finalists disagree.

    Args:
        fixed: transfer is right, the baseline wrong.
        broke: transfer is wrong, the baseline right.
        credit: who made the pictures and under which licence, where that must be said.
    """

    fixed: list[Shown] = field(default_factory=list)
    broke: list[Shown] = field(default_factory=list)
    credit: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON document, thumbnails in base64; :meth:`from_json` reads it back."""
        sides = {
            side: [
                {**asdict(shown), "thumbnail": base64.b64encode(shown.thumbnail).decode("ascii")}
                for shown in getattr(self, side)
            ]
            for side in ("fixed", "broke")
        }
        return {**sides, "credit": self.credit}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Showcase:
        """The showcase that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: the document is something else.
        """
        read = {
            side: [
                Shown(**{**shown, "thumbnail": base64.b64decode(shown["thumbnail"], validate=True)})
                for shown in document[side]
            ]
            for side in ("fixed", "broke")
        }
        return cls(**read, credit=document["credit"])


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
