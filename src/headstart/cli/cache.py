"""`headstart cache`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from headstart.cli.live import Line, stderr_console
from headstart.cli.words import moment, table
from headstart.errors import OptionError, Problem

app = typer.Typer(
    help="List what is kept so that nothing is computed twice; prune or verify it.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def _cache(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="The list as JSON.")] = False,
) -> None:
    if context.invoked_subcommand is not None:
        return
    from headstart.store import manage
    from headstart.store.size import format_size

    found = manage.contents()
    if as_json:
        document = {"folder": str(found.folder), "bytes": found.bytes, "arrays": found.arrays, "limit": found.limit}
        typer.echo(json.dumps({**document, "held": [asdict(part) for part in found.held]}, ensure_ascii=False))
        return
    rows = [("kind", "what", "count", "size", "last used")]
    rows += [
        (part.kind, part.what, f"{part.count:,}", format_size(part.bytes), moment(part.used)) for part in found.held
    ]
    for line in table(rows, right=(2, 3)):
        typer.echo(line)
    typer.echo("")
    typer.echo(f"arrays    {format_size(found.arrays)}, at most {format_size(found.limit)} (HEADSTART_CACHE_LIMIT)")
    typer.echo(f"in all    {format_size(found.bytes)} in {found.folder}")


@app.command("prune")
def _cache_prune(
    to: Annotated[str, typer.Option(help="What arrays may still take: 1G, 500M. Default: their limit.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Remove all there is, compiled networks too.")] = False,
) -> None:
    """Remove what nobody reads any more, then the arrays that were not used for the longest time."""
    from headstart.store import manage
    from headstart.store.size import format_size, parse_size

    if to and everything:
        raise OptionError(Problem("both --to and --all", "one of them"))
    freed = manage.prune(parse_size(to, "--to") if to else None, everything=everything)
    typer.echo(f"removed {format_size(freed)}; {format_size(manage.contents().bytes)} are left")


@app.command("verify")
def _cache_verify() -> None:
    """Read every array, and forget those that are damaged: they are computed again when they are needed."""
    from headstart.store import manage
    from headstart.store.size import format_size

    with Line(stderr_console()) as listener:
        found = manage.verify(progress=lambda done, total: listener.progress("reading", done, total))
        listener.clear()
    for name in found.tables:
        typer.echo(f"{name} was damaged and is put aside; what it described is computed again")
    read = f"{found.arrays:,} arrays ({format_size(found.bytes)}) were read"
    if found.damaged:
        typer.echo(f"{read}; {found.damaged:,} of them were damaged and are forgotten: they are computed again")
    else:
        typer.echo(f"{read}; all of them are as they were kept")
