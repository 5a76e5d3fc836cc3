"""What `import headstart` offers, from `fit` to `open_run`; `headstart.__all__` lists it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from headstart import files, profile
from headstart.budget import Budget, parse_seconds
from headstart.errors import OptionError, Problem, RunError
from headstart.features.body import Progress
from headstart.judge.evidence import Evidence
from headstart.predictor import Predictor
from headstart.predictor import load as load_predictor
from headstart.report import write, write_adaptation
from headstart.report.examples import NAME as SHOWCASE
from headstart.report.examples import kept as kept_showcase
from headstart.report.examples import showcase
from headstart.search import Ledger, Listener, Options, assemble
from headstart.search import Run as SearchRun
from headstart.search import moved as within
from headstart.search import rank as ranking
from headstart.search import run as search
from headstart.search import shift as moved
from headstart.search import suggest as suggesting
from headstart.search.adapt import Adapted, AdaptOptions
from headstart.search.adapt import adapt as run_adaptation
from headstart.search.folder import EVIDENCE, refuse_foreign
from headstart.search.options import unnamed
from headstart.search.rehearse import Rehearsal, rehearse
from headstart.search.replay import replay as run_replay
from headstart.search.spec import read as read_spec
from headstart.source import BUNDLED, SMALL, SourceCard
from headstart.source import cards as cards_of
from headstart.source import find as find_source
from headstart.source.saved import MODEL
from headstart.strategy import Bench
from headstart.strategy import make as make_strategy
from headstart.strategy.adapt.zero_shot import ZeroShot
from headstart.target import Hygiene, Target, drawn, load_target
from headstart.target.adaptation import parse_few
from headstart.target.describe import describe as describe_classes
from headstart.target.describe import read_descriptions
from headstart.target.domain import Domain, load_domain
from headstart.target.inputs import as_inputs, joined
from headstart.target.shots import check as check_shots
from headstart.target.view import Examples, TrainView


class Run:
    """A finished run: its evidence, its predictor, its report.

    Args:
        folder: the run's directory, as `headstart fit --out` wrote it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.evidence.verdict})"

    @cached_property
    def evidence(self) -> Evidence:
        """What judge said, from `evidence.json`.

        Raises:
            RunError: the folder holds no evidence, or it is damaged.
        """
        path = self.folder / EVIDENCE
        try:
            return Evidence.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise _no_run(self.folder) from error
        except ValueError as error:
            raise RunError(
                Problem(f"{path} is damaged", "the evidence as it was written", f"headstart report {self.folder}")
            ) from error

    @cached_property
    def predictor(self) -> Predictor:
        """The shipped model.

        Raises:
            RunError: there is none.
        """
        return load_predictor(self.folder / MODEL)

    @property
    def report(self) -> Path:
        """The page to open in a browser."""
        return self.folder / "report.html"

    def rebuild(self) -> Path:
        """Assemble the evidence from the ledger anew, write it and the report, and return the report's path."""
        if not (self.folder / "ledger.jsonl").is_file():
            raise _no_run(self.folder)
        evidence = assemble(Ledger(self.folder))
        text = evidence.to_text()
        if not (self.folder / EVIDENCE).is_file() or (self.folder / EVIDENCE).read_text(encoding="utf-8") != text:
            files.write_text(self.folder / EVIDENCE, text)
        self.__dict__.pop("evidence", None)
        return write(evidence, self.folder, kept_showcase(self.folder))


