"""Source domains with labels and a target domain as one Target: what may be learned from, and what is sealed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headstart.errors import OptionError, Problem, TargetError
from headstart.target.assemble import IMBALANCED
from headstart.target.domain import FEWEST, Domain, joined_domains, shared
from headstart.target.hygiene import Hygiene
from headstart.target.raw import listed
from headstart.target.seal import Seal
from headstart.target.target import Episode, Target
from headstart.target.view import Examples, TrainView

EPISODE = "target"
ALL: Literal["all"] = "all"
Few = int | Literal["all"] | None
"""How many labels of each class of the target are learned from: K, `all`, or None, which seals all of them."""


@dataclass(frozen=True)
class Adaptation:
    """Source domains and a target domain, ready to be adapted.

    Args:
        target: both sides as one: source labels to learn from, target inputs unlabelled, target labels sealed but for
            those that were given to learn from.
        sources: the source domains, in the order of `Examples.origin`.
        learned: target labels to learn from.
        sealed: target labels to judge by; 0: the seal holds inputs alone.
        intermediate: domains between, of which no label is used.
    """

    target: Target
    sources: tuple[Domain, ...]
    learned: int
    sealed: int
    intermediate: tuple[Domain, ...] = ()

    @property
    def episode(self) -> Episode:
        """The one there is."""
        return self.target.episodes[0]

    @staticmethod
    def words(learned: int, sealed: int) -> str:
        """How the target's labels are used."""
        some = f"{learned:,} learned from" if learned else ""
        rest = f"{sealed:,} sealed, for the test alone" if sealed else ""
        return ", ".join(part for part in (some, rest) if part) or "there are none"


def parse_few(text: str) -> Few:
    """`--target-labels` as it is typed: a number, or `all`.

    Raises:
        OptionError: it is neither.
    """
    if text == ALL:
        return ALL
    if not text.isdecimal() or int(text) < 1:
        raise OptionError(
            Problem(f"{text!r} target labels", "how many of each class, or all", "--target-labels 4, or all")
        )
    return int(text)


def as_adaptation(
    sources: Sequence[Domain], target: Domain, few: Few = None, *, intermediate: Sequence[Domain] = (), seed: int = 0
) -> Adaptation:
    """Source domains, a target domain, and what lies between, as one target.

    Args:
        sources: the domains with labels; classes are those of all of them together.
        target: the other one.
        few: how many of the target's labels of each class are learned from; the rest is sealed.
        intermediate: domains between source and target, the one nearest to the source first. Their labels are not used.
        seed: of which they are.

    Raises:
        TargetError: a source has too few labels, the domains do not fit, or the target has too few labels to give.
    """
    classes = tuple(sorted({name for part in sources for name in part.classes}))
    truth = target.codes(classes)
    problems = [*_unfit(sources, intermediate, target, classes), *_too_few(truth, classes, few, target.name)]
    if problems:
        raise TargetError(problems)
    whole = joined_domains(sources) if len(sources) > 1 else sources[0]
    codes = whole.codes(classes)
    rows = np.flatnonzero(codes >= 0)
    origin = np.repeat(np.arange(len(sources)), [len(part) for part in sources])[rows] if len(sources) > 1 else None
    counts = np.bincount(codes[rows], minlength=len(classes))
    metric = "balanced_accuracy" if counts.max() / counts.min() >= IMBALANCED else "accuracy"
    given = _given(truth, few, seed)
    view = TrainView(
        Examples(whole.inputs.take(rows), codes[rows], origin=origin),
        classes,
        metric,
        unlabelled=target.inputs,
        few=Examples(target.inputs.take(given), truth[given]) if len(given) else None,
        intermediate=tuple(part.inputs for part in intermediate),
    )
    rest = np.setdiff1d(np.arange(len(target)), given)
    known = rest[truth[rest] >= 0]
    sealed = len(known) >= FEWEST and len(np.unique(truth[known])) > 1
    tested = known if sealed else np.arange(len(target))  # predicted all the same: validators look at them
    seal = Seal(target.inputs.take(tested), truth[tested])
    strangers = target.labelled - int((truth >= 0).sum())
    hygiene = Hygiene(
        unreadable=tuple(one for part in (whole, *intermediate, target) for one in part.unreadable),
        ignored=(),
        unlabelled=(),
        exact_duplicates=(),
        near_duplicates=(),
        across_splits=(),
        duplicates_were="reported",
        conflicting=(),
        counts={
            name: {
                "train": int(counts[c]),
                "validation": 0,
                "test": int((truth[tested] == c).sum()) if sealed else 0,
            }
            for c, name in enumerate(classes)
        },
        imbalance=float(counts.max() / counts.min()),
        warnings=tuple(_said(whole, intermediate, target, len(given), strangers, sealed)),
    )
    name = f"{whole.name} to {target.name}"
    episode = Episode(EPISODE, view, seal)
    made = Target(name, whole.modality, classes, metric, "given", (episode,), view, hygiene)
    return Adaptation(made, tuple(sources), len(given), len(tested) if sealed else 0, tuple(intermediate))


