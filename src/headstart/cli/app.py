"""The application, and the arguments and options that several commands share."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.live import Line

if TYPE_CHECKING:
    from headstart.target.target import Target

app = typer.Typer(
    name="headstart",
    help="Does a pretrained model help on your small labelled data set? Which one, how, and is it proven?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


Data = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="Folder of class folders of pictures or texts, or a CSV, JSONL or Parquet file."
    ),
]


RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that headstart fit --out wrote.")]


Label = Annotated[str | None, typer.Option(help="Label column of a table. Guessed when left out.")]


Input = Annotated[
    str | None, typer.Option("--input", help="Column of a table with pictures or texts. Guessed when left out.")
]


Group = Annotated[str | None, typer.Option(help="Group column of a table: a group is never split.")]


TestFraction = Annotated[float, typer.Option(help="Share of the examples to seal where no split is given.")]


Seed = Annotated[int, typer.Option(help="Of the split and of everything else that is random.")]


def _version(wanted: bool) -> None:
    if wanted:
        from headstart import __version__

        typer.echo(f"headstart {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def names_in(text: str) -> tuple[str, ...]:
    """Names that commas separate, outside parentheses.

    >>> names_in("probe, finetune(last=1,penalty=l2sp)")
    ('probe', 'finetune(last=1,penalty=l2sp)')
    """
    return tuple(part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip())


def command_line() -> str:
    """What was typed."""
    return shlex.join(["headstart", *sys.argv[1:]])


def read_target(listener: Line, target: str, **how: Any) -> Target:
    """The target, with what is going on shown meanwhile."""
    from headstart.target import load_target

    data = load_target(target, **how, progress=lambda done, n: listener.progress("reading", done, n))
    listener.clear()
    return data
