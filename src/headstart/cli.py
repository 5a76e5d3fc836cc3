"""The command line: a thin edge. Answers go to stdout, progress and messages to stderr."""

from __future__ import annotations

import csv
import json
import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from headstart.errors import HeadstartError, InputError, OptionError, Problem

if TYPE_CHECKING:
    from rich.console import Console

    from headstart.api import Run
    from headstart.judge.evidence import Evidence
    from headstart.profile import Profile
    from headstart.search.rank import Ranking

SHOWN_SECONDS = 0.05  # shorter parts of the time would read 0.0

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


@app.command()
def fit(
    target: Data,
    budget: Annotated[str, typer.Option(help="Wall time: 30s, 2m, 1h.")] = "2m",
    trials: Annotated[int | None, typer.Option(min=2, help="Count search trials instead of time.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; resumed if it holds this run.")] = None,
    source: Annotated[str, typer.Option(help="Pretrained sources, comma-separated. Default: the bundled ones.")] = "",
    strategy: Annotated[
        str,
        typer.Option(
            help="Strategies, comma-separated. Default: all. Beside routes that train no network, such as probe, "
            "baselines that train one are tried only if they are named: probe,scratch."
        ),
    ] = "",
    label: Label = None,
    input: Input = None,
    group: Group = None,
    describe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the classes mean, for zero-shot: YAML, a sentence or more per class."),
    ] = None,
    test_fraction: TestFraction = 0.25,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write where the time went, phase by phase, as JSON.")
    ] = None,
) -> None:
    """Find out whether transfer helps, prove it on a sealed test set, and keep the model."""
    from headstart.budget import Budget, parse_seconds
    from headstart.profile import process_seconds

    limits = Budget(trials=trials) if trials else Budget(seconds=parse_seconds(budget))
    folder = out or Path("runs") / Path(target.partition(":")[2] or target).stem
    _fit(
        target,
        folder,
        imported=process_seconds(),
        keep=profile,
        budget=limits,
        source=_names(source),
        strategy=_names(strategy),
        label=label,
        input=input,
        group=group,
        describe=describe,
        test_fraction=test_fraction,
        seed=seed,
        device=device,
    )


def _fit(target: str, folder: Path, *, imported: float = 0.0, keep: Path | None = None, **options: Any) -> Run:
    """Run, and say what came of it; `imported` seconds had passed before, and the profile goes to `keep`."""
    from headstart import profile

    if keep is not None:
        _refuse_profile(keep)
    with profile.opened(imported) as spent:
        run = _run(target, folder, **options)
    for line in _verdict_lines(run.evidence, spent):
        typer.echo(line)
    typer.echo(f"  files     {folder / 'model'}/   {folder / 'report.html'}   {folder / 'evidence.json'}")
    if keep is not None:
        _write_profile(spent, keep)
        typer.echo(f"  profile   {keep}")
    if run.evidence.partial:
        sys.exit(130)  # everything was said
    return run


def _run(target: str, folder: Path, **options: Any) -> Run:
    """Read the target and fit, showing on stderr what is going on."""
    from headstart import profile

    with profile.phase("import"):
        from headstart import api, source
        from headstart.search.run import refuse_foreign
        from headstart.target import load_target
        from headstart.target.describe import read_descriptions

        console = _console()
    reading = {key: options.pop(key) for key in ("label", "input", "group", "test_fraction")}
    described = options.pop("describe", None)
    said = None if described is None else read_descriptions(described)
    api.prepare(**options)
    refuse_foreign(folder)
    with _listener(console) as listener:
        with profile.phase("read"):
            data = load_target(
                target, seed=options["seed"], **reading, progress=lambda done, n: listener.progress("reading", done, n)
            )
        data = data.described(said)
        listener.clear()
        for line in _target_lines(data):
            listener.say(line)
        names = [card.short for card in source.cards(options["source"] or source.bundled_names(data.modality))]
        listener.say(f"  sources   {', '.join(names)}, scratch")
        return api.fit(data, out=folder, listener=listener, command=_command(), **options)