def fit(
    data: Any,
    *,
    budget: str | float | Budget = "2m",
    out: str | Path | None = None,
    source: Sequence[str] = (),
    strategy: Sequence[str] = (),
    label: str | None = None,
    input: str | None = None,
    group: Any = None,
    describe: Mapping[Any, Any] | str | Path | None = None,
    test_fraction: float = 0.25,
    shots: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "auto",
    engine: str = "local",
    name: str | None = None,
    command: str = "",
    listener: Listener | None = None,
) -> Run:
    """Find out whether transfer helps on `data`, prove it, and keep the model.

    Args:
        data: a folder of class folders; a CSV, TSV, JSONL or Parquet file; `(X, y)`; a Hugging Face data set; a
            :class:`~headstart.target.Target`; or `embedded:pictograms`, `embedded:digits`.
        budget: wall time (`30s`, `2m`, `1h`, or seconds), or a :class:`~headstart.budget.Budget` with `trials`.
        out: the run's directory, resumed if it holds this run; None: a new temporary one.
        source: names of pretrained sources; empty: the bundled ones.
        strategy: names of strategies, with hyper-parameters that are decided, such as `finetune(last=1)`; empty: all.
            Where the transfer strategies named train no network (`probe`),
            baselines that train one are only tried if they are named too.
        label: label column; None: guessed.
        input: picture or text column; None: guessed.
        group: group column; its examples never stand on both sides of a split.
        describe: what the classes mean, for `zero-shot`: maps their names to a sentence or a list of sentences; or a
            YAML or JSON file that does; None: their names must do.
        test_fraction: share to seal where no split was given.
        shots: learn from so many labels of each class, over many draws of them; None: from all labels. The score and
            its interval are of one route over the draws, and the model is that of a single draw.
        draws: how many; None: 10.
        seed: of the split and of everything else random.
        device: `cpu`, or a torch device such as `cuda`.
        precision: of frozen features on the CPU: `f32`; `bf16`, where the processor has it; `auto`: bf16 where there
            are inputs enough and a check on a sample of the training examples shows that it costs no accuracy.
        engine: what executes the trials; `local` is the only one there is.
        name: what to call the target.
        command: how to start this run again, for the report; "": made up from the arguments.
        listener: hears what happens.

    Raises:
        InputError: the data or an option is wrong.

    Returns:
        The run, with `evidence`, `predictor` and `report`.
    """
    options = prepare(budget, source, strategy, seed, device, command, precision, engine)
    check_shots(shots, draws)
    if out is not None:
        refuse_foreign(Path(out))
    if isinstance(data, Target):
        target = data
    else:
        with profile.phase("read"):
            target = load_target(
                data, label=label, input=input, group=group, test_fraction=test_fraction, seed=seed, name=name
            )
    target = target.described(describe)
    if shots is not None:
        target = drawn(target, shots, draws, seed=seed)
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="headstart-"))
    return _reported(search(target, folder, options, listener))


def replay(
    run: str | Path, *, data: Any = None, out: str | Path | None = None, listener: Listener | None = None
) -> Run:
    """Run the trials of an earlier run again, in their order and with their seeds, and judge them.

    On the same data, with the same versions and weights, the evidence is the same but for seconds. What is not as it
    was stands among its warnings; :meth:`headstart.search.spec.RunSpec.differences` tells it beforehand.

    Args:
        run: an earlier run's directory, or its `spec.json`.
        data: as for :func:`fit`: what stands for the run's own data; None: that, from where it was.
        out: the replay's directory, resumed if it holds this replay; None: a new temporary one.
        listener: hears what happens.

    Raises:
        InputError: there is no spec, or it is wrong; the data cannot be read, or is split in another way.
    """
    spec = read_spec(run)
    if out is not None:
        refuse_foreign(Path(out))
    target = spec.read(data)
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="headstart-"))
    return _reported(run_replay(spec, target, folder, listener))


def _reported(finished: SearchRun) -> Run:
    """A finished run with its report."""
    with profile.phase("report"):
        shown = showcase(finished)
        files.write_json(finished.folder / SHOWCASE, shown.to_json())
        write(finished.evidence, finished.folder, shown)
    return Run(finished.folder)


def prepare(
    budget: str | float | Budget,
    source: Sequence[str] = (),
    strategy: Sequence[str] = (),
    seed: int = 0,
    device: str = "cpu",
    command: str = "",
    precision: str = "auto",
    engine: str = "local",
) -> Options:
    """The options of :func:`fit`, checked, so that a wrong one is said before the data is read.

    Raises:
        InputError: a source, a strategy, the budget, the device, the precision or the engine is wrong.
    """
    if not isinstance(budget, Budget):
        budget = Budget(parse_seconds(str(budget)))
    if not command:
        command = f"headstart.fit(..., budget={str(budget)!r})"
    options = Options(tuple(source), tuple(strategy), budget, seed, device, command, precision, engine)
    options.check()
    _check_device(device)
    return options


