"""The first lines of a ledger: what the run is of, and what is known before its first trial."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from headstart import machine
from headstart import source as sources
from headstart.errors import Problem, RunError
from headstart.features.text import fit_words, longer, tokenizer_of
from headstart.search import history
from headstart.search.ledger import FORMAT, Ledger
from headstart.search.options import Options
from headstart.search.seconds import USUAL_OF_TEXTS
from headstart.search.setting import Setting
from headstart.source.card import SourceCard
from headstart.target.inputs import TextInputs
from headstart.target.target import Episode, Target

CHARACTERS = 4.0  # in a token, about
SAMPLED = 200  # texts whose lengths stand for those of all


def begin(
    ledger: Ledger, target: Target, options: Options, settings: Sequence[Setting], warnings: Sequence[str] = ()
) -> None:
    """Write the `run` and `history` events; of a ledger that has them, see that they are of this target and options.

    Args:
        ledger: of the run.
        target: what is to be learned.
        options: what may be done.
        settings: what may be tried.
        warnings: beside those that follow from target and options.

    Raises:
        RunError: the ledger is of another run.
    """
    identity = {
        "target": target.digest(),
        "settings": hashlib.sha256("".join(s.key for s in settings).encode()).hexdigest(),
        "budget": str(options.budget),
        "seed": options.seed,
        "precision": options.precision,
        "shots": None if target.shots is None else [target.shots.labels, target.shots.asked],
    }
    known = ledger.first("run")
    if known is not None:
        differing = [key for key, value in identity.items() if known["identity"].get(key) != value]
        if differing or known.get("format") != FORMAT:
            raise RunError(
                Problem(
                    f"{ledger.path.parent} holds another run: its {', '.join(differing) or 'format'} differs",
                    "the same target and options, to resume it",
                    "--out with another folder, or remove this one",
                )
            )
        return
    ledger.write(
        "run",
        format=FORMAT,
        identity=identity,
        target={
            "name": target.name,
            "modality": target.modality,
            "examples": target.n_examples,
            "classes": list(target.classes),
            "train": target.n_train,
            "test": target.n_test,
            "split": target.split,
        },
        metric=target.metric,
        episodes=[{"name": e.name, "n_train": _learned(target, e), "n_test": len(e.seal)} for e in target.episodes],
        shots=None if target.shots is None else vars(target.shots),
        hygiene=target.hygiene.to_json(),
        warnings=[
            *(target.shots.said() if target.shots is not None else []),
            *([why] if (why := options.left_out()) else []),
            *options.unchanged(),
            *warnings,
            *_longer(target, {s.card.name: s.card for s in settings}.values()),
        ],
        sources=list(dict.fromkeys(s.card.name for s in settings)),
        budget=str(options.budget),
        seed=options.seed,
        device=options.device,
        command=options.command,
        versions=machine.versions(),
        machine=machine.describe(),
    )
    if options.budget.seconds is not None:  # with trials counted, nothing may depend on it
        first = target.episodes[0]
        before = history.known(settings, first.view.examples.inputs, first.seal.inputs, options.device)
        ledger.write("history", **before.to_json())


def rate(target: Target) -> float | None:
    """Operations per second to count with before any were measured; None: the plan's own.

    Cards give those for a text of a usual length, and this target's may be longer. The dense layers of encoders run
    twice as fast as the depthwise ones that the plan counts with.
    """
    inputs = target.everything.examples.inputs
    if not isinstance(inputs, TextInputs):
        return None
    sample = np.random.default_rng(0).permutation(len(inputs))[:SAMPLED].tolist()
    tokens = sum(len(inputs.text(i)) for i in sample) / max(1, len(sample)) / CHARACTERS
    return USUAL_OF_TEXTS * machine.cores() * sources.Tokens.TYPICAL / max(8.0, tokens)


def _learned(target: Target, episode: Episode) -> int:
    """Labels an episode learns from, validation included; few-shot draws share theirs, so that it is not."""
    return len(episode.view if target.shots is None else episode.view.training())


def _longer(target: Target, cards: Iterable[SourceCard]) -> list[str]:
    """Which sources read texts of this target in parts, or not to their end, in words."""
    said: list[str] = []
    if target.modality != "text":
        return said
    parts = [target.everything.examples.inputs]
    if target.split != "cross-fit":
        parts += [episode.seal.inputs for episode in target.episodes]
    for card in cards:
        how = card.preprocessing
        if not isinstance(how, sources.Tokens) or card.parts:  # several sources as one have each their tokenizer
            continue
        # A vocabulary that is not there yet: words are counted as such.
        document = fit_words((), how.vocabulary) if how.vocabulary else tokenizer_of(sources.find(card.name))
        if count := sum(longer(card, document, part) for part in parts):
            are = "1 text is" if count == 1 else f"{count:,} texts are"
            end = (
                "read in windows, whose vectors are averaged, weighted by their tokens"
                if how.windows
                else "read only so far"
            )
            said.append(f"{are} longer than the {how.length:,} tokens that {card.short} reads at once: {end}.")
    return said
