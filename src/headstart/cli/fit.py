"""`headstart fit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.app import Data, Group, Input, Label, Seed, TestFraction, command_line, names_in, read_target
from headstart.cli.live import run_listener, stderr_console
from headstart.cli.words import target_lines, verdict_lines
from headstart.errors import OptionError, Problem

if TYPE_CHECKING:
    from headstart.api import Run
    from headstart.profile import Profile


def fit(
    target: Data,
    budget: Annotated[str, typer.Option(help="Wall time: 30s, 2m, 1h.")] = "2m",
    trials: Annotated[int | None, typer.Option(min=2, help="Count search trials instead of time.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; resumed if it holds this run.")] = None,
    source: Annotated[str, typer.Option(help="Pretrained sources, comma-separated. Default: the bundled ones.")] = "",
    strategy: Annotated[
        str,
        typer.Option(
            help="Strategies, comma-separated. Default: all. Hyper-parameters can be decided: "
            "'finetune(last=1,penalty=l2sp)'. Beside routes that train no network, such as probe, "
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
    shots: Annotated[
        int | None, typer.Option(min=1, help="Learn from so many labels of each class, over many draws of them.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=2, help="Draws of --shots. Default: 10.")] = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, or a torch device such as cuda.")] = "cpu",
    precision: Annotated[
        str,
        typer.Option(
            help="Of frozen features on the CPU: f32, bf16, or auto: bf16 where a check on the target's own training "
            "examples shows that it costs no accuracy."
        ),
    ] = "auto",
    engine: Annotated[str, typer.Option(help="What executes the trials: local.")] = "local",
    profile: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write where the time went, phase by phase, as JSON.")
    ] = None,
) -> None:
    """Find out whether transfer helps, prove it on a sealed test set, and keep the model."""
    from headstart.budget import Budget, parse_seconds
    from headstart.profile import process_seconds

    limits = Budget(trials=trials) if trials else Budget(seconds=parse_seconds(budget))
    folder = out or Path("runs") / Path(target.partition(":")[2] or target).stem
    fit_and_tell(
        target,
        folder,
        imported=process_seconds(),
        keep=profile,
        budget=limits,
        source=names_in(source),
        strategy=names_in(strategy),
        label=label,
        input=input,
        group=group,
        describe=describe,
        test_fraction=test_fraction,
        shots=shots,
        draws=draws,
        seed=seed,
        device=device,
        precision=precision,
        engine=engine,
    )


def fit_and_tell(target: str, folder: Path, *, imported: float = 0.0, keep: Path | None = None, **options: Any) -> Run:
    """Run, and say what came of it; `imported` seconds had passed before, and the profile goes to `keep`."""
    from headstart import profile

    if keep is not None:
        _refuse_profile(keep)
    with profile.opened(imported) as spent:
        run = _run(target, folder, **options)
    tell(run, folder, spent)
    if keep is not None:
        _write_profile(spent, keep)
        typer.echo(f"  profile   {keep}")
    if run.evidence.partial:
        sys.exit(130)  # everything was said
    return run


def tell(run: Run, folder: Path, spent: Profile) -> None:
    """What came of a run, and where it is."""
    for line in verdict_lines(run.evidence, spent):
        typer.echo(line)
    typer.echo(f"  files     {folder / 'model'}/   {folder / 'report.html'}   {folder / 'evidence.json'}")


def _run(target: str, folder: Path, **options: Any) -> Run:
    """Read the target and fit, showing on stderr what is going on."""
    from headstart import profile

    with profile.phase("import"):
        from headstart import api, source
        from headstart.search.folder import refuse_foreign
        from headstart.target import shots
        from headstart.target.describe import read_descriptions

        console = stderr_console()
    reading = {key: options.pop(key) for key in ("label", "input", "group", "test_fraction")}
    described = options.pop("describe", None)
    said = None if described is None else read_descriptions(described)
    labels, draws = options.pop("shots", None), options.pop("draws", None)
    shots.check(labels, draws)
    api.prepare(**options)
    refuse_foreign(folder)
    with run_listener(console) as listener:
        with profile.phase("read"):
            data = read_target(listener, target, seed=options["seed"], **reading)
        data = data.described(said)
        if labels is not None:
            data = shots.drawn(data, labels, draws, seed=options["seed"])
        for line in target_lines(data):
            listener.say(line)
        names = [card.short for card in source.cards(options["source"] or source.bundled_names(data.modality))]
        listener.say(f"  sources   {', '.join(names)}, scratch")
        return api.fit(data, out=folder, listener=listener, command=command_line(), **options)


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
        "command": command_line(),
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