def check(data: Any, **options: Any) -> Hygiene:
    """Look at `data` without learning anything: counts, imbalance, unreadable files, duplicates, leakage, what moved.

    What moved is whether a given test, or the unlabelled examples, are unlike what is learned from.

    Args:
        data: as for :func:`fit`; or a :class:`~headstart.target.Target`.
        options: `label`, `input`, `group`, `test_fraction`, `seed`, as for :func:`fit`.

    Raises:
        TargetError: it cannot be read at all, or there is too little of it.
    """
    target = data if isinstance(data, Target) else load_target(data, **options)
    found = tuple(part.to_json() for part in within.moved(target, seed=int(options.get("seed", 0))))
    return replace(target.hygiene, moved=found)


def rank(
    data: Any,
    sources: Sequence[str] = (),
    *,
    by: str = ranking.BY,
    resamples: int = ranking.RESAMPLES,
    device: str = "cpu",
    progress: ranking.Progress | None = None,
    **options: Any,
) -> ranking.Ranking:
    """Rank pretrained sources by scores on their frozen features, in seconds, before anything is trained.

    Only training examples are looked at, never sealed ones. A ranking is a guess, and it says how good a one:
    `first`, the share of resamples in which a source is first, and `agreement` among the scores. :func:`fit` proves.

    Args:
        data: as for :func:`fit`.
        sources: names of pretrained sources; empty: the bundled ones.
        by: the score that ranks. `linear`, the default, is the leave-one-out accuracy of a linear probe.
        resamples: on how many resamples of the examples the ranking is repeated; 0: on none.
        device: `cpu`, or a torch device such as `cuda`.
        progress: called as `progress(words, done, total)`.
        options: `label`, `input`, `group`, `test_fraction`, `seed`, `name`, as for :func:`fit`.

    Raises:
        InputError: the data, a source or an option is wrong.
    """
    ranking.check(by, resamples)
    cards_of(sources)
    _check_device(device)
    target = data if isinstance(data, Target) else load_target(data, **options)
    seed = int(options.get("seed", 0))
    return ranking.rank(target, tuple(sources), by=by, resamples=resamples, seed=seed, device=device, progress=progress)


