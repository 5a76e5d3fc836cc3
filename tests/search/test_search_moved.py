"""What moved within a target: between what is learned from and a given test, and the unlabelled examples."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.search.moved import moved
from headstart.target import load_target
from headstart.target.target import Target
from headstart.testing import null

pytestmark = pytest.mark.fast


def texts(seed: int, count: int, share: float, odd: str = "") -> list[tuple[str, str]]:
    """Sentences of two classes that their words tell apart; `share` of them are of class a."""
    rng = np.random.default_rng(seed)
    common = [f"word{i}" for i in range(30)]
    found = []
    for _ in range(count):
        label = "a" if rng.random() < share else "b"
        words = [*rng.choice(common, 6), *([f"only{label}"] * 2), *([odd] if odd else [])]
        found.append((" ".join(rng.permutation(words)) + f" {rng.integers(10**9)}", label))
    return found


def target(tmp_path, train: list[tuple[str, str]], test: list[tuple[str, str]]) -> Target:
    for part, rows in (("train", train), ("test", test)):
        for i, (text, label) in enumerate(rows):
            path = tmp_path / part / label / f"{i:04}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return load_target(tmp_path)


def test_a_test_of_the_same_texts_is_not_said_to_have_moved(tmp_path) -> None:
    (found,) = moved(target(tmp_path, texts(0, 150, 0.5), texts(1, 150, 0.5)))
    assert (found.part, found.moved, found.tested) == ("test", False, (150, 150))
    assert "not shown to be unlike" in found.sentence


def test_another_vocabulary_in_the_test_is_said(tmp_path) -> None:
    (found,) = moved(target(tmp_path, texts(0, 100, 0.5), texts(1, 100, 0.5, odd="elsewhere")))
    assert found.auc[1] > 0.9
    assert found.sentence.startswith("The given test is unlike what is learned from")


def test_other_shares_of_the_classes_are_told_without_the_sealed_labels(tmp_path) -> None:
    made = target(tmp_path, texts(0, 160, 0.5), texts(1, 160, 0.85))
    (found,) = moved(made)
    assert found.label_p_value is not None
    assert found.label_p_value < 1e-4
    assert found.share is not None
    name, _, bbse, mlls = found.share
    true = 0.85 if name == "a" else 0.15
    assert bbse == pytest.approx(true, abs=0.1)
    assert mlls == pytest.approx(true, abs=0.1)
    assert made.episodes[0].seal.opened == []


def test_a_split_made_here_has_nothing_to_find() -> None:
    planted = null(130, 0)
    assert moved(load_target((planted.pictures, list(planted.labels)))) == []
