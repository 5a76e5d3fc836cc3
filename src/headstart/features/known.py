"""What a network was pretrained to tell apart: its own classifier, kept in the store, on its pooled features."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart.source import NamingSource, Source
from headstart.source.card import Classifier
from headstart.store import Store
from headstart.target.describe import in_words


def known_classes(source: NamingSource, store: Path | None = None) -> Classifier:
    """Names, weight and bias of the classes that a source knows; from the store once they were read.

    Loading the network takes seconds, and everything else that a warm run needs is in the store.

    Args:
        source: whose card says what it knows.
        store: folder of the feature store; None: the user's cache.
    """
    space = {"classifier": source.card.known, "revision": source.revision()}
    shelf = Store(space, (source.card.features + 1,), kind="classifiers", folder=store)
    names = source.names()
    keys = [hashlib.sha256(f"{k} {name}".encode()).hexdigest() for k, name in enumerate(names)]
    rows, found, _ = shelf.get(keys)
    if not found.all():
        began = time.perf_counter()
        known = source.classifier()
        rows = np.concatenate([known.weight, known.bias[:, None]], axis=1)
        shelf.put(keys, rows, (time.perf_counter() - began) / len(keys))
    return Classifier(names, np.ascontiguousarray(rows[:, :-1]), rows[:, -1].copy())


def own_classes(source: Source, classes: Sequence[str], store: Path | None = None) -> Classifier | None:
    """A source's own classifier for these classes, in their order; None where it does not know each by its name.

    Args:
        source: it may know classes.
        classes: their names; case and marks between words do not matter.
        store: folder of the feature store; None: the user's cache.
    """
    if not isinstance(source, NamingSource) or not source.card.known:
        return None
    names = [in_words(name).casefold() for name in source.names()]
    wanted = [in_words(name).casefold() for name in classes]
    if any(names.count(name) != 1 for name in wanted):
        return None
    known, rows = known_classes(source, store), [names.index(name) for name in wanted]
    return Classifier(tuple(classes), known.weight[rows], known.bias[rows])


def probabilities(source: Source, X: NDArray[np.float32], store: Path | None = None) -> NDArray[np.float32] | None:
    """Of the K classes that a source knows: pooled features (N, D) to (N, K), rows that sum to 1; None: it knows none.

    Args:
        source: whose features they are.
        X: (N, D) float32.
        store: folder of the feature store; None: the user's cache.
    """
    if not isinstance(source, NamingSource) or not source.card.known:
        return None
    known = known_classes(source, store)
    logits = X @ known.weight.T + known.bias
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    return np.asarray(logits / logits.sum(axis=1, keepdims=True), dtype=np.float32)
