"""What moved within one target: between what is learned from, and its given test or its unlabelled examples.

It is a small :mod:`headstart.search.shift` on a sample. Inputs are compared, and predictions; no sealed label is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.domains.labels import bbse, calibrate, mlls, predictions_differ, thinned
from headstart.domains.two_sample import Told, classifier_test
from headstart.features import HandcraftedBody, TfidfBody
from headstart.machine import one_thread
from headstart.predictor import LinearHead
from headstart.score.ridge import solve
from headstart.target.domain import FEWEST
from headstart.target.inputs import Inputs, TextInputs, texts_in
from headstart.target.target import Target

MOST = 200
"""Examples of each part that are compared."""
PERMUTATIONS = 199
LEVEL = 0.01
"""A target may be looked at in several parts, so that one in a hundred is the level of each."""
WORDS = 100
"""Directions of n-grams that texts are compared in."""
WHO = {"test": "The given test", "validation": "The given validation split", "unlabelled": "What has no label"}
CHEAP = {"image": "histograms of oriented gradients", "text": "n-grams of words"}

Features = NDArray[np.float32]
Extract = Callable[[Inputs, Inputs], tuple[Features, Features]]
"""The features of two parts of a target, (N, D) and (M, D)."""


@dataclass(frozen=True)
class Moved:
    """Whether one part of a target is unlike what is learned from.

    Args:
        part: `test`, `validation` or `unlabelled`.
        tested: examples of both that were compared.
        features: by what.
        auc: how well a classifier tells the part from what is learned from, with the ends of its 95 % interval.
        p_value: that there is nothing to tell, by permutation.
        label_p_value: that a model of the training examples predicts both alike; None: too few of some class.
        share: (class, share of what is learned from, by BBSE, by MLLS) whose share moved most; None: P(Y) was not shown
            to move, or that alone does not explain what did.
        moved: whether either is shown.
        sentence: what was found.
    """

    part: str
    tested: tuple[int, int]
    features: str
    auc: tuple[float, float, float]
    p_value: float
    label_p_value: float | None
    share: tuple[str, float, float, float] | None
    moved: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: every field."""
        return asdict(self)


def moved(target: Target, extract: Extract | None = None, features: str = "", *, seed: int = 0) -> list[Moved]:
    """Compare what is learned from with a given test, a given validation split, and unlabelled examples.

    Splits made here are random draws of the same data, so that there is nothing to find; they are not looked at.

    Args:
        target: its sealed labels are not opened.
        extract: features of two parts; None: cheap ones without a network, so that nothing is downloaded.
        features: what these are called.
        seed: of the sample and the permutations.
    """
    view = target.everything
    training = view.training()
    parts: list[tuple[str, Inputs]] = []
    if target.split == "given" and target.shots is None:
        parts.append(("test", target.episodes[0].seal.inputs))
        if view.validation is not None:
            parts.append(("validation", view.examples.take(np.flatnonzero(view.validation)).inputs))
    if view.unlabelled is not None:
        parts.append(("unlabelled", view.unlabelled))
    rng = np.random.default_rng(seed)
    found = []
    for name, inputs in parts:
        if min(len(inputs), len(training)) < FEWEST:
            continue
        mine, theirs = (np.sort(rng.permutation(n)[:MOST]) for n in (len(training), len(inputs)))
        learned = training.examples.take(mine)
        X, Z = (extract or _cheap)(learned.inputs, inputs.take(theirs))
        words = features if extract is not None else CHEAP[target.modality]
        with one_thread():
            found.append(_compared(name, X, learned.labels, Z, target.classes, words, seed))
    return found


def _cheap(learned: Inputs, other: Inputs) -> tuple[Features, Features]:
    """Features without a network; for texts, directions in which the n-grams of both together vary most."""
    if isinstance(learned, TextInputs):
        from sklearn.decomposition import TruncatedSVD

        texts = [part.text(i) for part in (texts_in(learned), texts_in(other)) for i in range(len(part))]
        _, counts = TfidfBody.fitted(["words"], texts)
        width = min(WORDS, min(counts.shape) - 1)
        found = TruncatedSVD(width, random_state=0).fit_transform(counts).astype(np.float32)
        return found[: len(learned)], found[len(learned) :]
    body = HandcraftedBody("hog", 64)
    X, Z = (body.compute(part, np.arange(len(part))).vectors for part in (learned, other))
    return X, Z


def _compared(
    part: str,
    X: Features,
    y: NDArray[np.int64],
    Z: Features,
    classes: tuple[str, ...],
    features: str,
    seed: int,
) -> Moved:
    told = classifier_test(X, Z, permutations=PERMUTATIONS, seed=seed)
    label_p, share = None, None
    if len(np.unique(y)) == len(classes):
        model = solve(X, y, len(classes))
        asked = LinearHead(model.weight, model.bias).logits(Z)
        label_p = predictions_differ(model.left_out, asked)
        if label_p < LEVEL:
            share = _share(X, y, Z, model.left_out, asked, classes, seed)
    unlike, relabelled = told.p_value < LEVEL, label_p is not None and label_p < LEVEL
    words = _sentence(part, told, label_p if relabelled else None, share, unlike=unlike)
    return Moved(
        part,
        (len(X), len(Z)),
        features,
        (told.auc, told.low, told.high),
        told.p_value,
        label_p,
        share,
        unlike or relabelled,
        words,
    )


def _share(
    X: Features,
    y: NDArray[np.int64],
    Z: Features,
    held: Features,
    asked: Features,
    classes: tuple[str, ...],
    seed: int,
) -> tuple[str, float, float, float] | None:
    """The class whose share moved most; None where label shift alone does not explain what moved.

    It would where nothing is left to tell once what is learned from is thinned to the estimated shares.
    """
    old = np.bincount(y, minlength=len(classes)) / len(y)
    by_mlls = mlls(calibrate(held, y)(asked), old)
    rows = thinned(y, by_mlls, seed=seed)
    if len(rows) < FEWEST or classifier_test(X[rows], Z, permutations=PERMUTATIONS, seed=seed).p_value < LEVEL:
        return None
    c = int(np.abs(by_mlls - old).argmax())
    return classes[c], float(old[c]), float(bbse(held, y, asked)[c]), float(by_mlls[c])


def _sentence(
    part: str, told: Told, label_p: float | None, share: tuple[str, float, float, float] | None, *, unlike: bool
) -> str:
    who = WHO[part]
    auc = f"AUC {told.auc:.2f}, 95 % interval {told.low:.2f} to {told.high:.2f}, p = {told.p_value:.2g}"
    if unlike:
        said = f"{who} is unlike what is learned from: a classifier tells them apart ({auc})."
    else:
        said = f"{who} is not shown to be unlike what is learned from ({auc})."
    if label_p is None:
        return said
    said += f" Its classes are predicted otherwise (p = {label_p:.2g})"
    if share is None:
        return said + ", and other shares of the classes do not explain what moved."
    return (
        f"{said}, which other shares of the classes would explain: {share[0]} is about {100 * share[2]:.0f} % (BBSE) "
        f"or {100 * share[3]:.0f} % (MLLS) of it, and {100 * share[1]:.0f} % of what is learned from."
    )
