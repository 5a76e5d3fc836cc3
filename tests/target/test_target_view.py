"""TrainView and Seal: what a strategy may see, and what it cannot."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from headstart.errors import SealError
from headstart.target.inputs import ArrayInputs
from headstart.target.seal import Seal
from headstart.target.view import Examples, TrainView

pytestmark = pytest.mark.fast


def inputs(n: int) -> ArrayInputs:
    return ArrayInputs(np.arange(n, dtype=np.uint8)[:, None, None] + np.zeros((n, 2, 2), dtype=np.uint8))


def view(labels: np.ndarray, groups: np.ndarray | None = None, validation: np.ndarray | None = None) -> TrainView:
    return TrainView(Examples(inputs(len(labels)), labels, groups), ("a", "b"), "accuracy", None, validation)


@pytest.mark.parametrize("first", [0, 5, 40])
def test_five_seeds_validate_every_example_once(first: int) -> None:
    whole = view(np.arange(43) % 2)
    held = []
    for seed in range(first, first + 5):
        train, test = whole.fold_index(seed)
        assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(43))
        assert len(test) in (8, 9)
        held.append(test)
    assert np.array_equal(np.sort(np.concatenate(held)), np.arange(43))


def test_groups_are_never_divided() -> None:
    groups = np.repeat(np.arange(15), 3)
    whole = view(groups % 2, groups)
    for seed in range(10):
        kept, held = whole.fold(seed)
        assert not set(kept.examples.groups) & set(held.groups)
        assert len(kept) + len(held) == 45


def test_a_fold_keeps_inputs_and_labels_together() -> None:
    whole = view(np.arange(20) % 2)
    train, held = whole.fold(2)
    for part in (train.examples, held):
        for i in range(len(part)):
            brightness = part.inputs.image(i).getpixel((0, 0))[0]
            assert part.inputs.name(i) == f"array[{brightness}]"
            assert part.labels[i] == brightness % 2


def test_a_given_validation_split_is_used_for_every_seed() -> None:
    mask = np.arange(20) >= 14
    whole = view(np.arange(20) % 2, None, mask)
    for seed in (0, 3, 11):
        train, held = whole.fold_index(seed)
        assert train.tolist() == list(range(14))
        assert held.tolist() == list(range(14, 20))
    assert len(whole.training()) == 14
    assert whole.training().validation is None


def test_few_examples_have_fewer_folds_and_none_is_empty() -> None:
    whole = view(np.array([0, 1, 0]))
    held = [whole.fold_index(seed)[1] for seed in range(5)]
    assert all(len(part) == 1 for part in held)
    assert set(np.concatenate(held)) == {0, 1, 2}


def test_sample_is_stratified() -> None:
    whole = view(np.repeat([0, 1], [30, 10]))
    assert np.bincount(whole.sample(8, seed=1).examples.labels).tolist() == [6, 2]
    assert whole.sample(99, seed=1) is whole


def test_a_seal_opens_once_for_each_finalist_and_on_the_record() -> None:
    seal = Seal(inputs(3), np.array([1, 0, 1]))
    written: list[tuple[str, list[int]]] = []

    def record(finalist: str, labels: np.ndarray) -> None:
        written.append((finalist, labels.tolist()))

    assert seal.open("probe", record).tolist() == [1, 0, 1]
    with pytest.raises(SealError, match="already opened for probe"):
        seal.open("probe", record)
    seal.open("scratch", record)
    assert written == [("probe", [1, 0, 1]), ("scratch", [1, 0, 1])]
    assert seal.opened == ["probe", "scratch"]


def test_an_opening_that_cannot_be_recorded_does_not_happen() -> None:
    seal = Seal(inputs(1), np.array([0]))

    def full_disk(finalist: str, labels: np.ndarray) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        seal.open("probe", full_disk)
    assert seal.opened == []


def test_a_seal_keeps_its_labels_from_copies_and_changes() -> None:
    labels = np.array([0, 1])
    seal = Seal(inputs(2), labels)
    labels[:] = 9
    seal.open("first", lambda finalist, revealed: revealed.fill(7))
    assert seal.open("second", lambda finalist, revealed: None).tolist() == [0, 1]
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SealError):
            leave(seal)
    assert not any(isinstance(value, np.ndarray) for value in vars(seal).values())
    with pytest.raises(ValueError, match="2 test inputs but 1 labels"):
        Seal(inputs(2), np.array([0]))


def test_a_part_of_a_seal() -> None:
    part = Seal(inputs(4), np.array([0, 1, 1, 0])).take(np.array([1, 3]))
    assert part.open("probe", lambda finalist, labels: None).tolist() == [1, 0]
    assert part.inputs.name(1) == "array[3]"
