"""What moved between two domains: their features from the store, then the tests of `headstart.domains`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart import source as sources
from headstart.domains import labels as label_shift
from headstart.domains.concept import Concept, concept_shift
from headstart.domains.two_sample import (
    PERMUTATIONS,
    Told,
    auc,
    auc_interval,
    classifier_test,
    features_moved,
    in_the_plane,
    mmd,
)
from headstart.domains.weights import discriminator
from headstart.errors import Problem, TargetError
from headstart.features import body_of, extract
from headstart.machine import one_thread
from headstart.predictor import LinearHead
from headstart.score.ridge import solve
from headstart.target.domain import FEWEST, Domain, shared

MOST = 600
"""Examples of each domain that are tested; features are computed for these alone."""
LEVEL = 0.05
EXTREME = 12
Progress = Callable[[str, int, int], None]
Places = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Inputs:
    """Whether P(X) moved. Scores are fractions; see :mod:`headstart.domains.two_sample`.

    Args:
        auc: how well a classifier tells a target example from a source example; 0.5: not at all.
        low: lower end of its 95 % interval.
        high: upper end.
        accuracy: mean share of both domains that it names right.
        p_value: of the classifier two-sample test, by permutation.
        mmd_squared: unbiased, with a Gaussian kernel of median width.
        mmd_p_value: by permutation.
        features: how many features there are.
        features_moved: how many of them moved, at a false discovery rate of 5 %.
        strongest: (feature, difference of means in standard deviations), the largest first.
    """

    auc: float
    low: float
    high: float
    accuracy: float
    p_value: float
    mmd_squared: float
    mmd_p_value: float
    features: int
    features_moved: int
    strongest: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class ClassShift:
    """One class in both domains.

    Args:
        name: of the class.
        source: its share of the source domain.
        target: its true share of the labelled target examples; None: there are none.
        bbse: its estimated share of the target with the ends of the 95 % interval, if nothing but P(Y) moved.
        mlls: likewise, by maximum likelihood.
        auc: how well its own examples' domain can be told, with the ends of the interval; those of the target are the
            labelled ones, or, without labels, those predicted so. None: too few.
    """

    name: str
    source: float
    target: float | None
    bbse: tuple[float, float, float]
    mlls: tuple[float, float, float]
    auc: tuple[float, float, float] | None


@dataclass(frozen=True)
class LabelShift:
    """Whether P(Y) moved.

    Args:
        p_value: that predictions, or labels where the target has them, are distributed alike in both domains.
        known: whether the target's labels were used.
        rest_auc: how well a classifier still tells the domains apart after the source was thinned to the target's
            class shares, with the ends of its interval; None: too few examples are left.
        rest_p_value: that nothing is left to tell: label shift alone would explain what moved.
    """

    p_value: float
    known: bool
    rest_auc: tuple[float, float, float] | None
    rest_p_value: float | None


@dataclass(frozen=True)
class Example:
    """An example that shows what moved: its domain, name, score (high: like the target) and place in the picture."""

    domain: str
    name: str
    at: int
    score: float


@dataclass(frozen=True)
class Shift:
    """What moved between a source domain and a target domain.

    Args:
        source: name of the source domain.
        target: name of the target domain.
        modality: `image` or `text`.
        features: the source whose frozen features were compared.
        examples: examples of the source and of the target domain.
        tested: how many of each were tested.
        labelled: how many of each have a label.
        classes: all classes of both.
        setting: `transductive`, `inductive` or `unsupervised`.
        setting_words: what that means here.
        inputs: whether P(X) moved.
        labels: whether P(Y) moved; None: the source has no labels.
        per_class: each class of the source.
        concept: whether P(Y given X) moved; None: that cannot be claimed without labels of the target.
        shared: examples that stand in both domains, byte for byte.
        moved: what was found, in sentences.
        extremes: the examples that differ most.
        plane: for the source and for the target (n, 2) places in one picture; across: what tells the domains apart.
        seconds: wall seconds.
    """

    source: str
    target: str
    modality: str
    features: str
    examples: tuple[int, int]
    tested: tuple[int, int]
    labelled: tuple[int, int]
    classes: tuple[str, ...]
    setting: str
    setting_words: str
    inputs: Inputs
    labels: LabelShift | None
    per_class: tuple[ClassShift, ...]
    concept: Concept | None
    shared: int
    moved: tuple[str, ...]
    extremes: tuple[Example, ...]
    plane: tuple[Places, Places]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: every field."""
        return asdict(self)


