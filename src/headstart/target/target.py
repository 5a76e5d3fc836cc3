"""A Target: the user's domain and task, cut into what may be learned from and what is sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from headstart.target.describe import describe
from headstart.target.hygiene import Hygiene
from headstart.target.seal import Seal
from headstart.target.view import TrainView

Split = Literal["given", "made", "cross-fit"]


@dataclass(frozen=True)
class Episode:
    """One honest comparison: a view to learn from, and the sealed examples to be judged on.

    A target with a test split has one episode. A target too small for one has an episode per fold and repeat of
    cross-fitting; each chooses its routes anew from its own view. A target of which few-shot draws were made has an
    episode per draw; their views have in common what the routes are chosen by.
    """

    name: str
    view: TrainView
    seal: Seal


@dataclass(frozen=True)
class Shots:
    """How few-shot draws were made; see :func:`headstart.target.shots.drawn`.

    Args:
        labels: of each class that a draw learns from, K.
        draws: how many there are.
        asked: how many were asked for.
        shared: mean share of its labels that a draw has in common with another, 0 (none) to 1.
        choosing: labels that choose the routes; no draw learns from them.
    """

    labels: int
    draws: int
    asked: int
    shared: float
    choosing: int

    def said(self) -> list[str]:
        """What a reader of the verdict should be warned of."""
        found = []
        if self.draws < self.asked:
            found.append(
                f"{self.draws} draws instead of {self.asked}: each is judged on its own part of the sealed test with "
                "every class in it, and there are too few test examples of the rarest class for more."
            )
        if self.shared:
            found.append(
                f"Two draws have {100 * self.shared:.2g} % of their labels in common on average, because there are too "
                "few of some class to draw from; the intervals are widened for that."
            )
        return found


@dataclass(frozen=True)
class Target:
    """The user's data: a domain (feature space and P(X)) and a task (label space and P(Y given X)).

    Args:
        name: what the user calls it.
        modality: what the examples are made of: `image` or `text`.
        classes: names of the classes, sorted.
        metric: the primary metric: `balanced_accuracy` when the classes are imbalanced, else `accuracy`.
        split: `given` by the user, `made` here, or `cross-fit` where there is too little for a test split.
        episodes: see :class:`Episode`.
        everything: all labels outside the test: the one episode's view; or, cross-fitted, all examples; or, where
            few-shot draws were made, what they were drawn from. The shipped model is trained on it, but for those.
        hygiene: what was found wrong with the data and what was done about it.
        shots: how few-shot draws were made; None: there are none.
        origin: where the data is and how it was read, as :func:`headstart.target.load_target` is called; None: it was
            given as objects, which have no name.
    """

    name: str
    modality: str
    classes: tuple[str, ...]
    metric: str
    split: Split
    episodes: tuple[Episode, ...]
    everything: TrainView
    hygiene: Hygiene
    shots: Shots | None = None
    origin: Mapping[str, Any] | None = None

    @property
    def n_train(self) -> int:
        """Labelled examples outside the test split (cross-fitted: all of them)."""
        return len(self.everything)

    @property
    def n_test(self) -> int:
        """Sealed examples (cross-fitted: every example is sealed once per repeat)."""
        return len(self.everything) if self.split == "cross-fit" else sum(len(e.seal) for e in self.episodes)

    @property
    def n_examples(self) -> int:
        """All usable examples."""
        return self.n_train if self.split == "cross-fit" else self.n_train + self.n_test

    def described(self, said: Mapping[Any, Any] | str | Path | None) -> Target:
        """The same target with what its classes mean, for strategies that go by names.

        Args:
            said: maps names of classes to a sentence or a list of sentences; or a YAML or JSON file that does; None:
                nothing is said. A class that is not in it is described by its name.

        Raises:
            OptionError: it names classes that there are not, or cannot be read; all of it at once.
        """
        if not (descriptions := describe(self.classes, said)):
            return self
        episodes = tuple(replace(e, view=replace(e.view, descriptions=descriptions)) for e in self.episodes)
        return replace(self, episodes=episodes, everything=replace(self.everything, descriptions=descriptions))

    def digest(self) -> str:
        """SHA-256 over classes, what is said of them, split, names and labels: what a run may be resumed on."""
        state = hashlib.sha256(repr((self.classes, self.metric, self.split)).encode())
        if self.shots is not None:
            state.update(repr(self.shots).encode())
        if self.everything.descriptions:
            state.update(repr(self.everything.descriptions).encode())
        for episode in self.episodes:
            inputs = episode.view.examples.inputs
            state.update(episode.view.examples.labels.tobytes())
            state.update(episode.seal.digest.encode())
            few = episode.view.few
            if few is not None:
                state.update(few.labels.tobytes())
            between = episode.view.intermediate
            for part in (inputs, episode.seal.inputs, *([few.inputs] if few is not None else []), *between):
                for i in range(len(part)):
                    state.update(part.name(i).encode("utf-8", "backslashreplace") + b"\0")
        return state.hexdigest()
