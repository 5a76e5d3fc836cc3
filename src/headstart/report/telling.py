"""What tells the classes of a text target apart, and which labels may be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.features.tfidf import vectoriser
from headstart.strategy import sparse

MOST_TEXTS = 20_000
"""Words are weighed on this many texts at most."""

SURE = 0.8
"""A model disagrees with a label confidently from this probability on."""


def telling_words(
    texts: Sequence[str], labels: NDArray[np.int64], classes: int, most: int = 8, seed: int = 0
) -> list[list[str]]:
    """For each class the words and pairs of words that speak for it most, by a ridge classifier on tf-idf weights.

    Args:
        texts: N of them.
        labels: (N,) int64.
        classes: number of classes.
        most: words for each class, at most.
        seed: chooses the texts where there are more than `MOST_TEXTS`.
    """
    if len(texts) > MOST_TEXTS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[:MOST_TEXTS])
        texts, labels = [texts[i] for i in chosen], labels[chosen]
    # Pairs may not begin or end in the middle of nothing: a term must occur in several texts to tell anything.
    made = vectoriser("words", min_df=2, max_df=0.5, max_features=30_000)
    try:
        X = made.fit_transform(texts)
    except ValueError:  # no term occurs twice
        return [[] for _ in range(classes)]
    weight = sparse.linear(X, labels, classes, "ridge", 1.0).weight
    # A rare word may have a large weight; what counts is what it adds to the texts of its class.
    terms, found = made.get_feature_names_out(), []
    for label in range(classes):
        rows = X[np.flatnonzero(labels == label)]
        typical = np.asarray(rows.mean(axis=0)).ravel() if rows.shape[0] else np.zeros(X.shape[1])
        score = weight[label] * typical
        order = np.argsort(-score, kind="stable")
        words: list[str] = []
        for at in order[: 4 * most]:
            term = str(terms[at])
            # `not` and `not work` would say the same twice.
            if score[at] > 0 and not any(set(term.split()) & set(other.split()) for other in words):
                words.append(term)
            if len(words) == most:
                break
        found.append(words)
    return found


def suspects(probabilities: NDArray[np.float64], labels: NDArray[np.int64], most: int) -> list[int]:
    """Examples whose label a model that was not trained on them confidently disagrees with, the clearest first.

    A class is predicted confidently where its probability is at least what the examples labelled so get on average
    (confident learning: Northcutt, Jiang and Chuang 2021), and at least `SURE`.

    Args:
        probabilities: (N, C), out of fold.
        labels: (N,) int64, as they were given.
        most: how many.
    """
    n = len(labels)
    if not n:
        return []
    own = probabilities[np.arange(n), labels]
    usual = np.ones(probabilities.shape[1])
    for label in np.unique(labels):
        usual[label] = own[labels == label].mean()
    predicted = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(n), predicted]
    found = np.flatnonzero((predicted != labels) & (sure >= np.maximum(usual[predicted], SURE)))
    order = np.argsort(-(sure - own)[found], kind="stable")
    return [int(i) for i in found[order][:most]]
