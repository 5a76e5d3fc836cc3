"""`headstart suggest`."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.app import Input, RunFolder, Seed
from headstart.cli.live import Line, stderr_console
from headstart.cli.predict import given_inputs
from headstart.errors import plural


def suggest(
    run: RunFolder,
    pool: Annotated[
        list[str],
        typer.Argument(
            metavar="POOL...",
            help="Unlabelled pictures or texts: files or folders of them. Texts also: tables, or - for a text on every "
            "line of the standard input.",
        ),
    ],
    count: Annotated[int, typer.Option(min=1, help="How many to suggest.")] = 20,
    labelled: Annotated[
        Path | None,
        typer.Option(metavar="TARGET", help="What was labelled already; it and copies of it are not suggested."),
    ] = None,
    input: Input = None,
    seed: Seed = 0,
) -> None:
    """Which unlabelled examples to label next: those a run's model is unsure of, different ones. CSV on stdout."""
    from headstart import api
    from headstart.predictor import load

    predictor = load(run)
    with Line(stderr_console()) as listener:
        found = api.suggest(
            run,
            given_inputs(pool, predictor.modality, input),
            count=count,
            labelled=labelled,
            seed=seed,
            progress=lambda done, total: listener.progress("looking at the pool", done, total),
        )
        listener.clear()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["rank", "input", "label", "probability", "why"])
    for row in found.suggestions:
        writer.writerow([row.rank, row.name, row.label, f"{row.probability:.6f}", row.why])
    one, many = predictor.modality.one, predictor.modality.many
    for name, why in found.unreadable:
        listener.say(f"  unreadable {name}: {why}")
    if found.copies:
        listener.say(f"  left out  {plural(found.copies, one)}: a copy of another, or of a labelled one")
    if labelled is None:
        listener.say(f"  note      --labelled TARGET leaves out {many} that were labelled already")
    if not found.suggestions:
        raise typer.Exit(2)
