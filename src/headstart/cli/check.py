"""`headstart check`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from headstart.cli.app import Data, Group, Input, Label, Seed, TestFraction, read_target
from headstart.cli.live import Line, stderr_console
from headstart.cli.words import hygiene_lines, target_lines


def check(
    target: Data,
    label: Label = None,
    input: Input = None,
    group: Group = None,
    test_fraction: TestFraction = 0.25,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as JSON.")] = False,
) -> None:
    """Look at the data only: counts, imbalance, unreadable files, duplicates, leakage across splits, what moved."""
    from headstart import api

    with Line(stderr_console()) as listener:
        data = read_target(
            listener, target, label=label, input=input, group=group, test_fraction=test_fraction, seed=seed
        )
        found = api.check(data, seed=seed)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    for line in target_lines(data):
        typer.echo(line)
    for line in hygiene_lines(found, data.modality):
        typer.echo(line)
