"""`headstart adapt`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.app import Input, Label, Seed, command_line, names_in
from headstart.cli.live import run_listener, stderr_console
from headstart.cli.words import table
from headstart.errors import OptionError, Problem

if TYPE_CHECKING:
    from headstart.judge.evidence import AdaptationRecord, Evidence
    from headstart.search.adapt import Adapted, Choice


def adapt(
    domains: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... TARGET",
            help="Labelled domains, as for fit, and last the target: files without labels, or with, which are sealed.",
        ),
    ],
    target_labels: Annotated[
        str,
        typer.Option(
            metavar="K",
            help="Learn from so many labels of each class of the target too, drawn by lot, and seal the rest; or all.",
        ),
    ] = "",
    intermediate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DOMAIN",
            help="A domain between source and target, its labels unused; of several, the one nearest to SOURCE first.",
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help="Wall time: 30s, 2m, 1h.")] = "5m",
    out: Annotated[Path | None, typer.Option(help="The run's folder; resumed if it holds this run.")] = None,
    source: Annotated[str, typer.Option(help="Pretrained source of the features. Default: the first bundled.")] = "",
    strategy: Annotated[
        str, typer.Option(help="Ways of adaptation, comma-separated: NAME or NAME(PARAMETER=VALUE, ...). Default: all.")
    ] = "",
    label: Label = None,
    input: Input = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="The choice, and the evidence if there is any.")] = False,
) -> None:
    """Adapt from labels there to data here, chosen without sealed labels; ship source-only where that is safer."""
    from headstart import api

    if len(domains) < 2:
        raise OptionError(
            Problem(f"one domain, {domains[0]}", "a labelled domain and a target", "headstart adapt SOURCE TARGET")
        )
    *labelled, target = domains
    between = [Path(name).stem for name in intermediate or ()]
    names = ["+".join(Path(name).stem for name in labelled), *between, Path(target).stem]
    folder = out or Path("runs") / "-to-".join(names)
    with run_listener(stderr_console()) as listener:
        found = api.adapt(
            labelled,
            target,
            target_labels=target_labels or None,
            intermediate=intermediate,
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
    if as_json:
        evidence = None if found.evidence is None else found.evidence.to_json()
        document = {"choice": found.choice.to_json(), "evidence": evidence}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    for line in _lines(found):
        typer.echo(line)
    files = [folder / name for name in ("model", "adaptation.html", "adaptation.json")]
    if found.evidence is not None:
        files += [folder / "report.html", folder / "evidence.json"]
    typer.echo(f"  files     {'   '.join(map(str, files))}")


def _lines(found: Adapted) -> Iterator[str]:
    """What the validators said, what was shipped, and, where labels were sealed, what came of it."""
    choice, evidence = found.choice, found.evidence
    yield (
        f"  domains   {choice.source_domain} ({choice.examples[0]:,} labelled) to {choice.target_domain} "
        f"({choice.examples[1]:,} examples); labels of the target: {choice.used()}"
    )
    for name, words in choice.between().items():
        yield f"  between   {name} ({words})"
    yield from _source_domains(choice)
    yield from _routes(choice)
    if choice.untried:
        yield f"  untried   {', '.join(choice.untried)}: the budget had no room, or they failed"
    if evidence is not None:
        yield from _verdict(evidence)
        if evidence.adaptation is not None:
            yield from _worth(evidence.adaptation)
    yield f"  shipped   {evidence.shipped_reason if evidence is not None else choice.shipped + ': ' + choice.reason}"
    for warning in evidence.warnings if evidence is not None else ():
        yield f"  note      {warning}"


def _source_domains(choice: Choice) -> Iterator[str]:
    """What each of several source domains gives, as far as validators can tell."""
    found = choice.domains
    if found is None:
        return
    rows: list[tuple[str, ...]] = [("source", "by discrepancy", "by validators", "wanted by", "not wanted by")]
    for name in found["names"]:
        weights = (f"{100 * found[kind][name]:.0f} %" for kind in ("discrepancy", "validators"))
        dropped = " (dropped)" if name in found["dropped"] else ""
        rows.append((name + dropped, *weights, *(str(len(found[kind][name])) for kind in ("helped", "harmed"))))
    yield from (f"    {line}" for line in table(rows, right=(1, 2, 3, 4)))
    yield f"  sources   {found['reason']}"


def _routes(choice: Choice) -> Iterator[str]:
    """Every route with what validators, and labelled target examples where there are some, say of it."""
    said = choice.agreement
    validators = list(next(iter(said.values.values())))
    labelled = ("target labels", "source weight") if choice.learned else ()
    rows: list[tuple[str, ...]] = [("route", *labelled, "mean rank", "first in", *validators)]
    for name in sorted(said.rank, key=lambda name: (-choice.labelled.get(name, 0.0), said.rank[name])):
        values = [f"{said.values[name][v]:.3f}" for v in validators]
        few: tuple[str, ...] = ()
        if choice.learned:
            weight = choice.said.get(name, {}).get("source_weight")
            few = (
                f"{100 * choice.labelled[name]:.1f} %",
                f"{weight['value']:.2g} ({weight['low']:.2g} to {weight['high']:.2g})" if weight else "",
            )
        shown = f"{name} (shipped)" if name == choice.shipped else name
        rows.append((shown, *few, f"{said.rank[name]:.1f}", f"{100 * said.first[name]:.0f} %", *values))
    yield from (f"    {line}" for line in table(rows, right=tuple(range(1, len(rows[0])))))


def _verdict(evidence: Evidence) -> Iterator[str]:
    gain, base = evidence.gain, evidence.baseline
    learned = evidence.adaptation.learned if evidence.adaptation is not None else 0
    given = f", given {learned:,} labels of the target" if learned else ""
    yield (
        f"  verdict   {evidence.verdict.upper()}{given}  adaptation {100 * gain.estimate:+.1f} points over "
        f"{base.strategy} ({100 * gain.confidence:.0f} % CI {100 * gain.low:+.1f} to {100 * gain.high:+.1f}), "
        f"n = {evidence.n_test}"
    )
    yield f"            {base.strategy} {100 * base.score:.1f} %, {evidence.transfer.strategy} " + (
        f"{100 * evidence.transfer.score:.1f} % on the sealed target examples"
    )


def _worth(found: AdaptationRecord) -> Iterator[str]:
    """What growing numbers of target labels give."""
    numbers = sorted({point.each for point in found.curve})
    if numbers:
        rows = [("labels of each target class", *map(str, numbers))]
        for route in dict.fromkeys(point.route for point in found.curve):
            at = {point.each: point for point in found.curve if point.route == route}
            rows.append((route, *(f"{100 * at[n].score:.1f} %" if n in at else "" for n in numbers)))
        yield from (f"    {line}" for line in table(rows, right=tuple(range(1, len(numbers) + 1))))
    for sentence in found.sentences:
        yield f"  worth     {sentence}"