def _refuse_profile(path: Path) -> None:
    """Check before the work that its profile can be written after it."""
    if path.is_dir():
        raise OptionError(Problem(f"--profile {path} is a folder", "the name of a file to write"))
    if not path.absolute().parent.is_dir():
        raise OptionError(
            Problem(f"--profile {path}: there is no folder {path.parent}", "a file in a folder that exists")
        )


def _write_profile(spent: Profile, path: Path) -> None:
    from headstart import files, machine

    document = {
        "command": _command(),
        **spent.to_json(),
        "machine": machine.describe(),
        "versions": machine.versions(),
    }
    try:
        files.write_json(path, document)
    except OSError as error:
        raise OptionError(
            Problem(f"--profile {path} cannot be written: {error.strerror or error}", "a file you may write")
        ) from error


@app.command()
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
    chosen = _inputs(inputs, predictor.modality, input)
    if not len(chosen):
        raise OptionError(
            Problem(f"no {many} to predict", f"{predictor.modality.one} files, or folders that hold some")
        )
    n = len(predictor.classes) if probabilities else top
    console = _console()
    with _Line(console) as listener:
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


@app.command()
def report(run: RunFolder) -> None:
    """Rebuild evidence.json and report.html from a run's ledger."""
    from headstart.api import Run

    typer.echo(str(Run(run).rebuild()))


@app.command()
def check(
    target: Data,
    label: Label = None,
    input: Input = None,
    group: Group = None,
    test_fraction: TestFraction = 0.25,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as JSON.")] = False,
) -> None:
    """Look at the data only: counts, imbalance, unreadable files, duplicates, leakage across splits."""
    from headstart.target import load_target

    console = _console()
    with _Line(console) as listener:
        data = load_target(
            target,
            label=label,
            input=input,
            group=group,
            test_fraction=test_fraction,
            seed=seed,
            progress=lambda done, n: listener.progress("reading", done, n),
        )
        listener.clear()
    if as_json:
        typer.echo(json.dumps(data.hygiene.to_json(), indent=2, ensure_ascii=False))
        return
    for line in _target_lines(data):
        typer.echo(line)
    for line in _hygiene_lines(data.hygiene, data.modality):
        typer.echo(line)


@app.command()
def rank(
    target: Data,
    sources: Annotated[
        str,
        typer.Option("--sources", "--source", help="Pretrained sources, comma-separated. Default: the bundled ones."),
    ] = "",
    by: Annotated[str, typer.Option(help="The score that ranks: linear, knn, logme, ...")] = "linear",
    resamples: Annotated[int, typer.Option(help="On how many resamples of the examples to repeat it.")] = 50,
    label: Label = None,
    input: Input = None,
    group: Group = None,
    test_fraction: TestFraction = 0.25,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was found, as JSON.")] = False,
) -> None:
    """Rank pretrained sources by scores on their frozen features. Looks at training examples only, trains nothing."""
    from headstart import api
    from headstart import source as source_room
    from headstart.search import rank as ranking
    from headstart.target import load_target

    names = _names(sources)
    ranking.check(by, resamples)
    source_room.cards(names)
    with _Line(_console()) as listener:
        data = load_target(
            target,
            label=label,
            input=input,
            group=group,
            test_fraction=test_fraction,
            seed=seed,
            progress=lambda done, n: listener.progress("reading", done, n),
        )
        listener.clear()
        for line in _target_lines(data):
            listener.say(line)
        found = api.rank(data, names, by=by, resamples=resamples, seed=seed, device=device, progress=listener.progress)
        listener.clear()
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    for line in _ranking_lines(found):
        typer.echo(line)


cache_app = typer.Typer(
    help="List what is kept so that nothing is computed twice; prune or verify it.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(cache_app, name="cache")


@cache_app.callback()
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
        (part.kind, part.what, f"{part.count:,}", format_size(part.bytes), _moment(part.used)) for part in found.held
    ]
    for line in _table(rows, right=(2, 3)):
        typer.echo(line)
    typer.echo("")
    typer.echo(f"arrays    {format_size(found.arrays)}, at most {format_size(found.limit)} (HEADSTART_CACHE_LIMIT)")
    typer.echo(f"in all    {format_size(found.bytes)} in {found.folder}")


@cache_app.command("prune")
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


