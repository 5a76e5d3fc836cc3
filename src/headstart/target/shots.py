"""Few-shot draws: what would K labels of each class give? Asked of a target that has more of them.

One draw of K labels is luck, so many are made. A *draw* is an episode: it learns from K labelled examples of each class
and is judged on a part of the sealed test that is its own. Draws have no test example in common, and no label where the
target has enough of them, so that what they say is independent. Labels that no draw learns from choose the routes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from headstart.errors import OptionError, Problem
from headstart.target.assemble import CROSS_FITTED
from headstart.target.raw import listed
from headstart.target.seal import Seal
from headstart.target.split import holdout, stratified_sample
from headstart.target.target import Episode, Shots, Target
from headstart.target.view import FOLDS, TrainView

Positions = NDArray[np.int64]

DRAWS = 10
"""As many draws as are made where nobody says how many."""

FEWEST_DRAWS = 2
"""One draw has no spread."""

CHOOSING = 500
"""At most about so many labels choose the routes; more would be predicted in every search trial, for little."""

TEST_OF_FEW = 0.5
"""What is sealed of a target too small for a test split. Draws need few of its labels, so the test can have many."""


def check(shots: int | None, draws: int | None) -> None:
    """Find out what is wrong with the numbers before the data is read.

    Args:
        shots: labels of each class; None: no few-shot draws are wanted.
        draws: how many; None: :data:`DRAWS`.

    Raises:
        OptionError: they are too small, or draws were asked for without shots.
    """
    problems = []
    if shots is not None and shots < 1:
        problems.append(Problem(f"{shots} shots", "at least one label of each class", "--shots 1"))
    if draws is not None and draws < FEWEST_DRAWS:
        problems.append(Problem(f"{draws} draws", f"at least {FEWEST_DRAWS}, one has no spread", f"--draws {DRAWS}"))
    if draws is not None and shots is None:
        problems.append(Problem("draws without shots", "how many labels of each class to draw", "--shots 8"))
    if problems:
        raise OptionError(problems)


def drawn(target: Target, shots: int, draws: int | None = None, *, seed: int = 0) -> Target:
    """The same target as few-shot draws.

    The sealed test is divided among the draws, every class in each part. Of the labels outside it a fifth, at most
    about :data:`CHOOSING`, is kept to choose the routes by (a validation split given by the user is, instead), and the
    draws are dealt from the rest like hands of cards: a label is dealt again when all of its class have been. Groups
    are never divided between test, choosing and learning, and a draw holds members of as many groups as it can.

    Args:
        target: not yet drawn. One that is too small for a test split has half of it sealed.
        shots: labels of each class that a draw learns from, K.
        draws: how many, D; None: :data:`DRAWS`. Fewer where the test has fewer examples of its rarest class.
        seed: of everything random.

    Raises:
        OptionError: a number is too small, or the target has too few labels or test examples; all of it at once.
    """
    check(shots, draws)
    if target.shots is not None:
        raise OptionError(Problem(f"{target.name} is drawn already", "a target with all of its labels"))
    target = _divided(target, seed)
    pool, asked = target.everything, draws or DRAWS
    learning, choosing = _parts(pool, seed)
    hands, problems = _deal(pool, learning, shots, asked, seed)
    seals = target.episodes[0].seal.parts(asked, seed=seed)
    if len(seals) < FEWEST_DRAWS:
        problems.append(
            Problem(
                "the sealed test cannot be divided: it has one example, or one group, of some class",
                f"at least {FEWEST_DRAWS} of each class, because every draw is judged on a part with all classes",
                "a larger --test-fraction, or more test examples of the rarest class",
            )
        )
    if problems:
        raise OptionError(problems)
    hands = hands[: len(seals)]
    shared = _shared(hands, pool.examples.groups)
    if shared == 1:
        raise OptionError(
            Problem(
                f"with {shots} of each class all draws would be the same",
                "a class at least with more labels than that, beside those that choose the routes",
                "a smaller --shots, or none, to learn from all labels",
            )
        )
    episodes = tuple(
        Episode(f"draw{number}", _view(pool, hand, choosing), seal)
        for number, (hand, seal) in enumerate(zip(hands, seals, strict=True), 1)
    )
    found = Shots(shots, len(seals), asked, shared, len(choosing))
    return replace(target, episodes=episodes, shots=found)


def _divided(target: Target, seed: int) -> Target:
    """The target with one test split, made here where it was too small for one."""
    if target.split != "cross-fit":
        return target
    whole, names = target.everything, target.classes
    labels = whole.examples.labels
    train, test = holdout(labels, TEST_OF_FEW, seed=seed, groups=whole.examples.groups)
    sealed = whole.examples.take(test)
    view = whole.take(train)
    counts = {
        name: {"train": int((labels[train] == c).sum()), "validation": 0, "test": int((labels[test] == c).sum())}
        for c, name in enumerate(names)
    }
    said = tuple(warning for warning in target.hygiene.warnings if warning != CROSS_FITTED)
    return replace(
        target,
        split="made",
        episodes=(Episode("test", view, Seal(sealed.inputs, sealed.labels, sealed.groups)),),
        everything=view,
        hygiene=replace(target.hygiene, counts=counts, warnings=said),
    )


def _parts(pool: TrainView, seed: int) -> tuple[Positions, Positions]:
    """Positions to deal draws from, and positions of the labels that choose the routes."""
    examples = pool.examples
    if pool.validation is None:
        share = min(1 / FOLDS, CHOOSING / max(1, len(pool)))
        return holdout(examples.labels, share, seed=seed, groups=examples.groups)
    given = np.flatnonzero(pool.validation)
    return np.flatnonzero(~pool.validation), given[stratified_sample(examples.labels[given], CHOOSING, seed=seed)]


def _deal(
    pool: TrainView, learning: Positions, shots: int, draws: int, seed: int
) -> tuple[list[Positions], list[Problem]]:
    """`draws` hands of `shots` positions of each class; or none, and what is lacking."""
    labels, groups = pool.examples.labels[learning], pool.examples.groups
    counts = np.bincount(labels, minlength=len(pool.classes))
    few = [f"{name} ({counts[c]})" for c, name in enumerate(pool.classes) if counts[c] < shots]
    if few:
        problem = Problem(
            f"{len(few)} of {len(pool.classes)} classes have fewer than {shots} labels to draw from, beside the test "
            f"and those that choose the routes: {listed(few)}",
            f"{shots} of each class",
            f"--shots {counts.min()}" if counts.min() else "more examples of these classes",
        )
        return [], [problem]
    rng = np.random.default_rng(seed)
    hands: list[list[int]] = [[] for _ in range(draws)]
    for c in range(len(pool.classes)):
        members, deck = learning[labels == c], np.empty(0, dtype=np.int64)
        for hand in hands:
            dealt, deck = deck[:shots], deck[shots:]
            if len(dealt) < shots:
                deck = _shuffled(members, groups, rng)
                more = deck[~np.isin(deck, dealt)][: shots - len(dealt)]
                dealt, deck = np.concatenate([dealt, more]), deck[~np.isin(deck, more)]
            hand.extend(dealt.tolist())
    return [np.sort(np.array(hand, dtype=np.int64)) for hand in hands], []


def _shuffled(members: Positions, groups: Positions | None, rng: np.random.Generator) -> Positions:
    """`members` in random order: first one of every group, then the second ones, and so on."""
    order = rng.permutation(members)
    if groups is None:
        return order
    seen: dict[int, int] = {}
    turns = []
    for group in groups[order].tolist():
        turns.append(seen.get(group, 0))
        seen[group] = turns[-1] + 1
    return order[np.argsort(turns, kind="stable")]


def _shared(hands: Sequence[Positions], groups: Positions | None) -> float:
    """The mean share of its labels, or of their groups, that a draw has in common with another; 0: none."""
    units = [hand if groups is None else groups[hand] for hand in hands]
    return float(np.mean([np.isin(one, other).mean() for one, other in combinations(units, 2)]))


def _view(pool: TrainView, hand: Positions, choosing: Positions) -> TrainView:
    """What a draw learns from, with the labels that choose as its validation split."""
    rows = np.concatenate([hand, choosing])
    return replace(pool.take(rows), validation=np.arange(len(rows)) >= len(hand))
