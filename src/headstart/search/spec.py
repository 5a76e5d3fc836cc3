"""The run spec, `spec.json`: everything that defines a run, to be read by a person and replayed.

It is written when a run ends. What it says of the target and the options would start the same run; with its list of
trials nothing depends on the clock any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headstart import files, machine
from headstart import source as sources
from headstart.budget import Budget
from headstart.errors import HeadstartError, Problem, RunError
from headstart.search.ledger import Ledger
from headstart.search.options import Options
from headstart.source.joined import JoinedSource
from headstart.target.readers import load_target
from headstart.target.shots import drawn
from headstart.target.target import Target
from headstart.trial import Phase, Spec

NAME = "spec.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Read(_Part):
    """Where the target is and how it is read; see :func:`headstart.target.load_target`."""

    data: str | None = Field(description="a path, or embedded:NAME; null: it was given in Python and has no name")
    label: str | None = None
    input: str | None = None
    group: str | None = None
    test_fraction: float = 0.25
    seed: int = 0
    name: str | None = None
    describe: dict[str, list[str]] | None = None
    shots: int | None = None
    draws: int | None = None


class Known(_Part):
    """By what one sees whether the target is the one that the run had."""

    examples: int
    classes: list[str]
    split: str
    names: str = Field(description="SHA-256 over classes, split, names of examples and labels")
    contents: str = Field(description="SHA-256 over the contents of all examples")


class Limits(_Part):
    """The budget as it was given; a replay runs the trials that are listed, whatever they take."""

    seconds: float | None = None
    trials: int | None = None


class Trial(_Part):
    """One trial; see :class:`headstart.trial.Spec`."""

    episode: str
    phase: Phase
    source: str
    strategy: str
    parameters: dict[str, Any]
    seed: int = 0
    labels: int | None = None
    steps: int = Field(default=0, description="after which the budget cut its training short; 0: it was not")
    seconds: float = Field(default=0.0, description="that it took")

    def spec(self) -> Spec:
        """As the ledger knows it."""
        return Spec(**self.model_dump(exclude={"steps", "seconds"}))


class Ended(_Part):
    """How the run ended."""

    partial: bool = False
    why: str = ""
    enough: str = ""
    untried: list[dict[str, Any]] = []


class RunSpec(_Part):
    """Everything that defines a run."""

    format: Literal[1] = 1
    target: Read
    known: Known
    sources: list[str]
    strategies: list[str]
    budget: Limits
    seed: int
    device: str
    precision: str
    engine: str
    command: str
    revisions: dict[str, str] = Field(description="source -> digest of its weights")
    versions: dict[str, str]
    limit: dict[str, Any] | None = Field(description="which part of the target the budget allowed; null: all of it")
    trials: list[Trial]
    ended: Ended

    def options(self) -> Options:
        """What the run was allowed."""
        return Options(
            tuple(self.sources),
            tuple(self.strategies),
            Budget(self.budget.seconds, self.budget.trials),
            self.seed,
            self.device,
            self.command,
            self.precision,
            self.engine,
        )

    def read(self, data: Any = None, progress: Any = None) -> Target:
        """The target, as the run had it.

        Args:
            data: what stands for the data that the spec names; None: that.
            progress: called as `progress(examined, N)`.

        Raises:
            RunError: the spec names no data.
            TargetError: the data cannot be read, or there is too little of it.
        """
        if data is None and self.target.data is None:
            raise RunError(
                Problem(
                    "the run's data was given in Python, so that its spec does not say where it is", next="--target"
                )
            )
        how = self.target.model_dump(exclude={"data", "describe", "shots", "draws"})
        target = data if isinstance(data, Target) else load_target(data or self.target.data, **how, progress=progress)
        target = target.described(self.target.describe)
        if self.target.shots is not None and target.shots is None:
            target = drawn(target, self.target.shots, self.target.draws, seed=self.seed)
        return target

    def differences(self, target: Target) -> list[str]:
        """What is not as it was, in words: the data, sources, versions. Nothing is trained to find out."""
        return [*self._moved(target), *self._other_weights(), *self._other_versions()]

    def _moved(self, target: Target) -> Iterator[str]:
        now = known(target)
        if now.classes != self.known.classes:
            gone = sorted(set(self.known.classes) - set(now.classes))
            new = sorted(set(now.classes) - set(self.known.classes))
            yield f"the classes: {', '.join(gone) or 'none'} gone, {', '.join(new) or 'none'} new"
        if now.examples != self.known.examples:
            yield f"the data: {now.examples:,} examples where there were {self.known.examples:,}"
        elif now.contents != self.known.contents:
            yield "the data: as many examples, and other contents"
        elif now.names != self.known.names:
            yield "the data: the same contents under other names, labels or another split"

    def _other_weights(self) -> Iterator[str]:
        for name, revision in self.revisions.items():
            try:
                if sources.find(name).revision() != revision:
                    yield f"{name}: its weights are others"
            except HeadstartError as error:
                yield f"{name}: {str(error).partition(chr(10))[0]}"

    def _other_versions(self) -> Iterator[str]:
        now = machine.versions()
        for package in sorted(self.versions.keys() | now.keys()):
            before, here = (found.get(package, "none") for found in (self.versions, now))
            if before != here:
                yield f"{package} {here}, where the run had {before}"


def known(target: Target) -> Known:
    """By what the target can be told from another."""
    parts = [target.everything.examples.inputs]
    if target.split != "cross-fit":
        parts += [episode.seal.inputs for episode in target.episodes]
    digests = sorted(str(digest) for part in parts for digest in part.find_digests())
    return Known(
        examples=target.n_examples,
        classes=list(target.classes),
        split=target.split,
        names=target.digest(),
        contents=hashlib.sha256(" ".join(digests).encode()).hexdigest(),
    )


def written(ledger: Ledger, target: Target, options: Options) -> RunSpec:
    """The spec of a run that has ended.

    Args:
        ledger: of the run.
        target: as it was given to the run.
        options: of the run.
    """
    end, budget, shots = ledger.all("end")[-1], options.budget, target.shots
    said = target.everything.descriptions
    results = list(ledger.results.values())
    limit = ledger.first("limit")
    return RunSpec(
        target=Read(
            **(target.origin or {"data": None}),
            describe={name: list(s) for name, s in zip(target.classes, said, strict=True) if s} if said else None,
            shots=None if shots is None else shots.labels,
            draws=None if shots is None else shots.asked,
        ),
        known=known(target),
        sources=list(options.sources),
        strategies=list(options.strategies),
        budget=Limits(seconds=budget.seconds, trials=budget.trials),
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        engine=options.engine,
        command=options.command,
        revisions=_revisions({result.spec.source for result in results}),
        versions=machine.versions(),
        limit=None if limit is None else {key: value for key, value in limit.items() if key != "event"},
        trials=[
            Trial(**result.spec.to_json(), steps=result.cut_steps, seconds=round(result.wall, 3)) for result in results
        ],
        ended=Ended(partial=end["partial"], why=end["why"], enough=end["enough"], untried=end["untried"]),
    )


def _revisions(names: set[str]) -> dict[str, str]:
    """Of the pretrained sources, each part for itself."""
    found = {}
    for name in sorted(names):
        source = sources.find(name)
        for part in source.parts if isinstance(source, JoinedSource) else (source,):
            if part.card.pretrained:
                found[part.card.name] = part.revision()
    return found


def write(folder: Path, spec: RunSpec) -> None:
    """Into a run's folder."""
    files.write_json(folder / NAME, spec.model_dump(mode="json"))


def read(path: str | Path) -> RunSpec:
    """The spec in a file, or in a run's folder.

    Raises:
        RunError: there is none, or it is wrong; everything that is wrong with it.
    """
    path = Path(path).expanduser()
    path = path / NAME if path.is_dir() else path
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return RunSpec.model_validate(document)
    except OSError as error:
        raise RunError(
            Problem(
                f"no run spec at {path}: {error.strerror or error}",
                f"the folder of a finished run, or its {NAME}",
                "headstart fit TARGET --out RUN writes one",
            )
        ) from error
    except ValidationError as error:
        problems = [
            Problem(f"{path}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", next="mend it by hand")
            for wrong in error.errors()
        ]
        raise RunError(problems) from error
    except ValueError as error:
        raise RunError(Problem(f"{path} cannot be read: {error}", "JSON as a run wrote it")) from error
