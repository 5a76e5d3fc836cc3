"""`headstart adapt`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import Input, Label, Seed, command_line, names_in
from headstart.cli.live import run_listener, stderr_console
from headstart.cli.words import table

if TYPE_CHECKING:
    from headstart.search.adapt import Adapted


def adapt(
    source_domain: Annotated[str, typer.Argument(metavar="SOURCE", help="The labelled domain, as for fit.")],
    target_domain: Annotated[
        str, typer.Argument(metavar="TARGET", help="The other domain: files without labels, or with, which are sealed.")
    ],
    budget: Annotated[str, typer.Option(help="Wall time: 30s, 2m, 1h.")] = "5m",
    out: Annotated[Path | None, typer.Option(help="The run's folder; resumed if it holds this run.")] = None,
    source: Annotated[str, typer.Option(help="Pretrained source of the features. Default: the first bundled.")] = "",
    strategy: Annotated[str, typer.Option(help="Ways of adaptation, comma-separated. Default: all.")] = "",
    label: Label = None,
    input: Input = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
) -> None:
    """Adapt from labels there to data here, chosen without target labels; ship source-only where that is safer."""
    from headstart import api

    names = [Path(name).stem for name in (source_domain, target_domain)]
    folder = out or Path("runs") / "-to-".join(names)
    with run_listener(stderr_console()) as listener:
        found = api.adapt(
            source_domain,
            target_domain,
            budget=budget,
            out=folder,
            source=source,
            strategy=names_in(strategy),
            label=label,
            input=input,
            seed=seed,
            device=device,
            command=command_line(),
            listener=listener,
        )
    for line in _lines(found):
        typer.echo(line)
    files = [folder / "model", folder / "adaptation.json"]
    if found.evidence is not None:
        files += [folder / "report.html", folder / "evidence.json"]
    typer.echo(f"  files     {'   '.join(map(str, files))}")


def _lines(found: Adapted) -> Iterator[str]:
    """What the validators said, what was shipped, and, where the target has labels, what came of it."""
    choice = found.choice
    used = "sealed, for the test alone" if choice.target_labels == "sealed" else "there are none"
    yield f"  domains   {choice.source_domain} ({choice.examples[0]:,} labelled) to {choice.target_domain} "
    yield f"            ({choice.examples[1]:,} examples); labels of the target: {used}"
    said = choice.agreement
    validators = list(next(iter(said.values.values())))
    rows: list[tuple[str, ...]] = [("route", "mean rank", "first in", *validators)]
    for name in sorted(said.rank, key=lambda name: said.rank[name]):
        values = [f"{said.values[name][v]:.3f}" for v in validators]
        rows.append((name, f"{said.rank[name]:.1f}", f"{100 * said.first[name]:.0f} %", *values))
    yield from (f"    {line}" for line in table(rows, right=tuple(range(1, len(rows[0])))))
    evidence = found.evidence
    if evidence is not None:
        gain = evidence.gain
        yield (
            f"  verdict   {evidence.verdict.upper()}  adaptation {100 * gain.estimate:+.1f} points over source-only "
            f"({100 * gain.confidence:.0f} % CI {100 * gain.low:+.1f} to {100 * gain.high:+.1f}), n = {evidence.n_test}"
        )
        yield f"            source-only {100 * evidence.baseline.score:.1f} %, {evidence.transfer.strategy} " + (
            f"{100 * evidence.transfer.score:.1f} % on the sealed target examples"
        )
    yield f"  shipped   {evidence.shipped_reason if evidence is not None else choice.shipped + ': ' + choice.reason}"
    for warning in evidence.warnings if evidence is not None else ():
        yield f"  note      {warning}"