def without(view: TrainView, dropped: Sequence[int]) -> TrainView:
    """The view without the examples of some source domains."""
    origin = view.examples.origin
    if origin is None or not dropped:
        return view
    kept = view.take(np.flatnonzero(~np.isin(origin, dropped)))
    left = np.setdiff1d(np.unique(origin), dropped)
    kept_origin = kept.examples.origin
    assert kept_origin is not None
    renamed = np.searchsorted(left, kept_origin) if len(left) > 1 else None
    return replace(kept, examples=replace(kept.examples, origin=renamed))


def _unfit(
    sources: Sequence[Domain], intermediate: Sequence[Domain], target: Domain, classes: tuple[str, ...]
) -> list[Problem]:
    problems = [
        Problem(f"{part.name} is {part.modality}, {target.name} is {target.modality}", "one modality")
        for part in (*sources, *intermediate)
        if part.modality != target.modality
    ]
    for part in sources:
        codes = part.codes(classes)
        counts = np.bincount(codes[codes >= 0], minlength=len(classes))
        present = counts[counts > 0]
        if len(present) < 2 or present.min() < 2:
            problems.append(
                Problem(f"{part.name} has labels of {len(present)} classes", "two examples of two classes at least")
            )
    problems += [
        Problem(f"{part.name} has {len(part)} examples", f"at least {FEWEST} to adapt to")
        for part in (*intermediate, target)
        if len(part) < FEWEST
    ]
    names = [part.name for part in (*sources, *intermediate)]
    problems += [
        Problem(f"two domains called {name}", "names that tell them apart", "rename a folder or a file")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    return problems


def _too_few(truth: NDArray[np.int64], classes: tuple[str, ...], few: Few, name: str) -> list[Problem]:
    """What is lacking to give so many labels of the target."""
    if few is None:
        return []
    counts = np.bincount(truth[truth >= 0], minlength=len(classes))
    present = counts[counts > 0]
    if len(present) < 2:
        return [Problem(f"{name} has labels of {len(present)} classes", "of two at least, to learn from them")]
    if few == ALL or present.min() >= few:
        return []
    short = [f"{called} ({counts[c]})" for c, called in enumerate(classes) if 0 < counts[c] < few]
    return [
        Problem(
            f"{name} has fewer than {few} labels of {len(short)} of its {len(present)} classes: {listed(short)}",
            f"{few} of each class that it has labels of",
            f"--target-labels {present.min()}, or --target-labels all",
        )
    ]


def _given(truth: NDArray[np.int64], few: Few, seed: int) -> NDArray[np.int64]:
    """Positions of the target's labels to learn from; of each class K by lot, those of a smaller K among them."""
    if few is None:
        return np.empty(0, dtype=np.int64)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(truth >= 0))
    if few == ALL:
        return np.sort(order)
    return np.sort(np.concatenate([order[truth[order] == c][:few] for c in np.unique(truth[order])]))


def _said(
    source: Domain, intermediate: Sequence[Domain], target: Domain, learned: int, strangers: int, sealed: bool
) -> list[str]:
    said = [
        f"{part.name} has labels, which were not used: name it before {target.name} as a source domain to use them."
        for part in intermediate
        if part.labelled
    ]
    if learned:
        said.append(f"{learned} labels of the target were given to learn from: this is not adaptation without labels.")
    if strangers:
        said.append(
            f"{strangers} target examples are of classes that {source.name} lacks: every route is wrong on them."
        )
    if common := shared(source, target):
        said.append(f"{common} examples stand in both domains: the test is too easy by as many.")
    said.append("Validation scores are on held-out source examples: they chose nothing.")
    said.append("Probabilities are calibrated on the source: of the target they are usually too sure.")
    if sealed:
        said.append("The sealed target examples are those that were adapted to, without their labels.")
    return said
