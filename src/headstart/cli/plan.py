"""`headstart plan`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import Data, Group, Input, Label, Seed, TestFraction, names_in, read_target
from headstart.cli.live import Line, details, seeds, stderr_console
from headstart.cli.words import predicted_words, table, target_lines
from headstart.errors import plural

if TYPE_CHECKING:
    from headstart.search.rehearse import Rehearsal, Step


def plan(
    target: Data,
    budget: Annotated[str, typer.Option(help="Wall time of the run: 30s, 2m, 1h.")] = "2m",
    source: Annotated[
        str,
        typer.Option("--source", "--sources", help="Pretrained sources, comma-separated. Default: the bundled ones."),
    ] = "",
    strategy: Annotated[str, typer.Option(help="Strategies, comma-separated, as for fit. Default: all.")] = "",
    label: Label = None,
    input: Input = None,
    group: Group = None,
    test_fraction: TestFraction = 0.25,
    shots: Annotated[
        int | None, typer.Option(min=1, help="Learn from so many labels of each class, over many draws of them.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=2, help="Draws of --shots. Default: 10.")] = None,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Every trial with its predicted seconds, as JSON.")] = False,
) -> None:
    """What fit would do with a budget, trial by trial, and how long it would take. Trains nothing."""
    from headstart import api

    names, strategies = names_in(source), names_in(strategy)
    api.prepare(budget, names, strategies)
    with Line(stderr_console()) as listener:
        data = read_target(
            listener, target, label=label, input=input, group=group, test_fraction=test_fraction, seed=seed
        )
        for line in target_lines(data):
            listener.say(line)
        how = {"source": names, "strategy": strategies, "shots": shots, "draws": draws, "seed": seed}
        found = api.plan(data, budget=budget, **how)  # type: ignore[arg-type]
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    for line in _plan_lines(found):
        typer.echo(line)


def _plan_lines(found: Rehearsal) -> Iterator[str]:
    """The trials in order, those of one setting together; then what is left out, and how sure all of this is."""
    from headstart.budget import format_seconds

    groups: dict[tuple[str, str], list[Step]] = {}
    for step in found.steps:
        groups.setdefault((step.stage, step.spec.setting), []).append(step)
    yield f"  plan      {plural(len(found.steps), 'trial')}, about {format_seconds(found.seconds)} of {found.budget}"
    if found.limited:
        yield f"  note      {found.limited}"
    rows: list[tuple[str, ...]] = [("stage", "side", "route", "trials", "each", "begins at")]
    for (stage, _), steps in groups.items():
        route = steps[0].spec.words() + details(steps[0].spec)
        each = format_seconds(sum(step.seconds for step in steps) / len(steps))
        rows.append((stage, steps[0].side, route, _which(steps), each, format_seconds(steps[0].after)))
    yield from (f"    {row}" for row in table(rows, right=(4, 5)))
    for unfit in found.unfit:
        yield f"  no room   {unfit.strategy} on {unfit.source}: {unfit.why}"
    if found.leaders:
        leaders = ", ".join(f"{route} ({side})" for side, route in found.leaders.items())
        yield (
            f"  assumed   {leaders} as leaders: scores are not known yet, and the route that takes longer is taken "
            "to be the better one"
        )
    if found.last is not None:
        from headstart.judge.evidence import Predictions

        yield f"  last run  {predicted_words(Predictions.model_validate(found.last))}"
    elif not found.measured:
        yield "  seconds   of a usual machine: no run has measured this one yet"


def _which(steps: list[Step]) -> str:
    """Folds, seeds or numbers of labels; of several episodes only how many trials there are."""
    if len({step.spec.episode for step in steps}) > 1 and steps[0].spec.place().split()[0] != "draw":
        return f"{plural(len(steps), 'trial')} in {len({step.spec.episode for step in steps})} folds"
    labels = sorted({step.spec.labels for step in steps if step.spec.labels is not None})
    return seeds(steps) + (f": {', '.join(map(str, labels))} labels" if labels else "")
