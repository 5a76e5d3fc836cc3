"""`headstart rank`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import Data, Group, Input, Label, Seed, TestFraction, names_in, read_target
from headstart.cli.live import Line, stderr_console
from headstart.cli.words import table, target_lines
from headstart.errors import plural

if TYPE_CHECKING:
    from headstart.search.rank import Ranking


def rank(
    target: Data,
    sources: Annotated[
        str,
        typer.Option("--sources", "--source", help="Pretrained sources, comma-separated. Default: the bundled ones."),
    ] = "",
    by: Annotated[str, typer.Option(help="The score that ranks: linear, knn, logme, ...")] = "linear",
    resamples: Annotated[int, typer.Option(help="On how many resamples of the examples to repeat it.")] = 50,
    label: Label = None,
    input: Input = None,
    group: Group = None,
    test_fraction: TestFraction = 0.25,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as JSON.")] = False,
) -> None:
    """Rank pretrained sources by scores on their frozen features. Looks at training examples only, trains nothing."""
    from headstart import api
    from headstart import source as source_room
    from headstart.search import rank as ranking

    names = names_in(sources)
    ranking.check(by, resamples)
    source_room.cards(names)
    with Line(stderr_console()) as listener:
        data = read_target(
            listener, target, label=label, input=input, group=group, test_fraction=test_fraction, seed=seed
        )
        for line in target_lines(data):
            listener.say(line)
        found = api.rank(data, names, by=by, resamples=resamples, seed=seed, device=device, progress=listener.progress)
        listener.clear()
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    for line in _ranking_lines(found):
        typer.echo(line)


def _ranking_lines(found: Ranking) -> Iterator[str]:
    """The order with its stability, then every score."""
    from headstart.budget import format_seconds
    from headstart.score import SCORES

    ahead = found.sources[0]
    line = f"  ranking   by {found.by}, on {found.examples:,} training examples of {found.classes} classes"
    if ahead.first is not None:
        line += f": {ahead.short} ranks first in {100 * ahead.first:.0f} % of {plural(found.resamples, 'resample')}"
    yield line
    rows: list[tuple[str, ...]] = [("", "source", found.by, "first in", "features")]
    rows += [
        (
            str(place),
            each.short,
            _value(each.scores[found.by]),
            "" if each.first is None else f"{100 * each.first:.0f} %",
            format_seconds(each.feature_seconds),
        )
        for place, each in enumerate(found.sources, start=1)
    ]
    yield from (f"    {row}" for row in table(rows, right=(2, 3, 4)))
    yield "  scores    larger is better within a row; tau compares the order of a row with the ranking's"
    rows = [("score", *(each.short for each in found.sources), "tau", "time")]
    for name, seconds in found.score_seconds.items():
        tau = found.agreement.get(name)
        values = [_value(each.scores[name]) if name in each.scores else "" for each in found.sources]
        rows.append((name, *values, "" if tau is None else f"{tau:+.2f}", format_seconds(seconds)))
    yield from (f"    {row}" for row in table(rows, right=tuple(range(1, len(rows[0])))))
    if found.concordance is not None:
        yield f"    mean tau over all pairs of scores: {found.concordance:+.2f}"
    for name in SCORES:
        if why := next((each.skipped[name] for each in found.sources if name in each.skipped), ""):
            yield f"  skipped   {name}: it {why}"
    for note in found.notes:
        yield f"  note      {note}"
    yield f"  time      {format_seconds(found.seconds)}"


def _value(value: float) -> str:
    """A score to some digits that count.

    >>> _value(0.6), _value(187.123), _value(-1234.56), _value(0.0000123)
    ('0.6000', '187.1', '-1235', '1.23e-05')
    """
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 else f"{value:.4g}"
