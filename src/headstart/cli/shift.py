"""`headstart shift`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import Input, Label, Seed
from headstart.cli.live import Line, stderr_console
from headstart.cli.words import table

if TYPE_CHECKING:
    from headstart.search.shift import Shift


def shift(
    a: Annotated[str, typer.Argument(metavar="A", help="The source domain: as for fit, with labels as a rule.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The target domain: as for fit, or files without labels.")],
    source: Annotated[str, typer.Option(help="Pretrained source whose features are compared.")] = "",
    label: Label = None,
    input: Input = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with pictures here, as HTML.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as JSON.")] = False,
) -> None:
    """Find out what moved between two domains: inputs, labels, or what they mean. Trains nothing."""
    from headstart import api
    from headstart.report import write_shift
    from headstart.target.domain import load_domain

    with Line(stderr_console()) as listener:
        domains = [
            load_domain(data, label=label, input=input, progress=lambda done, n: listener.progress("reading", done, n))
            for data in (a, b)
        ]
        found = api.shift(*domains, source=source, seed=seed, device=device, progress=listener.progress)
    if out is not None:
        write_shift(found, domains[0].inputs, domains[1].inputs, out)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        typer.echo(line)
    if out is not None:
        typer.echo(f"  page      {out}")


def _lines(found: Shift) -> Iterator[str]:
    from headstart.budget import format_seconds

    moved = found.inputs
    sizes = " and ".join(
        f"{n:,} of {name}" for n, name in zip(found.examples, (found.source, found.target), strict=True)
    )
    yield f"  domains   {sizes}; {found.tested[0]} and {found.tested[1]} tested, features of {found.features}"
    yield f"  setting   {found.setting}: {found.setting_words}"
    for sentence in found.moved:
        yield f"  found     {sentence}"
    yield (
        f"  P(X)      AUC {moved.auc:.3f} ({moved.low:.3f} to {moved.high:.3f}), p {moved.p_value:.2g}; "
        f"MMD^2 {moved.mmd_squared:.2g}, p {moved.mmd_p_value:.2g}; {moved.features_moved} of {moved.features} "
        "features moved"
    )
    if found.per_class:
        yield "  classes   shares by BBSE and MLLS hold only if nothing but P(Y) moved"
        rows: list[tuple[str, ...]] = [("class", found.source, found.target, "BBSE", "MLLS", "AUC of the domain")]
        for row in found.per_class:
            estimates = (f"{100 * v[0]:.1f} % ({100 * v[1]:.1f} to {100 * v[2]:.1f})" for v in (row.bbse, row.mlls))
            true = "" if row.target is None else f"{100 * row.target:.1f} %"
            auc = "" if row.auc is None else f"{row.auc[0]:.3f} ({row.auc[1]:.3f} to {row.auc[2]:.3f})"
            rows.append((row.name, f"{100 * row.source:.1f} %", true, *estimates, auc))
        yield from (f"    {line}" for line in table(rows, right=(1, 2, 3, 4, 5)))
    yield f"  time      {format_seconds(found.seconds)}"
