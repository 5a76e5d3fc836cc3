"""Extraction: ten new pictures compute ten, content is what counts, and another space is another thing."""

import numpy as np
import pytest

from headstart.errors import TrialError
from headstart.features import EmptyBody, HandcraftedBody, Tally, extract
from headstart.target.inputs import PathInputs

pytestmark = pytest.mark.fast


def by_hand(paths):
    from PIL import Image

    return np.array([np.asarray(Image.open(p), dtype=np.float32).mean(axis=(0, 1)) for p in paths], dtype=np.float32)


def test_ten_new_pictures_compute_ten(pictures, mean_body, tmp_path):
    body, paths = mean_body(), pictures(25)
    first = extract(body, PathInputs(paths), store=tmp_path / "store")
    assert len(body.computed) == 25
    np.testing.assert_array_equal(first, by_hand(paths))
    more = pictures(10, first=100)
    mixed = paths[:12] + more + paths[12:]
    body, tally = mean_body(), Tally()
    second = extract(body, PathInputs(mixed), store=tmp_path / "store", tally=tally)
    assert body.computed == list(range(12, 22))
    assert (tally.computed, tally.recalled) == (10, 25)
    assert tally.saved > 0
    np.testing.assert_array_equal(second, by_hand(mixed))


def test_what_counts_is_the_content(pictures, mean_body, tmp_path):
    paths = pictures(4)
    extract(mean_body(), PathInputs(paths), store=tmp_path / "store")
    moved = paths[0].rename(tmp_path / "another name.png")
    copy = tmp_path / "copy.png"
    copy.write_bytes(paths[1].read_bytes())
    paths[2].write_bytes(paths[2].read_bytes() + b"x")  # a byte more, the same picture: another content all the same
    body = mean_body()
    vectors = extract(body, PathInputs([moved, copy, paths[2], paths[3], copy]), store=tmp_path / "store")
    assert body.computed == [2]
    np.testing.assert_array_equal(vectors, by_hand([moved, copy, paths[2], paths[3], copy]))


def test_another_space_is_computed_anew(pictures, mean_body, tmp_path):
    inputs = PathInputs(pictures(3))
    extract(mean_body("1"), inputs, store=tmp_path / "store")
    body = mean_body("2")
    extract(body, inputs, store=tmp_path / "store")
    assert len(body.computed) == 3


def test_a_body_without_parts_keeps_nothing(pictures, tmp_path):
    assert extract(EmptyBody(), PathInputs(pictures(3)), store=tmp_path / "store").shape == (3, 0)
    assert not (tmp_path / "store").exists()


def test_an_input_that_became_unreadable_is_named(pictures, tmp_path):
    paths = pictures(3)
    paths[1].write_bytes(b"gone bad\n")
    with pytest.raises(TrialError, match=r"0001\.png: is text"):
        extract(HandcraftedBody("pixels", 8), PathInputs(paths), store=tmp_path / "store")