def setting_of(source: Domain, target: Domain) -> tuple[str, str]:
    """Which setting of transfer learning two domains make (Pan & Yang 2010), in a word and in a sentence."""
    if not source.labelled and not target.labelled:
        return "unsupervised", "there are no labels on either side"
    if not source.labelled:
        return "inductive", f"labels are in {target.name} alone; {source.name} can serve as unlabelled data"
    if not target.labelled:
        return "transductive", f"labels are in {source.name} alone: domain adaptation"
    mine, theirs = set(source.classes), set(target.classes)
    if mine == theirs:
        return "inductive", "both domains have labels of the same classes"
    if not mine & theirs:
        return "inductive", "both domains have labels, of different classes: another task"
    return "inductive", f"both domains have labels; {len(mine & theirs)} of {len(mine | theirs)} classes are in both"


def shift(
    source: Domain,
    target: Domain,
    *,
    features: str = "",
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    device: str = "cpu",
    store: Path | None = None,
    progress: Progress | None = None,
) -> Shift:
    """Find out what moved from one domain to another, in the frozen features of one pretrained source.

    Args:
        source: the domain with labels, as a rule.
        target: the other one.
        features: name of a pretrained source; "": the first bundled one.
        permutations: of the two-sample tests.
        seed: of everything random.
        device: `cpu`, or a torch device.
        store: folder of the feature store; None: the user's cache.
        progress: called as `progress(words, done, total)`.

    Raises:
        TargetError: the domains are of different modalities, or one has fewer than 20 examples.
        SourceError: the source is unknown.
    """
    began = time.perf_counter()
    _refuse(source, target)
    name = features or sources.bundled_names(source.modality)[0]
    rng = np.random.default_rng(seed)
    common = shared(source, target)
    chosen = [np.sort(rng.permutation(len(part))[:MOST]) for part in (source, target)]
    A, B = (part.take(rows) for part, rows in zip((source, target), chosen, strict=True))
    found = sources.find(name)
    body = body_of(found, device)

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(f"features {found.card.short}", done, total)

    X, Z = (extract(body, part.inputs, store=store, progress=tell) for part in (A, B))
    if progress is not None:
        progress("tests", 0, 1)
    with one_thread():
        tests = _tests(X, Z, A, B, permutations, seed)
    inputs, labels, concept = tests["inputs"], tests["labels"], tests["concept"]
    setting, words = setting_of(source, target)
    told = tests.pop("told")
    return Shift(
        source=source.name,
        target=target.name,
        modality=source.modality,
        features=name,
        examples=(len(source), len(target)),
        tested=(len(A), len(B)),
        labelled=(source.labelled, target.labelled),
        classes=tuple(sorted({*source.classes, *target.classes})),
        setting=setting,
        setting_words=words,
        **tests,
        shared=common,
        moved=tuple(sentences(inputs, labels, concept, common, target.labelled > 0)),
        extremes=_extremes(source, target, chosen, told),
        plane=_plane(X, Z, told),
        seconds=round(time.perf_counter() - began, 3),
    )


def _tests(
    X: NDArray[np.float32], Z: NDArray[np.float32], A: Domain, B: Domain, permutations: int, seed: int
) -> dict[str, Any]:
    """Everything that is found on the features of both domains, by the name of its field in :class:`Shift`."""
    told = classifier_test(X, Z, permutations=permutations, seed=seed)
    found: dict[str, Any] = {"told": told, "labels": None, "per_class": (), "concept": None}
    found["inputs"] = _inputs(X, Z, told, permutations, seed)
    classes = A.classes
    if len(classes) > 1:
        model, truth = _Model(X, A.codes(classes), Z, len(classes)), B.codes(classes)
        found["per_class"] = _per_class(model, truth, told, classes, seed)
        found["labels"] = _labels(model, X, Z, truth, found["per_class"], permutations, seed)
        found["concept"] = _concept(model, X, Z, truth, told, seed)
    return found


