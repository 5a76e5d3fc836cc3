"""From pictures to inputs: as torchvision does, whatever the shape, in order, and why something cannot be read."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from headstart import profile
from headstart.features.preprocess import decoded, normalise, to_pixels
from headstart.source.card import Preprocessing
from headstart.target.image import open_image
from headstart.target.inputs import ArrayInputs, ImageInputs

pytestmark = pytest.mark.fast

MODES = {"bicubic": InterpolationMode.BICUBIC, "bilinear": InterpolationMode.BILINEAR}


def picture(width, height, seed=0):
    """Structure at every scale, as photos have."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for scale in (3, 7, 20):
        coarse = Image.fromarray(rng.integers(0, 256, (scale, scale, 3), dtype=np.uint8))
        total += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray((total / 3).astype(np.uint8))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (257, 256), (256, 256), (97, 331), (64, 48), (1023, 700)])
@pytest.mark.parametrize(("side", "crop"), [(224, 0.875), (240, 0.882), (260, 0.890), (160, 0.95)])
def test_it_is_torchvision_s_resize_and_center_crop(size, side, crop, interpolation):
    """Within 3 grey values of 255 anywhere and 0.15 in the mean: cutting before resampling rounds differently."""
    image = picture(*size)
    how = Preprocessing(size=side, crop=crop, interpolation=interpolation)
    ours = to_pixels(image, how).astype(float)
    resized = tv.resize(image, int(side / crop), MODES[interpolation], antialias=True)
    theirs = np.asarray(tv.center_crop(resized, [side, side])).astype(float)
    assert ours.shape == (side, side, 3)
    difference = np.abs(ours - theirs)
    assert difference.mean() < 0.15
    assert difference.max() <= 3
    # The tolerance would notice a crop that is one pixel off.
    shifted = np.abs(ours[1:] - theirs[:-1]).mean()
    assert shifted > 5 * difference.mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 4000), (2, 2)])
def test_extreme_shapes(size):
    image = Image.new("RGB", size, (10, 200, 30))
    pixels = to_pixels(image, Preprocessing(size=32))
    assert pixels.shape == (32, 32, 3)
    assert (pixels == (10, 200, 30)).all()


def test_a_long_strip_shows_its_middle():
    strip = np.zeros((4, 4000, 3), dtype=np.uint8)
    strip[:, 1900:2100] = 255
    assert (to_pixels(Image.fromarray(strip), Preprocessing(size=32)) == 255).all()


def test_squash_keeps_everything():
    wide = np.zeros((10, 100, 3), dtype=np.uint8)
    wide[:, :50] = 200
    pixels = to_pixels(Image.fromarray(wide), Preprocessing(size=20, squash=True, interpolation="bilinear"))
    assert (pixels[:, :9] == 200).all()
    assert (pixels[:, 11:] == 0).all()


@pytest.mark.parametrize("squash", [False, True])
def test_a_photo_decoded_smaller_gives_the_same_pixels(squash):
    """Sides of which an eighth is no whole number; one pixel of difference in size would show."""
    detail = np.random.default_rng(5).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    photo = Image.fromarray(detail).resize((1003, 753), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=98)
    how = Preprocessing(size=40, squash=squash)
    whole, smaller = open_image(stream), open_image(stream, at_least=90)
    assert smaller.size == (126, 95)
    difference = np.abs(to_pixels(whole, how).astype(int) - to_pixels(smaller, how))
    assert difference.mean() < 0.5
    assert difference.max() <= 8
    shifted = np.abs(to_pixels(whole, how).astype(int) - to_pixels(smaller.copy(), how))
    assert shifted.mean() > 2 * difference.mean()  # the copy counts as whole


def test_normalise_by_hand():
    pixels = np.array([[[[0, 51, 255]]]], dtype=np.uint8)
    how = Preprocessing(size=1, mean=(0.5, 0.2, 0.1), std=(0.5, 0.25, 0.3))
    batch = normalise(pixels, how)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    np.testing.assert_allclose(batch[0, :, 0, 0], [-1.0, 0.0, 3.0], atol=1e-6)


