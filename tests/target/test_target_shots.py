"""Few-shot draws: K labels of each class, a part of the test each, and nothing on two sides."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from headstart.errors import OptionError
from headstart.target import Episode, Seal, StringInputs, Target, drawn
from headstart.target.assemble import CROSS_FITTED
from headstart.target.view import Examples, TrainView
from headstart.testing import positive

pytestmark = pytest.mark.fast

CLASSES = ("ant", "bee", "wasp")


def make(train, test=(20, 20, 20), groups=None, validation=None):
    """A target of texts that are numbers, so that each can be told from all others; `groups` of train and test."""
    labels, truth = np.repeat(np.arange(3), train), np.repeat(np.arange(3), test)
    group, theirs = groups or (None, None)
    view = TrainView(
        Examples(StringInputs([str(i) for i in range(len(labels))]), labels, group),
        CLASSES,
        "accuracy",
        validation=validation,
    )
    seal = Seal(StringInputs([str(1000 + i) for i in range(len(truth))]), truth, theirs)
    hygiene = positive(8, 8).target().hygiene
    return Target("numbers", "text", CLASSES, "accuracy", "given", (Episode("test", view, seal),), view, hygiene)


def numbers(inputs):
    return np.array([int(inputs.text(i)) for i in range(len(inputs))])


def learned(target):
    return [numbers(e.view.training().examples.inputs) for e in target.episodes]


def chosen_by(target):
    return [numbers(e.view.fold(seed)[1].inputs) for seed, e in enumerate(target.episodes)]


@pytest.mark.parametrize("shots", [1, 4])
def test_a_draw_has_k_labels_of_each_class_and_shares_nothing(shots):
    whole = make((60, 50, 90))
    found = drawn(whole, shots, seed=3)
    hands, truth = learned(found), np.repeat(np.arange(3), (60, 50, 90))
    assert len(hands) == found.shots.draws == 10
    for hand, episode in zip(hands, found.episodes, strict=True):
        assert np.bincount(truth[hand]).tolist() == [shots] * 3
        assert np.array_equal(episode.view.training().examples.labels, truth[hand])
    assert found.shots.shared == 0
    assert len(np.unique(np.concatenate(hands))) == 10 * 3 * shots
    # The labels that choose are the same for all draws, and no draw's.
    choosing = chosen_by(found)
    assert all(np.array_equal(choosing[0], other) for other in choosing)
    assert len(choosing[0]) == found.shots.choosing == 40
    assert not np.intersect1d(choosing[0], np.concatenate(hands)).size
    # The parts of the test are all of it, each with every class.
    parts = [numbers(e.seal.inputs) for e in found.episodes]
    assert np.array_equal(np.sort(np.concatenate(parts)), 1000 + np.arange(60))
    for episode, part in zip(found.episodes, parts, strict=True):
        assert np.array_equal(episode.seal.open("x", lambda *_: None), np.repeat(np.arange(3), 20)[part - 1000])
        assert np.bincount(np.repeat(np.arange(3), 20)[part - 1000]).tolist() == [2, 2, 2]
    assert (found.n_train, found.n_test, found.n_examples) == (200, 60, 260)
    assert found.shots.said() == []


def test_the_seed_decides_and_so_does_what_a_run_is_known_by():
    whole = make((60, 50, 90))
    one, same, other = (drawn(whole, 2, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(learned(one), learned(same), strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(learned(one), learned(other), strict=True))
    digests = {t.digest() for t in (whole, one, other, drawn(whole, 3), drawn(whole, 2, 9))}
    assert len(digests) == 5
    assert one.digest() == same.digest()


def test_labels_are_dealt_again_when_all_have_been_and_that_is_said():
    found = drawn(make((60, 60, 10)), 3)
    hands = learned(found)
    rare = [hand[hand >= 120] for hand in hands]
    assert all(len(np.unique(hand)) == 3 for hand in rare)
    assert [len(np.unique(hand)) for hand in hands] == [9] * 10
    times = np.unique(np.concatenate(rare), return_counts=True)[1]
    assert times.max() - times.min() <= 1  # 30 cards from a deck of 8
    pairs = [len(np.intersect1d(a, b)) / 9 for a, b in combinations(hands, 2)]
    assert found.shots.shared == pytest.approx(np.mean(pairs))
    assert f"{100 * np.mean(pairs):.2g} %" in found.shots.said()[0]


def test_groups_stay_on_one_side_and_a_draw_holds_as_many_as_it_can():
    group = np.arange(200) // 4
    found = drawn(make((80, 40, 80), (40, 40, 40), (group, np.arange(120) // 3)), 4, 8)
    hands, choosing = learned(found), chosen_by(found)[0]
    assert not np.intersect1d(group[np.concatenate(hands)], group[choosing]).size
    assert all(len(np.unique(group[hand])) == 12 for hand in hands)
    parts = [(numbers(e.seal.inputs) - 1000) // 3 for e in found.episodes]
    assert not any(np.intersect1d(a, b).size for a, b in combinations(parts, 2))
    # Ten bees in groups of four are three groups: two draws with bees of one group do not stand alone.
    assert found.shots.shared > 0
    assert len(np.unique(np.concatenate(hands))) == 8 * 12


def test_a_given_validation_split_chooses_and_is_not_drawn_from():
    validation = np.arange(180) % 3 == 0
    found = drawn(make((60, 60, 60), validation=validation), 4)
    assert not validation[np.concatenate(learned(found))].any()
    assert validation[chosen_by(found)[0]].all()
    assert found.shots.choosing == 60


def test_fewer_draws_where_the_test_is_small_and_that_is_said():
    found = drawn(make((60, 60, 60), (20, 6, 20)), 1)
    assert (found.shots.draws, found.shots.asked, len(found.episodes)) == (6, 10, 6)
    assert "6 draws instead of 10" in found.shots.said()[0]


def test_a_target_without_a_test_has_half_of_it_sealed():
    whole = positive(40, 0).target()
    assert whole.split == "cross-fit"
    assert CROSS_FITTED in whole.hygiene.warnings
    found = drawn(whole, 1)
    assert (found.split, found.n_train, found.n_test, found.shots.draws) == ("made", 20, 20, 10)
    assert CROSS_FITTED not in found.hygiene.warnings
    assert found.hygiene.counts == {name: {"train": 10, "validation": 0, "test": 10} for name in ("minus", "plus")}


def test_everything_lacking_is_said_at_once():
    with pytest.raises(OptionError) as told:
        drawn(make((60, 9, 60), (20, 1, 20)), 8)
    said = str(told.value)
    assert "1 of 3 classes have fewer than 8 labels to draw from" in said
    assert "bee (7)" in said
    assert "--shots 7" in said
    assert "the sealed test cannot be divided" in said
    with pytest.raises(OptionError, match="2 problems"):
        drawn(make((60, 60, 60)), 0, 1)
    with pytest.raises(OptionError, match="all draws would be the same"):
        drawn(make((10, 10, 10)), 8)
    with pytest.raises(OptionError, match="drawn already"):
        drawn(drawn(make((60, 60, 60)), 1), 1)
