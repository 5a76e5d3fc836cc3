"""What moved between two domains, as a page in the report's style."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.errors import plural
from headstart.files import write_text
from headstart.report import words
from headstart.report.page import environment
from headstart.report.showcase import Shown, beginning, thumbnail
from headstart.search.shift import Shift
from headstart.target.inputs import Inputs, TextInputs, pictures_in

WIDE, HIGH, EDGE = 640, 360, 12


def shift_html(found: Shift, source: Inputs, target: Inputs) -> str:
    """The whole page as HTML text.

    Args:
        found: what moved.
        source: the inputs of the source domain, as they were given; the extremes are found among them by name.
        target: likewise.
    """
    return (
        environment()
        .get_template("shift.html.j2")
        .render(
            s=found,
            rows=list(_facts(found)),
            dots=_dots(found),
            extremes=[
                (f"Of {found.target}, least like {found.source}", _shown(found, "target", target)),
                (f"Of {found.source}, least like {found.target}", _shown(found, "source", source)),
            ],
        )
    )


def write_shift(found: Shift, source: Inputs, target: Inputs, path: Path) -> Path:
    """Write the page to `path`, in one step."""
    write_text(path, shift_html(found, source, target))
    return path


def _facts(found: Shift) -> Sequence[tuple[str, str]]:
    moved, labels = found.inputs, found.labels
    rows = [
        ("Setting", f"{found.setting}: {found.setting_words}"),
        (
            "P(X)",
            f"classifier AUC {moved.auc:.3f} ({moved.low:.3f} to {moved.high:.3f}), p = {moved.p_value:.2g}; "
            f"MMD² {moved.mmd_squared:.2g}, p = {moved.mmd_p_value:.2g}; "
            f"{moved.features_moved} of {moved.features} features moved",
        ),
    ]
    if labels is not None:
        rest = ""
        if labels.rest_auc is not None and labels.rest_p_value is not None:
            rest = f"; thinned to the target's classes AUC {labels.rest_auc[0]:.3f}, p = {labels.rest_p_value:.2g}"
        rows.append(("P(Y)", f"{'labels' if labels.known else 'predictions'} p = {labels.p_value:.2g}{rest}"))
    if found.concept is not None:
        rows.append(
            (
                "P(Y given X)",
                f"{found.concept.verdict}; source model {words.percent(found.concept.observed)} on "
                f"{plural(found.concept.examples, 'labelled target example')}, "
                f"{words.percent(found.concept.by_inputs)} if only P(X) moved, "
                f"{words.percent(found.concept.by_labels)} if only P(Y) moved",
            )
        )
    return rows


def _dots(found: Shift) -> dict[str, list[tuple[float, float]]]:
    every = [place for part in found.plane for place in part]
    low = [min(place[axis] for place in every) for axis in (0, 1)]
    high = [max(place[axis] for place in every) for axis in (0, 1)]

    def at(place: Sequence[float]) -> tuple[float, float]:
        share = [(place[axis] - low[axis]) / max(high[axis] - low[axis], 1e-12) for axis in (0, 1)]
        return round(EDGE + share[0] * (WIDE - 2 * EDGE), 1), round(HIGH - EDGE - share[1] * (HIGH - 2 * EDGE), 1)

    return {name: [at(place) for place in part] for name, part in zip(("source", "target"), found.plane, strict=True)}


def _shown(found: Shift, domain: str, inputs: Inputs) -> list[Shown]:
    shown = []
    for example in found.extremes:
        if example.domain != domain:
            continue
        looks: dict[str, Any]
        if isinstance(inputs, TextInputs):
            looks = {"text": beginning(inputs.text(example.at))}
        else:
            looks = {"thumbnail": thumbnail(pictures_in(inputs).image(example.at))}
        shown.append(Shown(example.name, "", "", "", 0.0, **looks))
    return shown