class Shelf(ImageInputs):
    """Grey pictures whose brightness is their position; some cannot be read; counts how far ahead it was asked."""

    def __init__(self, count, bad=()):
        self.count, self.bad, self.asked = count, set(bad), 0

    def __len__(self):
        return self.count

    def name(self, i):
        return f"{i}"

    def content(self, i):
        return bytes([i])

    def image(self, i):
        from headstart.target.image import UnreadableImage

        self.asked += 1
        if i in self.bad:
            raise UnreadableImage(f"is bad number {i}")
        import time

        time.sleep(0.002 * (i % 3))  # later ones may be ready first
        return Image.new("RGB", (8, 8), (i, i, i))

    def take(self, index):
        raise NotImplementedError


@pytest.mark.parametrize("threads", [1, 4])
def test_order_is_kept_and_reasons_are_given(threads):
    index = np.array([5, 3, 9, 9, 0, 40, 7, 3])
    found = list(decoded(Shelf(50, bad=[9, 7]), Preprocessing(size=4), index, threads=threads, ahead=3))
    assert [i for i, _ in found] == index.tolist()
    for i, pixels in found:
        if i in (9, 7):
            assert pixels == f"is bad number {i}"
        else:
            assert (pixels == i).all()


def test_it_reads_no_further_ahead_than_allowed():
    shelf = Shelf(200)
    stream = decoded(shelf, Preprocessing(size=4), np.arange(200), threads=2, ahead=5)
    for _ in range(10):
        next(stream)
    stream.close()
    assert 10 <= shelf.asked <= 15


def test_a_profile_counts_what_the_decoding_threads_did():
    with profile.opened() as spent:
        assert len(list(decoded(Shelf(20), Preprocessing(size=4), np.arange(20), threads=2))) == 20
    assert spent.threads["decode"] > 0
    assert spent.counts["decode"] == 20
    assert "decode" not in spent.seconds, "this thread only took what was decoded"


def test_other_errors_are_not_swallowed():
    class Broken(Shelf):
        def image(self, i):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decoded(Broken(3), Preprocessing(size=4), np.arange(3)))


def test_unreadable_rows_are_nan_and_the_others_are_theirs():
    from headstart.features import HandcraftedBody

    shelf = Shelf(70, bad=[0, 33, 69])
    forward = HandcraftedBody("pixels", 4).compute(shelf, np.arange(70))
    assert sorted(forward.unreadable) == [0, 33, 69]
    assert np.isnan(forward.vectors[[0, 33, 69]]).all()
    good = np.setdiff1d(np.arange(70), [0, 33, 69])
    np.testing.assert_allclose(forward.vectors[good], np.repeat(good[:, None] / 255, 48, axis=1), atol=1e-6)


def test_hog_sees_shape_and_its_histogram_sees_colour():
    from headstart.features import HandcraftedBody

    body = HandcraftedBody("hog", 32)
    red, blue = (np.full((32, 32, 3), colour, dtype=np.uint8) for colour in ((250, 0, 0), (0, 0, 250)))
    stripes = np.zeros((32, 32, 3), dtype=np.uint8)
    stripes[::4] = stripes[1::4] = 255
    vectors = body.compute(
        ArrayInputs(np.stack([red, blue, stripes, stripes.transpose(1, 0, 2)])), np.arange(4)
    ).vectors
    assert vectors.shape == (4, body.width)
    shape, colour = vectors[:, :-24], vectors[:, -24:]
    assert not shape[:2].any(), "a flat picture has no gradients"
    np.testing.assert_allclose((colour**2).reshape(4, 3, 8).sum(-1), 1, atol=1e-6)
    assert colour[0, 7] == 1.0  # red: the highest bin of the first channel
    assert colour[1, 23] == 1.0  # blue: the highest bin of the last
    np.testing.assert_allclose(colour[2], colour[3], atol=1e-6)
    assert np.abs(shape[2] - shape[3]).max() > 0.1
