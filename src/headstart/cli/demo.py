"""`headstart demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.fit import fit_and_tell
from headstart.cli.live import stderr_console
from headstart.cli.words import gain_words, route_words

if TYPE_CHECKING:
    from headstart.api import Run


def demo(
    out: Annotated[Path, typer.Option(help="Where the two runs go.")] = Path("runs/demo"),
    budget: Annotated[str, typer.Option(help="Wall time for each of the two.")] = "1m",
) -> None:
    """The main job on embedded data: pictograms, where transfer helps, and digits, where it does not."""
    from headstart.budget import Budget, parse_seconds
    from headstart.profile import process_seconds

    seconds = parse_seconds(budget)
    console = stderr_console()
    runs: dict[str, Run] = {}
    for name in ("pictograms", "digits"):
        console.print(f"\n{name}", markup=False, style="bold")
        runs[name] = fit_and_tell(
            f"embedded:{name}",
            out / name,
            imported=0.0 if runs else process_seconds(),
            budget=Budget(seconds=seconds),
            source=(),
            strategy=(),
            label=None,
            input=None,
            group=None,
            test_fraction=0.25,
            seed=0,
            device="cpu",
        )
    typer.echo("")
    for name, run in runs.items():
        evidence = run.evidence
        typer.echo(
            f"{name:<11} {evidence.verdict.upper():<13} {gain_words(evidence)}; shipped: {evidence.shipped} "
            f"({route_words(evidence, evidence.shipped)})"
        )
    typer.echo(f"\nOpen {out}/pictograms/report.html and {out}/digits/report.html in a browser.")