def plan(
    data: Any,
    *,
    budget: str | float | Budget = "2m",
    source: Sequence[str] = (),
    strategy: Sequence[str] = (),
    shots: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Rehearsal:
    """What :func:`fit` would do with a budget, trial by trial, and how long it would take. Nothing is trained.

    It is a rehearsal with the plan of a run, in which trials take the seconds that are predicted: from what earlier
    runs measured on this machine, else from what a usual machine does. Scores are not known yet, so that the final
    trials are of assumed leaders.

    Args:
        data: as for :func:`fit`.
        budget: of the run.
        source: names of pretrained sources; empty: the bundled ones.
        strategy: names of strategies, as for :func:`fit`; empty: all.
        shots: as for :func:`fit`.
        draws: as for :func:`fit`.
        seed: of the run.
        options: `label`, `input`, `group`, `test_fraction`, `name`, as for :func:`fit`.

    Raises:
        InputError: the data or an option is wrong.
    """
    chosen = prepare(budget, source, strategy, seed)
    check_shots(shots, draws)
    target = data if isinstance(data, Target) else load_target(data, seed=seed, **options)
    if shots is not None:
        target = drawn(target, shots, draws, seed=seed)
    return rehearse(target, chosen)


def suggest(
    run: str | Path | Predictor,
    pool: Any,
    *,
    count: int = 20,
    labelled: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> suggesting.Suggestions:
    """Which unlabelled examples to label next: those the shipped model is unsure of, and that differ.

    Args:
        run: a run's directory, or a predictor.
        pool: unlabelled inputs, as :meth:`Predictor.predict_proba` takes them.
        count: how many to suggest, at most.
        labelled: data as for :func:`fit`: neither its examples nor near copies of them are suggested. None: only
            copies within the pool are left out.
        seed: of the choice.
        progress: called as `progress(done, total)`.

    Raises:
        InputError: there is no model, the pool or the labelled data cannot be read at all, or an option is wrong.
    """
    predictor = run if isinstance(run, Predictor) else load_predictor(run)
    known = None
    if labelled is not None:
        target = labelled if isinstance(labelled, Target) else load_target(labelled)
        known = target.everything.examples.inputs
        if target.split != "cross-fit":
            known = joined(known, target.episodes[0].seal.inputs)
    inputs = as_inputs(pool, predictor.body.modality)
    return suggesting.suggest(predictor, inputs, count=count, labelled=known, seed=seed, progress=progress)


def adapt(
    source_domain: Any,
    target_domain: Any,
    *,
    target_labels: int | str | None = None,
    intermediate: Any = None,
    budget: str | float | Budget = "5m",
    out: str | Path | None = None,
    source: str = "",
    strategy: Sequence[str] = (),
    label: str | None = None,
    input: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    command: str = "",
    listener: Listener | None = None,
) -> Adapted:
    """Adapt from labelled source domains to a target domain, and keep the model that is safe.

    The way with the best record on other data is shipped where the domains are apart and it cannot be taken for one
    that undoes a label shift, else source-only. Labels of the target that were not given to learn from are sealed, and
    judge that choice.

    Args:
        source_domain: labelled; as `data` of :func:`fit`. A list of several: how much each should count is found out,
            and one that does harm is dropped.
        target_domain: with labels, which are sealed, or without; see :func:`headstart.target.domain.load_domain`.
        target_labels: learn from so many labels of each class of the target, drawn by lot, beside the source's; `all`:
            from all it has, and seal none; None: from none. What is shipped must then beat target-only as well.
        intermediate: a domain between source and target, such as pictures of the years between; a list of several, the
            one nearest to the source first. None of their labels is used.
        budget: wall time, or a :class:`~headstart.budget.Budget`.
        out: the run's directory, resumed if it holds this run; None: a new temporary one.
        source: name of the pretrained source of features; "": the first bundled one.
        strategy: names of ways of adaptation; empty: all.
        label: label column of tables; None: guessed.
        input: picture or text column of tables; None: guessed.
        seed: of everything random.
        device: `cpu`, or a torch device such as `cuda`.
        command: how to start this run again, for the report.
        listener: hears what happens.

    Raises:
        InputError: a domain or an option is wrong.
    """
    few = None if target_labels is None else parse_few(str(target_labels))
    domains = source_domain if isinstance(source_domain, list) else [source_domain]
    passed = intermediate if isinstance(intermediate, list) else [] if intermediate is None else [intermediate]
    limit = budget if isinstance(budget, Budget) else Budget(parse_seconds(str(budget)))
    named = (source,) if source else ()
    words = command or "headstart.adapt(...)"
    options = AdaptOptions(
        named,
        tuple(strategy),
        limit,
        seed,
        device,
        words,
        few=few is not None,
        domains=len(domains) > 1,
        intermediate=bool(passed),
    )
    options.check()
    _check_device(device)
    if out is not None:
        refuse_foreign(Path(out))
    read = [
        data if isinstance(data, Domain) else load_domain(data, label=label, input=input)
        for data in (*domains, *passed, target_domain)
    ]
    labelled, between, other = read[: len(domains)], read[len(domains) : -1], read[-1]
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="headstart-"))
    adapted = run_adaptation(labelled, other, folder, options, listener, few=few, intermediate=between)
    write_adaptation(adapted.choice, folder)
    if adapted.evidence is not None:
        write(adapted.evidence, folder)
    return adapted


