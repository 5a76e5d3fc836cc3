"""What earlier runs have seen of a target: a test on examples that a source was trained on proves too much."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from headstart import source as sources
from headstart.errors import Problem, TargetError
from headstart.source.run import RunSource, Seen, earlier
from headstart.target.inputs import Inputs
from headstart.target.target import Episode, Target


def apart(target: Target, names: Sequence[str]) -> tuple[Target, list[str]]:
    """The target without the sealed examples that an earlier run among the sources learned from, and what to say of it.

    Examples are the same where their contents are, byte by byte. Those that are learned from stay: the user has their
    labels, and what they make look too good is validation, not the verdict.

    Args:
        target: what is to be learned.
        names: of the sources that were named.

    Raises:
        TargetError: what is left of a test lacks a class that was in it.
    """
    said: list[str] = []
    problems: list[Problem] = []
    for run in _runs(names):
        seen, name = run.seen(), run.card.name
        if seen is None:
            said.append(
                f"What {name} learned from is not on record beside its model: if some of it is in this test, the score "
                "of routes on it is too good."
            )
            continue
        made = [_without(episode, seen) for episode in target.episodes]
        if missing := [episode.name for episode, left in zip(target.episodes, made, strict=True) if left is None]:
            problems.append(
                Problem(
                    f"{name} learned from so many of the sealed examples that without them classes are missing "
                    f"from the test ({', '.join(missing[:5])})",
                    "a test of examples that the source was not trained on",
                    "leave the source out, or give other data",
                )
            )
            continue
        before = {digest for episode in target.episodes for digest in _digests(episode.seal.inputs)}
        target = replace(target, episodes=tuple(episode for episode in made if episode is not None))
        said += _said(name, seen, before, target)
    if problems:
        raise TargetError(problems)
    return target, said


def remember(folder: Path, target: Target, source: str) -> None:
    """Write down what a run has seen, and what the source of its model had, for the runs that begin from it."""
    learned = set(_digests(target.everything.examples.inputs))
    for run in _runs([source]):
        if (before := run.seen()) is not None:
            learned |= before.learned
    sealed = frozenset(digest for episode in target.episodes for digest in _digests(episode.seal.inputs))
    Seen(frozenset(learned), sealed).write(folder)


def learned_from(inputs: Inputs, names: Sequence[str]) -> list[str]:
    """Of each earlier run among the sources that learned from some of `inputs`: how many, in a sentence."""
    return [
        f"{run.card.name} learned from {count} of these {len(inputs)} examples: what is said of it is too good."
        for run in _runs(names)
        if (seen := run.seen()) is not None and (count := sum(d in seen.learned for d in _digests(inputs)))
    ]


def _runs(names: Sequence[str]) -> list[RunSource]:
    return [run for name in names for run in earlier(sources.find(name))]


def _digests(inputs: Inputs) -> Iterable[str]:
    """Of the inputs that can be read."""
    return [digest for digest in inputs.find_digests() if isinstance(digest, str)]


def _without(episode: Episode, seen: Seen) -> Episode | None:
    """The episode without what was seen in its seal; None where a class would be missing then."""
    rows = [i for i, digest in enumerate(episode.seal.inputs.find_digests()) if digest in seen.learned]
    if not rows:
        return episode
    seal = episode.seal.without(np.array(rows, dtype=np.int64))
    return None if seal is None else replace(episode, seal=seal)


def _said(name: str, seen: Seen, before: set[str], target: Target) -> list[str]:
    said = []
    if taken := len(before & seen.learned):
        said.append(
            f"{taken} of {len(before)} sealed examples are among those that {name} learned from: they were taken out "
            "of the test."
        )
    if again := len((before - seen.learned) & seen.sealed):
        said.append(f"{again} sealed examples had judged {name} before: a test that is used often chooses in the end.")
    inputs = target.everything.examples.inputs
    if known := sum(digest in seen.learned for digest in _digests(inputs)):
        said.append(
            f"{known} of {len(inputs)} examples to learn from are among those that {name} learned from: on validation "
            "its routes look better than they are. The test is not concerned."
        )
    return said
