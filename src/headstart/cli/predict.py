"""`headstart predict`."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.app import Input, RunFolder
from headstart.cli.live import Line, stderr_console
from headstart.errors import OptionError, Problem


def predict(
    run: RunFolder,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUTS...",
            help="Files of pictures or texts, or folders of them. Texts also: tables, - for a text on every line of "
            "the standard input, or a text itself, in quotes.",
        ),
    ],
    input: Input = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to give for each input.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines instead of CSV.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="The probability of every class.")] = False,
) -> None:
    """Predict with a run's model. CSV on stdout; an input that cannot be read gets a row that says why."""
    from headstart.predictor import load

    predictor = load(run)
    many = predictor.modality.many
    chosen = given_inputs(inputs, predictor.modality, input)
    if not len(chosen):
        raise OptionError(
            Problem(f"no {many} to predict", f"{predictor.modality.one} files, or folders that hold some")
        )
    n = len(predictor.classes) if probabilities else top
    console = stderr_console()
    with Line(console) as listener:
        rows = predictor.rows(chosen, top=n, progress=lambda done, total: listener.progress("predicting", done, total))
        listener.clear()
    if as_json:
        for row in rows:
            document: dict[str, Any] = {"input": row.name, "label": row.label or None}
            if row.error:
                document["error"] = row.error
            else:
                document["probability"] = round(row.probability, 6)
                if n > 1:
                    document["top"] = [{"label": label, "probability": round(p, 6)} for label, p in row.top]
            typer.echo(json.dumps(document, ensure_ascii=False))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        head = ["input", "label", "probability"]
        if probabilities:
            head += [f"p_{name}" for name in predictor.classes]
        else:
            head += [
                f"{what}_{k}"
                for k in range(2, min(top, len(predictor.classes)) + 1)
                for what in ("label", "probability")
            ]
        writer.writerow([*head, "error"])
        for row in rows:
            cells = [row.name, row.label, f"{row.probability:.6f}" if not row.error else ""]
            if probabilities:
                by_name = dict(row.top)
                cells += [f"{by_name[name]:.6f}" if not row.error else "" for name in predictor.classes]
            else:
                cells += [cell for label, p in row.top[1:] for cell in (label, f"{p:.6f}")]
            cells += [""] * (len(head) - len(cells))
            writer.writerow([*cells, row.error])
    failed = sum(bool(row.error) for row in rows)
    if failed:
        console.print(f"{failed} of {len(rows)} {many} could not be read", markup=False)
    if failed == len(rows):
        raise typer.Exit(2)


def given_inputs(given: list[str], modality: Any, column: str | None) -> Any:
    """What is to be predicted: files, folders of them, and for texts also tables, lines and texts themselves."""
    from headstart.target.inputs import StringInputs
    from headstart.target.table import TABLES

    if modality.name == "text":
        if all(_exists(Path(item)) and Path(item).suffix.lower() not in TABLES for item in given):
            return modality.files([str(path) for path in _files([Path(item) for item in given], modality)], None)
        texts, names = _texts(given, modality, column)
        return StringInputs(texts, names)
    if column is not None:
        raise OptionError(Problem("--input names a column, and pictures are given as files", "no --input"))
    return modality.files([str(path) for path in _files([Path(item) for item in given], modality)], None)


def _files(given: list[Path], modality: Any) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() in modality.suffixes and p.is_file())
        else:
            yield path


def _texts(given: list[str], modality: Any, column: str | None) -> tuple[list[str], list[str]]:
    """Texts and what they are called. An unreadable one is empty, so that it gets its row."""
    from headstart.target.table import TABLES, texts_of
    from headstart.target.text import decode, read_text
    from headstart.target.unreadable import Unreadable

    texts: list[str] = []
    names: list[str] = []
    problems: list[Problem] = []
    for item in given:
        path = Path(item)
        if item == "-":
            # Lines in any encoding; an empty one keeps its row.
            lines = decode(sys.stdin.buffer.read())[0].splitlines()
            texts += lines
            names += [f"line {number}" for number in range(1, len(lines) + 1)]
        elif _exists(path) and path.suffix.lower() in TABLES:
            rows = texts_of(path, column)
            texts += rows
            names += [f"{item} row {number}" for number in range(1, len(rows) + 1)]
        elif _exists(path):
            for file in _files([path], modality):
                names.append(str(file))
                try:
                    texts.append(read_text(file)[0])
                except Unreadable:
                    texts.append("")
        elif " " in item.strip():
            texts.append(item)
            names.append(item)
        else:
            problems.append(
                Problem(
                    f"{item} does not exist",
                    "a table, a text file, a folder of them, - for lines, or a text of several words in quotes",
                    f"echo {shlex.quote(item)} | headstart predict RUN -    for a text of one word",
                )
            )
    if problems:
        raise OptionError(problems)
    return texts, names


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a text longer than names can be
        return False