def shift(
    source_domain: Any,
    target_domain: Any,
    *,
    source: str = "",
    label: str | None = None,
    input: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: ranking.Progress | None = None,
) -> moved.Shift:
    """Find out what moved between two domains: P(X), P(Y), or, where the target has labels, P(Y given X).

    It is a diagnosis of the data, on frozen features of one pretrained source; nothing is adapted.

    Args:
        source_domain: as `data` of :func:`fit`, or without labels; see :func:`headstart.target.domain.load_domain`.
        target_domain: likewise.
        source: name of the pretrained source; "": the first bundled one.
        label: label column of tables; None: guessed.
        input: picture or text column of tables; None: guessed.
        seed: of everything random.
        device: `cpu`, or a torch device such as `cuda`.
        progress: called as `progress(words, done, total)`.

    Raises:
        InputError: a domain cannot be read, or the two cannot be compared.
    """
    if source:
        cards_of([source])
    _check_device(device)
    domains = [
        data if isinstance(data, Domain) else load_domain(data, label=label, input=input)
        for data in (source_domain, target_domain)
    ]
    return moved.shift(*domains, features=source, seed=seed, device=device, progress=progress)


def zero_shot(
    classes: Sequence[str] | Mapping[str, Any] | str | Path,
    source: str = "minilm_l6",
    *,
    inputs: Any = None,
    parameters: dict[str, Any] | None = None,
    device: str = "cpu",
) -> Predictor:
    """A predictor from what the classes are called, without any label; see the strategy `zero-shot`.

    How good it is nobody knows without labels: :func:`fit` measures it, beside all other routes.

    Args:
        classes: their names; or a mapping from names to a sentence or a list of sentences; or a YAML or JSON file with
            one.
        source: one for texts, or one for pictures that knows classes by name.
        inputs: some texts or pictures of the kind that is to be predicted, without labels, about equally many of each
            class: scores are shifted so that no class is preferred among them. None: they are not.
        parameters: hyper-parameters of the strategy; None: its defaults.
        device: `cpu`, or a torch device.

    Raises:
        InputError: a class has no name in words and no description, or the source cannot serve.
    """
    said = read_descriptions(classes) if isinstance(classes, str | Path) else classes
    names = tuple(str(name) for name in said)
    found = find_source(source)
    problems = [Problem(f"class {name!r} twice") for name in dict.fromkeys(names) if names.count(name) > 1]
    if len(names) < 2:
        problems.append(Problem(f"{len(names)} classes", "two or more"))
    if lacking := ZeroShot.needs.lacking(found.card):
        problems.append(Problem(f"zero-shot {lacking}", next="headstart sources"))
    if problems:
        raise OptionError(problems)
    seen = as_inputs([] if inputs is None else inputs, found.card.modality)
    descriptions = describe_classes(names, said) if isinstance(said, Mapping) else ()
    view = TrainView(Examples(seen, np.zeros(len(seen), np.int64)), names, "accuracy", descriptions=descriptions)
    if wordless := view.wordless():
        raise OptionError(
            Problem(
                unnamed(wordless),
                next="give a mapping from each class to a sentence that describes it",
            )
        )
    strategy = make_strategy("zero-shot", parameters or {})
    predictor = strategy(found, view, budget=Budget(), seed=0, bench=Bench(device=device))
    predictor.provenance |= {"source": found.card.name, "licence": found.card.licence, "strategy": "zero-shot"}
    return predictor


def sources() -> list[SourceCard]:
    """The sources that need no hub."""
    return cards_of([*BUNDLED, *SMALL.values()])


def load(folder: str | Path) -> Predictor:
    """The predictor in a run's directory, or in its `model` folder.

    Raises:
        RunError: there is none.
        PredictorError: it is damaged.
    """
    return load_predictor(folder)


def open_run(folder: str | Path) -> Run:
    """An earlier run.

    Raises:
        RunError: the folder holds no run.
    """
    run = Run(folder)
    run.evidence  # noqa: B018 - raises where there is none
    return run


def _no_run(folder: Path) -> RunError:
    return RunError(
        Problem(
            f"no finished run in {folder}", "a folder that headstart fit wrote", f"headstart fit TARGET --out {folder}"
        )
    )


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise OptionError(Problem(f"device {device!r}", "cpu, cuda, cuda:0 or mps")) from error
    able = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not able.get(kind, False):
        raise OptionError(Problem(f"device {device!r} is not available on this machine", "cpu", "leave --device out"))