def _plane(X: NDArray[np.float32], Z: NDArray[np.float32], told: Told) -> tuple[Places, Places]:
    source, target = (tuple((float(x), float(y)) for x, y in part) for part in in_the_plane(X, Z, told))
    return source, target


def _refuse(source: Domain, target: Domain) -> None:
    problems = [
        Problem(f"{part.name} has {len(part)} examples", f"at least {FEWEST} to test whether anything moved")
        for part in (source, target)
        if len(part) < FEWEST
    ]
    if source.modality != target.modality:
        problems.append(
            Problem(
                f"{source.name} is {source.modality} and {target.name} is {target.modality}",
                "two domains of one modality, which one network can read",
            )
        )
    if problems:
        raise TargetError(problems)


class _Model:
    """A linear classifier of the source's labelled examples, and what it says of held-out and of target examples."""

    def __init__(self, X: NDArray[np.float32], y: NDArray[np.int64], Z: NDArray[np.float32], classes: int) -> None:
        self.rows = np.flatnonzero(y >= 0)
        self.y = y[self.rows]
        found = solve(X[self.rows], self.y, classes)
        self.held = found.left_out
        self.asked = LinearHead(found.weight, found.bias).logits(Z)
        self.classes = classes
        self.shares = np.bincount(self.y, minlength=classes) / len(self.y)


def _inputs(X: NDArray[np.float32], Z: NDArray[np.float32], told: Told, permutations: int, seed: int) -> Inputs:
    discrepancy = mmd(X, Z, permutations=permutations, seed=seed)
    moved = features_moved(X, Z)
    largest = np.argsort(-np.abs(moved.difference), kind="stable")[:5]
    return Inputs(
        told.auc,
        told.low,
        told.high,
        told.accuracy,
        told.p_value,
        discrepancy.squared,
        discrepancy.p_value,
        X.shape[1],
        int((moved.adjusted < LEVEL).sum()),
        tuple((int(i), float(moved.difference[i])) for i in largest),
    )


def _per_class(
    model: _Model, truth: NDArray[np.int64], told: Told, classes: tuple[str, ...], seed: int
) -> tuple[ClassShift, ...]:
    estimates = label_shift.estimate(model.held, model.y, model.asked, seed=seed)
    known = truth >= 0
    of_target = np.where(known, truth, -1) if known.any() else model.asked.argmax(axis=1)
    rows = []
    for c, name in enumerate(classes):
        mine, theirs = told.source[model.rows[model.y == c]], told.target[of_target == c]
        enough = min(len(mine), len(theirs)) >= 5
        area = (auc(mine, theirs), *auc_interval(mine, theirs)) if enough else None
        by = {k: tuple(float(v[c]) for v in (s.estimate, s.low, s.high)) for k, s in estimates.items()}
        share = float((truth[known] == c).mean()) if known.any() else None
        rows.append(ClassShift(name, float(model.shares[c]), share, by["bbse"], by["mlls"], area))  # type: ignore[arg-type]
    return tuple(rows)


def _labels(
    model: _Model,
    X: NDArray[np.float32],
    Z: NDArray[np.float32],
    truth: NDArray[np.int64],
    per_class: tuple[ClassShift, ...],
    permutations: int,
    seed: int,
) -> LabelShift:
    known = truth >= 0
    if known.any():
        one_hot = np.eye(model.classes)
        p_value = label_shift.predictions_differ(one_hot[model.y], one_hot[truth[known]])
    else:
        p_value = label_shift.predictions_differ(model.held, model.asked)
    wanted = np.array([row.mlls[0] if row.target is None else row.target for row in per_class])
    thinned = label_shift.thinned(model.y, wanted, seed=seed)
    if len(thinned) < FEWEST:
        return LabelShift(p_value, bool(known.any()), None, None)
    rest = classifier_test(X[model.rows[thinned]], Z, permutations=permutations, seed=seed)
    return LabelShift(p_value, bool(known.any()), (rest.auc, rest.low, rest.high), rest.p_value)


