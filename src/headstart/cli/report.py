"""`headstart report`."""

from __future__ import annotations

import typer

from headstart.cli.app import RunFolder


def report(run: RunFolder) -> None:
    """Rebuild evidence.json and report.html from a run's ledger."""
    from headstart.api import Run

    typer.echo(str(Run(run).rebuild()))
