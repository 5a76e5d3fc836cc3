"""Splits: every example once, classes in proportion, groups whole, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.target.split import folds, holdout, stratified_sample

pytestmark = pytest.mark.fast

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(np.array)
SEEDS = st.integers(0, 2**31)


@settings(max_examples=80, deadline=None)
@given(LABELS, st.integers(2, 7), SEEDS)
def test_folds_cover_every_example_once_and_are_level(labels: np.ndarray, k: int, seed: int) -> None:
    parts = folds(labels, k, seed=seed)
    assert len(parts) == k
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert np.ptp([len(part) for part in parts]) <= 1
    for label in np.unique(labels):
        assert np.ptp([np.sum(labels[part] == label) for part in parts]) <= 1
    again = folds(labels, k, seed=seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80), st.integers(2, 6), SEEDS)
def test_grouped_folds_and_holdouts_never_divide_a_group(pairs: list[tuple[int, int]], k: int, seed: int) -> None:
    labels, groups = np.array(pairs).T
    parts = folds(labels, k, seed=seed, groups=groups)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    for i, part in enumerate(parts):
        for other in parts[i + 1 :]:
            assert not set(groups[part]) & set(groups[other])
    kept, held = holdout(labels, 0.3, seed=seed, groups=groups)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    assert not set(groups[kept]) & set(groups[held])


def test_grouped_folds_are_balanced() -> None:
    # 40 patients with 5 pictures each, half of them ill: 8 patients in every part, 4 of them ill.
    groups = np.repeat(np.arange(40), 5)
    labels = groups % 2
    for part in folds(labels, 5, seed=3, groups=groups):
        assert np.bincount(labels[part]).tolist() == [20, 20]


def test_groups_of_one_are_no_groups() -> None:
    labels = np.arange(30) % 3
    for part in folds(labels, 5, seed=0, groups=np.arange(30)[::-1]):
        assert np.bincount(labels[part]).tolist() == [2, 2, 2]


def test_seeds_give_different_folds() -> None:
    labels = np.arange(100) % 2
    first, second = folds(labels, 5, seed=0), folds(labels, 5, seed=1)
    assert not any(np.array_equal(a, b) for a in first for b in second)


def test_folds_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        folds([0, 1], 1, seed=0)
    with pytest.raises(ValueError, match="3 labels but 2 groups"):
        folds([0, 1, 0], 2, seed=0, groups=[0, 1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        holdout([0, 1], 1.0, seed=0)


@settings(max_examples=80, deadline=None)
@given(LABELS, st.integers(0, 90), SEEDS)
def test_samples_have_every_class_and_the_right_size(labels: np.ndarray, size: int, seed: int) -> None:
    chosen = stratified_sample(labels, size, seed=seed)
    assert len(chosen) == len(np.unique(chosen)) == min(size, len(labels))
    if size >= len(np.unique(labels)):
        assert set(labels[chosen]) == set(labels)
    larger = stratified_sample(labels, size + 5, seed=seed)
    assert set(chosen) <= set(larger)


def test_samples_are_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    assert np.bincount(labels[stratified_sample(labels, 100, seed=4)]) == pytest.approx([60, 30, 10], abs=1)


@settings(max_examples=80, deadline=None)
@given(LABELS, st.floats(0.05, 0.95), SEEDS)
def test_holdouts_divide_and_leave_something_of_every_class(labels: np.ndarray, fraction: float, seed: int) -> None:
    kept, held = holdout(labels, fraction, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        here = int(np.sum(labels[held] == label))
        assert abs(here - fraction * count) <= 1
        if count > 1:
            assert 1 <= here <= count - 1
        else:
            assert here == 0


def test_a_holdout_has_its_fraction() -> None:
    labels = np.repeat([0, 1, 2], [400, 100, 20])
    kept, held = holdout(labels, 0.25, seed=0)
    assert np.bincount(labels[held]).tolist() == [100, 25, 5]
    assert len(kept) == 390
    # Six of each class: 1.5 each, so that half of the classes give one and half give two.
    many = np.repeat(np.arange(100), 6)
    assert len(holdout(many, 0.25, seed=0)[1]) == 150