def _concept(
    model: _Model, X: NDArray[np.float32], Z: NDArray[np.float32], truth: NDArray[np.int64], told: Told, seed: int
) -> Concept | None:
    known = np.flatnonzero(truth >= 0)
    if len(known) < FEWEST:
        return None
    return concept_shift(
        model.held.argmax(axis=1) == model.y,
        model.y,
        discriminator(X[model.rows], Z, seed=seed),
        model.asked[known].argmax(axis=1) == truth[known],
        truth[known],
        overlap=min(1.0, 2 * (1 - told.accuracy)),
        seed=seed,
    )


def _extremes(source: Domain, target: Domain, chosen: list[NDArray[np.int64]], told: Told) -> tuple[Example, ...]:
    """The target's examples that are least like the source, then the source's that are least like the target."""
    found = []
    for name, part, rows, scores, sign in (
        ("target", target, chosen[1], told.target, -1),
        ("source", source, chosen[0], told.source, 1),
    ):
        order = np.argsort(sign * scores, kind="stable")[:EXTREME]
        found += [Example(name, part.inputs.name(int(rows[i])), int(rows[i]), float(scores[i])) for i in order]
    return tuple(found)


def sentences(
    inputs: Inputs, labels: LabelShift | None, concept: Concept | None, shared: int, target_labels: bool
) -> list[str]:
    """What was found, the most important first."""
    said = []
    auc = f"AUC {inputs.auc:.3f}, 95 % interval {inputs.low:.3f} to {inputs.high:.3f}"
    if inputs.p_value < LEVEL or inputs.mmd_p_value < LEVEL:
        said.append(f"P(X) moved: a classifier tells the domains apart ({auc}; p = {inputs.p_value:.2g}).")
    else:
        said.append(f"P(X) was not shown to move: a classifier hardly tells the domains apart ({auc}).")
    if labels is not None:
        of = "labels" if labels.known else "predictions"
        if labels.p_value < LEVEL:
            said.append(
                f"P(Y) may have moved: {of} are distributed otherwise in the target (p = {labels.p_value:.2g})."
            )
        else:
            said.append(f"P(Y) was not shown to move: {of} are distributed alike (p = {labels.p_value:.2g}).")
        if labels.rest_p_value is not None and labels.p_value < LEVEL:
            if labels.rest_p_value < LEVEL:
                said.append(
                    "Label shift alone does not explain it: thinned to the target's classes, both still differ."
                )
            else:
                said.append("Label shift alone would explain it: thinned to the target's classes, both are alike.")
        if not labels.known and labels.rest_p_value is not None and labels.rest_p_value < LEVEL:
            said.append("So the estimated class shares cannot be trusted: they hold only where nothing but P(Y) moved.")
    if concept is None:
        why = "too few labels in the target" if target_labels else "no labels in the target"
        said.append(f"Whether P(Y given X) moved, concept shift, cannot be claimed: {why}.")
    elif concept.verdict == "cannot be told":
        said.append(
            f"Whether P(Y given X) moved cannot be told: the domains overlap too little (overlap "
            f"{concept.overlap:.2f}; in effect {concept.effective:.0f} source examples are like the target)."
        )
    else:
        gap = max(concept.gaps.values(), key=lambda g: g[0])
        said.append(
            f"Concept shift was {concept.verdict}: the source model gets {100 * concept.observed:.1f} % of the target "
            f"right, {100 * gap[0]:+.1f} points from the nearer explanation without it "
            f"({100 * gap[1]:+.1f} to {100 * gap[2]:+.1f})."
        )
    if shared:
        said.append(f"{shared} examples stand in both domains, byte for byte.")
    return said
