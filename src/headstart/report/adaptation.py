"""What was chosen in an adaptation, and why, as a page in the report's style. It needs no label of the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart.domains.few import LEVEL
from headstart.errors import plural
from headstart.files import write_text
from headstart.report import words
from headstart.report.page import environment
from headstart.search.adapt import Choice

PAGE = "adaptation.html"
VALIDATORS = {
    "importance_weighted": "accuracy on held-out source examples, weighted like the target",
    "dev": "the same with the weights as a control variate",
    "entropy": "how sure the model is on the target",
    "infomax": "how sure, with all classes in use",
    "neighbourhood": "whether alike target examples are predicted alike",
    "circular": "accuracy on the source of a model of the target's predictions",
    "consensus": "agreement with what all routes together say of the target",
}


@dataclass(frozen=True)
class Row:
    """A route in the table: what labelled target examples say, ranks, and values with `better`, `worse` or nothing."""

    name: str
    shipped: bool
    labelled: float | None
    source_weight: str
    source_interval: str
    rank: float
    first: float
    values: tuple[tuple[str, str], ...]


def adaptation_html(choice: Choice) -> str:
    """The whole page as HTML text."""
    validators = list(next(iter(choice.agreement.values.values())))
    return (
        environment()
        .get_template("adaptation.html.j2")
        .render(
            c=choice,
            facts=list(_facts(choice)),
            rows=list(_rows(choice, validators)),
            validators=[(name.replace("_", " "), VALIDATORS[name], _trust(choice, name)) for name in validators],
        )
    )


def write_adaptation(choice: Choice, out: Path) -> Path:
    """Write `adaptation.html` into the folder `out`, in one step."""
    page = out / PAGE
    write_text(page, adaptation_html(choice))
    return page


def _facts(choice: Choice) -> Iterator[tuple[str, str]]:
    yield "Source", f"{choice.source_domain}, {plural(choice.examples[0], 'labelled example')}"
    for name, said in choice.between().items():
        yield "In between", f"{name}, {said}"
    yield "Target", f"{choice.target_domain}, {plural(choice.examples[1], 'example')}"
    yield "Its labels", choice.used()
    yield "Tried", plural(len(choice.names), "route")
    if choice.change is not None:
        what = choice.change
        yield (
            "What it changes",
            (
                f"{choice.rival} says another class than source-only of {100 * what.changed:.0f} % of the target; "
                f"{100 * what.flow:.0f} % of that is only how often each class is said"
            ),
        )
    if choice.untried:
        yield "Not tried", f"{', '.join(choice.untried)}: the budget had no room, or they failed"


def _rows(choice: Choice, validators: list[str]) -> Iterator[Row]:
    said = choice.agreement
    for name in sorted(said.rank, key=lambda name: (-choice.labelled.get(name, 0.0), said.rank[name])):
        weight = choice.said.get(name, {}).get("source_weight")
        yield Row(
            name,
            name == choice.shipped,
            choice.labelled.get(name),
            f"{weight['value']:.2g}" if weight else words.ABSENT,
            f"{weight['low']:.2g} to {weight['high']:.2g}" if weight else "",
            said.rank[name],
            said.first[name],
            tuple((_plain(said.values[name][v]), _mark(*said.lead[name][v])) for v in validators),
        )


def _trust(choice: Choice, validator: str) -> str:
    """Its share of all trust."""
    trust = choice.agreement.trust
    return f"{100 * trust[validator] / (sum(trust.values()) or 1.0):.0f} %"


def _plain(value: float) -> str:
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def _mark(gap: float, noise: float) -> str:
    """Whether a difference to source-only is beyond its noise."""
    if abs(gap) <= LEVEL * noise or not gap:
        return ""
    return "better" if gap > 0 else "worse"
