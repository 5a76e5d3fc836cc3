"""The report: Evidence as one page that anyone can read, `report.html`, and its plain twin, `report.md`."""

from __future__ import annotations

from pathlib import Path

from headstart.files import write_text
from headstart.judge.evidence import Evidence
from headstart.report.adaptation import adaptation_html, write_adaptation
from headstart.report.page import html, markdown
from headstart.report.shift import shift_html, write_shift
from headstart.report.showcase import Showcase, Shown, Telling, beginning, thumbnail
from headstart.report.words import headline, sentence

__all__ = [
    "Showcase",
    "Shown",
    "Telling",
    "adaptation_html",
    "beginning",
    "headline",
    "html",
    "markdown",
    "sentence",
    "shift_html",
    "thumbnail",
    "write",
    "write_adaptation",
    "write_shift",
]


def write(evidence: Evidence, out: Path, showcase: Showcase | None = None) -> Path:
    """Write `report.html` and `report.md` into the folder `out`, each in one step.

    The page is one file with everything inside: it loads nothing, runs no script, and follows the reader's light or
    dark setting. The same evidence gives the same bytes.

    Args:
        evidence: what judge says.
        out: the run directory; it is made if it is missing.
        showcase: the examples to show; None: that section is left out.

    Returns:
        The path of `report.html`.

    Raises:
        OSError: `out` cannot be written; what stood there stays as it was.
    """
    page = out / "report.html"
    write_text(out / "report.md", markdown(evidence, showcase))
    write_text(page, html(evidence, showcase))
    return page