@cache_app.command("verify")
def _cache_verify() -> None:
    """Read every array, and forget those that are damaged: they are computed again when they are needed."""
    from headstart.store import manage
    from headstart.store.size import format_size

    with _Line(_console()) as listener:
        found = manage.verify(progress=lambda done, total: listener.progress("reading", done, total))
        listener.clear()
    for name in found.tables:
        typer.echo(f"{name} was damaged and is put aside; what it described is computed again")
    read = f"{found.arrays:,} arrays ({format_size(found.bytes)}) were read"
    if found.damaged:
        typer.echo(f"{read}; {found.damaged:,} of them were damaged and are forgotten: they are computed again")
    else:
        typer.echo(f"{read}; all of them are as they were kept")


@app.command()
def sources(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List what can be transferred from here, with licence, size and where the weights are."""
    from headstart.source import BUNDLED

    cards = list(BUNDLED.values())
    if as_json:
        typer.echo(json.dumps([asdict(card) for card in cards]))
        return
    rows = [("source", "parameters", "features", "GFLOP", "MiB", "licence", "weights", "pretrained on")]
    rows += [
        (
            card.name,
            f"{card.parameters / 1e6:.1f} M",
            str(card.features),
            f"{card.flops / 1e9:.2f}",
            f"{card.bytes / 2**20:.0f}",
            card.licence,
            card.origin,
            card.pretraining,
        )
        for card in cards
    ]
    for line in _table(rows):
        typer.echo(line)
    typer.echo("")
    typer.echo("timm:NAME        any timm model, from the hub or its cache       timm:resnet50.a1_in1k")
    typer.echo("timm:NAME@FILE   the same with weights from a file               timm:resnet18@resnet18.safetensors")
    typer.echo(
        "hf:NAME          a text encoder of the hub, or hf:FOLDER         hf:sentence-transformers/all-mpnet-base-v2"
    )
    typer.echo("static:NAME      static embeddings, or static:FOLDER             static:minishlab/potion-base-8M")
    typer.echo("scratch          nothing pretrained: the baselines, always tried  scratch:small_cnn, scratch:TIMM_NAME")
    typer.echo("                 for texts                                        scratch:text_cnn")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the two runs go.")] = Path("runs/demo"),
    budget: Annotated[str, typer.Option(help="Wall time for each of the two.")] = "1m",
) -> None:
    """The main job on embedded data: pictograms, where transfer helps, and digits, where it hurts."""
    from headstart.budget import Budget, parse_seconds
    from headstart.profile import process_seconds

    seconds = parse_seconds(budget)
    console = _console()
    runs: dict[str, Run] = {}
    for name in ("pictograms", "digits"):
        console.print(f"\n{name}", markup=False, style="bold")
        runs[name] = _fit(
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
            f"{name:<11} {evidence.verdict.upper():<13} {_gain(evidence)}; shipped: {evidence.shipped} "
            f"({_route(evidence, evidence.shipped)})"
        )
    typer.echo(f"\nOpen {out}/pictograms/report.html and {out}/digits/report.html in a browser.")


# -- words ------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> Iterator[str]:
    """Rows as lines with aligned columns, those in `right` flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _moment(seconds: float | None) -> str:
    """A date and time of day where the user is."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _command() -> str:
    return shlex.join(["headstart", *sys.argv[1:]])


def _target_lines(target: Any) -> Iterator[str]:
    split = {"given": "given split", "made": "stratified split", "cross-fit": "no test split: cross-fitting"}[
        target.split
    ]
    from headstart.target.modality import MODALITIES

    parts = [f"{target.n_examples:,} {MODALITIES[target.modality].examples}", f"{len(target.classes)} classes"]
    parts.append(
        f"{target.n_train:,} train / {target.n_test:,} test ({split})" if target.split != "cross-fit" else split
    )
    hygiene = target.hygiene
    if hygiene.unreadable:
        what = "unreadable file" if target.modality == "image" else "empty or unreadable text"
        parts.append(_count(len(hygiene.unreadable), what) + " left out")
    if hygiene.across_splits:
        parts.append(_count(len(hygiene.across_splits), "duplicate pair") + " across splits")
    yield f"  target    {' · '.join(parts)}"


def _hygiene_lines(hygiene: Any, modality: str = "image") -> Iterator[str]:
    from headstart.target.modality import MODALITIES

    one, many = MODALITIES[modality].one, MODALITIES[modality].many
    yield "  classes"
    width = max(len(name) for name in hygiene.counts)
    for name, counts in hygiene.counts.items():
        yield f"    {name:<{width}}  " + "  ".join(f"{side} {n}" for side, n in counts.items() if n)
    yield f"  imbalance {hygiene.imbalance:.2f} (largest class / smallest class)"
    for title, rows in (
        ("unreadable, left out", [f"{name}: {why}" for name, why in hygiene.unreadable]),
        (f"not {many}, ignored", list(hygiene.ignored)),
        ("without a label", list(hygiene.unlabelled)),
        (f"same {one}, different labels", [" = ".join(names) for names in hygiene.conflicting]),
        ("exact duplicates", [" = ".join(names) for names in hygiene.exact_duplicates]),
        ("near duplicates", [" ~ ".join(names) for names in hygiene.near_duplicates]),
        ("duplicates across splits", [f"{a} ~ {b} ({kind})" for a, b, kind in hygiene.across_splits]),
    ):
        if rows:
            yield f"  {title}: {len(rows)}"
            yield from (f"    {row}" for row in rows[:20])
            if len(rows) > 20:
                yield f"    ... and {len(rows) - 20} more (--json lists all)"
    for warning in hygiene.warnings:
        yield f"  note      {warning}"


def _ranking_lines(found: Ranking) -> Iterator[str]:
    """The order with its stability, then every score."""
    from headstart.budget import format_seconds
    from headstart.score import SCORES

    ahead = found.sources[0]
    line = f"  ranking   by {found.by}, on {found.examples:,} training examples of {found.classes} classes"
    if ahead.first is not None:
        line += f": {ahead.short} ranks first in {100 * ahead.first:.0f} % of {_count(found.resamples, 'resample')}"
    yield line
    rows: list[tuple[str, ...]] = [("", "source", found.by, "first in", "features")]
    rows += [
        (
            str(place),
            each.short,
            _value(each.scores[found.by]),
            "" if each.first is None else f"{100 * each.first:.0f} %",
            format_seconds(each.feature_seconds),
        )
        for place, each in enumerate(found.sources, start=1)
    ]
    yield from (f"    {row}" for row in _table(rows, right=(2, 3, 4)))
    yield "  scores    larger is better within a row; tau compares the order of a row with the ranking's"
    rows = [("score", *(each.short for each in found.sources), "tau", "time")]
    for name, seconds in found.score_seconds.items():
        tau = found.agreement.get(name)
        values = [_value(each.scores[name]) if name in each.scores else "" for each in found.sources]
        rows.append((name, *values, "" if tau is None else f"{tau:+.2f}", format_seconds(seconds)))
    yield from (f"    {row}" for row in _table(rows, right=tuple(range(1, len(rows[0])))))
    if found.concordance is not None:
        yield f"    mean tau over all pairs of scores: {found.concordance:+.2f}"
    for name in SCORES:
        if why := next((each.skipped[name] for each in found.sources if name in each.skipped), ""):
            yield f"  skipped   {name}: it {why}"
    for note in found.notes:
        yield f"  note      {note}"
    yield f"  time      {format_seconds(found.seconds)}"


def _value(value: float) -> str:
    """A score to some digits that count.

    >>> _value(0.6), _value(187.123), _value(-1234.56), _value(0.0000123)
    ('0.6000', '187.1', '-1235', '1.23e-05')
    """
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 100 else f"{value:.4g}"


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def _metric(evidence: Evidence) -> str:
    return evidence.metric.replace("_", " ")


def _gain(evidence: Evidence) -> str:
    gain = evidence.gain
    return (
        f"{100 * gain.estimate:+.1f} points {_metric(evidence)} "
        f"({100 * gain.confidence:.0f} % CI {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    )


def _route(evidence: Evidence, side: str) -> str:
    route = getattr(evidence, side)
    short = route.source.partition(":")[2]
    if route.strategy == "scratch":
        return f"{short} from scratch"
    return f"{route.strategy} on {short}" if short else str(route.strategy)


def _time_line(spent: Profile) -> str:
    """The total and its parts in seconds; parts that would read 0.0 are left out."""
    parts = [f"{name} {seconds:.1f}" for name, seconds in spent.parts().items() if seconds >= SHOWN_SECONDS]
    return f"  time      {spent.total:.1f} s" + (f": {', '.join(parts)}" if parts else "")


def _verdict_lines(evidence: Evidence, spent: Profile) -> Iterator[str]:
    from headstart.budget import format_seconds

    seeds = _count(evidence.seeds, "seed")
    yield f"  verdict   {evidence.verdict.upper()}  {_gain(evidence)}, n = {evidence.n_test}, {seeds}"
    sides = []
    for title, side in (("best", "transfer"), ("best baseline", "baseline")):
        route = getattr(evidence, side)
        sides.append(f"{title}: {_route(evidence, side)}, {100 * route.score:.1f} %, {format_seconds(route.seconds)}")
    yield f"            {';  '.join(sides)}"
    yield f"  shipped   {evidence.shipped_reason}"
    if evidence.verdict == "undetermined":
        line = f"smallest gain this test could have shown: {100 * evidence.minimal_detectable_gain:.1f} points"
        if evidence.examples_to_settle:
            line += f"; about {evidence.examples_to_settle:,} test examples would settle it"
        yield f"            {line}"
    yield _time_line(spent)
    skipped = [row for row in evidence.leaderboard if row.status == "skipped"]
    if nameless := [row for row in skipped if "--describe" in row.note]:
        yield f"  untried   {nameless[0].strategy}: {nameless[0].note}"
    if untried := [row for row in skipped if row not in nameless]:
        families = ", ".join(dict.fromkeys(row.strategy for row in untried))
        if evidence.partial:
            why = "the run was interrupted"
        elif evidence.budget.endswith(" trials"):
            why = f"the {evidence.budget} were spent on others"
        else:
            why = "the budget had no room"
        yield f"  untried   {_count(len(untried), 'route')} ({families}): {why}; the report lists them"
    for warning in evidence.warnings:
        yield f"  note      {warning}"


# -- the edge ----------------------------------------------------------------------------------------------------


def _inputs(given: list[str], modality: Any, column: str | None) -> Any:
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


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True)


class _Line:
    """What is going on: a live line on a terminal, nothing elsewhere; and plain lines that stay."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status = console.status("", spinner="dots") if console.is_terminal else None
        self.words = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def live(self, line: str) -> None:
        if self.status is not None:
            from rich.markup import escape

            self.status.update(escape(line))
            self.status.start()

    def clear(self) -> None:
        if self.status is not None:
            self.status.stop()

    def progress(self, words: str, done: int, total: int) -> None:
        self.live(f"{self.words or ' '} {words} {done:,}/{total:,}")


def _listener(console: Console) -> Any:
    """A :class:`headstart.search.Listener` that shows a run on `console`."""
    from headstart.budget import format_seconds
    from headstart.search import Listener

    class Shown(_Line, Listener):
        headed = False

        def __init__(self, console: Console) -> None:
            super().__init__(console)
            # Results still to be said, by episode and setting: those of one setting differ by their seed alone.
            self.finals: dict[tuple[str, str], list[Any]] = {}

        def __exit__(self, *_: object) -> None:
            self.flush()
            super().__exit__(*_)

        def resumed(self, trials: int) -> None:
            self.say(f"  resuming  {_count(trials, 'trial')} in the ledger will not be repeated")

        def limited(self, why: str) -> None:
            self.say(f"  note      {why}")

        def began(self, spec: Any, predicted: float, left: float) -> None:
            if not self.headed:
                self.headed = True
                what, peak = f"{'':<8}validation score", "process peak"
                self.say(f"  {'side':<9} {'route':<54} {what:<33} {'time':>7}  {peak:>12}")
            phase = "" if spec.phase == "search" else f" ({spec.phase})"
            budget = "" if left == float("inf") else f", {format_seconds(max(0.0, left))} of budget left"
            self.words = f"{spec.words()}{phase}, {_fold(spec)}, about {format_seconds(predicted)}{budget} "
            self.live(self.words)

        def ended(self, result: Any, score: tuple[float, float, float] | None, left: float) -> None:
            if result.spec.phase == "final" and result.status == "ok" and not _trains(result.spec):
                self.finals.setdefault((result.spec.episode, result.spec.setting), []).append(result)
                return
            if result.spec.phase != "final":
                self.flush()
            name = f"{result.spec.words()}{_details(result.spec)}"
            if result.status == "failed":
                self.say(f"  failed    {name}: {result.error}")
                return
            if score is not None:
                shown = f"{100 * score[0]:5.1f} % ({100 * score[1]:.1f} to {100 * score[2]:.1f})"
            elif result.spec.phase == "label value":
                shown = f"with {result.spec.labels} labels"
            else:
                shown = {"final": "predicted the sealed test", "ship": "trained for shipping"}[result.spec.phase]
            budget = "" if left == float("inf") else f"  {format_seconds(max(0.0, left)):>11} left"
            self.row(name, f"{_fold(result.spec)}  {shown}", [result], budget)

        def row(self, name: str, what: str, results: list[Any], budget: str = "") -> None:
            """One line of the table, of one result or of several together."""
            wall, peak = sum(r.wall for r in results), max(r.memory_mb for r in results)
            side = results[0].side
            self.say(f"  {side:<9} {name:<54} {what:<33} {format_seconds(wall):>7}  {peak:8.0f} MiB{budget}")

        def flush(self) -> None:
            """Say the final trials of routes that train no network, which hardly differ: a line for all seeds."""
            for results in self.finals.values():
                spec = results[0].spec
                what = f"{_seeds([r.spec.seed for r in results])} predicted the test"
                self.row(f"{spec.words()}{_details(spec)}", what, results)
            self.finals.clear()

        def interrupted(self) -> None:
            self.clear()
            self.flush()
            self.say("  interrupted: comparing what was found so far; press Ctrl-C again to stop at once")

        def judging(self) -> None:
            self.flush()
            self.words = "opening the sealed test, judging, saving the model"
            self.live(self.words)

    return Shown(console)


def _fold(spec: Any) -> str:
    """What the seed of a trial stands for: in the search, the fold that it is validated on."""
    return f"{'fold' if spec.phase == 'search' else 'seed'} {spec.seed + 1}"


def _seeds(seeds: list[int]) -> str:
    """`seed 1`, `seeds 1 to 5`, or, where a resumed run goes on, whichever they are."""
    numbers = [seed + 1 for seed in sorted(seeds)]
    if len(numbers) == 1:
        return f"seed {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"seeds {numbers[0]} to {numbers[-1]}"
    return f"seeds {', '.join(map(str, numbers))}"


def _trains(spec: Any) -> bool:
    """Whether a trial trains a network, so that its seed matters."""
    from headstart import strategy

    return bool(strategy.find(spec.strategy).needs.gradients)


def _details(spec: Any) -> str:
    """The hyper-parameters that are not the strategy's defaults."""
    from headstart import strategy

    defaults = strategy.parameters(strategy.find(spec.strategy)())
    shown = ", ".join(f"{k} {v}" for k, v in spec.parameters.items() if v != defaults[k] and v is not None)
    return f" [{shown}]" if shown else ""


class _Warnings(logging.Handler):
    """The package's log messages as plain lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"  warning   {record.getMessage()}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Run the command line. Exit codes: 0 done; 1 our bug; 2 the input is wrong; 130 interrupted."""
    # Threads that wait without spinning: twice as fast beside a busy browser, no slower alone.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("headstart").addHandler(_Warnings())
    warnings.simplefilter("ignore")  # other libraries' deprecations are not the user's business
    try:
        code = app(standalone_mode=False)
        if code == 130:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except InputError as error:
        _complain(str(error))
        code = error.exit_code
    except HeadstartError as error:
        _complain(f"{error}\nThis is a bug in headstart, not in your data.")
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; run the same command again to go on", file=sys.stderr)  # noqa: T201
        code = 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; there is nobody left to tell
        code = 0
    except Exception as error:
        if not hasattr(error, "show"):  # not one of the command line library's own usage errors
            raise
        error.show()
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _complain(words: str) -> None:
    print(f"error: {words}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
