"""Copies are found and pictures that merely look alike are not; what is done about them."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from headstart.target import copies, hygiene
from headstart.target.copies import alike, perceptual_hash
from headstart.target.hygiene import Record, Records, examine, near_duplicates, record
from headstart.target.image import UnreadableImage
from headstart.target.inputs import ArrayInputs, PathInputs
from headstart.target.readers import load_target

pytestmark = pytest.mark.fast

Photos = Callable[..., Path]
Picture = Callable[..., Image.Image]


@pytest.fixture(autouse=True)
def _nothing_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache for each test: what one has looked at is new to the next."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream)


def pairs(pictures: list[Image.Image]) -> list[tuple[int, int]]:
    found, whole = near_duplicates(examine(ArrayInputs(pictures)))
    assert whole
    return found


def test_reencoded_and_resized_copies_are_found(picture: Picture) -> None:
    original = picture(1, 200)
    copies = [jpeg(original, 30), jpeg(original, 90), original.resize((97, 103)), original.resize((400, 400))]
    others = [picture(seed, 200) for seed in range(2, 60)]
    assert pairs([original, *copies, *others]) == [(i, j) for i in range(5) for j in range(i + 1, 5)]


def test_a_brighter_copy_is_found(picture: Picture) -> None:
    original = picture(1, 100).point(lambda value: value // 2)
    brighter = original.point(lambda value: int(value * 1.2 + 6))
    assert pairs([original, brighter]) == [(0, 1)]


def test_a_slightly_cropped_photo_is_found_among_others(picture: Picture) -> None:
    originals = [picture(seed, 200) for seed in range(40)]
    cropped = [original.crop((4, 6, 198, 200)) for original in originals[:5]]
    assert pairs(originals + cropped) == [(i, 40 + i) for i in range(5)]


def test_a_cropped_drawing_is_not_put_to_the_test_for_photos() -> None:
    drawing = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(drawing).ellipse((30, 60, 150, 190), outline="black", width=6)
    assert not record(drawing, "x").detailed
    assert pairs([drawing, drawing.crop((10, 10, 200, 200))]) == []


def test_clock_faces_are_not_copies() -> None:
    faces = []
    for minute in range(60):
        face = Image.new("RGB", (128, 128), "white")
        draw = ImageDraw.Draw(face)
        draw.ellipse((10, 10, 118, 118), outline="black", width=4)
        angle = np.deg2rad(minute * 30)
        draw.line((64, 64, 64 + 30 * np.sin(angle), 64 - 30 * np.cos(angle)), fill="black", width=4)
        faces.append(face)
    assert pairs(faces[:12]) == []
    assert pairs([faces[0], faces[0].resize((96, 96))]) == [(0, 1)]


def test_the_same_shape_in_another_colour_is_no_copy() -> None:
    discs = []
    for colour in ("red", "green", "blue", "orange"):
        disc = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(disc).ellipse((8, 20, 50, 60), fill=colour)
        discs.append(disc)
    assert pairs(discs) == []


def test_blank_pictures_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    blank = [Image.fromarray(rng.integers(250, 254, (64, 64, 3), dtype=np.uint8)) for _ in range(50)]
    assert pairs(blank) == []


def test_digits_are_not_copies() -> None:
    from sklearn.datasets import load_digits

    images = np.round(load_digits().images[:600] * (255 / 16)).astype(np.uint8)
    assert pairs(list(images)) == []


def test_the_hash_is_stable() -> None:
    ramp = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (32, 32, 3))
    value = perceptual_hash(ramp)
    assert 0 < value < 2**63
    # A ramp from left to right has only horizontal frequencies: the first row of bits, without the mean.
    assert value & (2**56 - 1) == perceptual_hash(np.ascontiguousarray(ramp)) & (2**56 - 1)
    assert bin(value ^ perceptual_hash(255 - ramp)).count("1") > 5


def test_a_copy_is_found_among_twenty_thousand() -> None:
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    hashes = rng.integers(0, 2**63, 20_000)
    records = [Record(None, str(i), int(h), thumbnails[i % 64]) for i, h in enumerate(hashes)]
    records[19_999] = Record(None, "copy", int(hashes[5]) ^ 0b111, thumbnails[5])
    found, whole = near_duplicates(Records.of(records))
    assert whole
    assert (5, 19_999) in found


def random_hashes(count: int, copies: int) -> NDArray[np.uint64]:
    """Hashes of which the last `copies` differ from the first ones in 0 to 13 bits."""
    rng = np.random.default_rng(count)
    hashes = rng.integers(0, 2**63, count).astype(np.uint64)
    for i in range(copies):
        flipped = sum(1 << int(bit) for bit in rng.choice(64, i % 14, replace=False))
        hashes[count - 1 - i] = hashes[i] ^ np.uint64(flipped)
    return hashes


def each_with_each(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32) * 2 - 1
    left, right = np.nonzero(np.triu(bits @ bits.T >= 64 - 2 * copies.HASH_DISTANCE, 1))
    return list(zip(left.tolist(), right.tolist(), strict=True))


def test_no_pair_is_lost_by_comparing_few(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = random_hashes(3000, 700)
    expected = each_with_each(hashes)
    assert len(expected) == 550
    for few, at_once in ((100, 2**21), (100, 50), (10_000, 2**21)):
        monkeypatch.setattr(copies, "FEW", few)
        monkeypatch.setattr(copies, "CANDIDATES_AT_ONCE", at_once)
        left, right, whole = alike(hashes)
        assert whole
        assert list(zip(left.tolist(), right.tolist(), strict=True)) == expected


def test_pictures_that_are_all_alike_end_the_search_at_the_same_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 3000).astype(np.uint64)
    hashes[:1500] = 12345  # more than a million pairs
    ends = []
    for few in (100, 10_000):
        monkeypatch.setattr(copies, "FEW", few)
        left, right, whole = alike(hashes)
        assert not whole
        ends.append((len(left), int(left[-1]), int(right[-1])))
    assert ends[0] == ends[1]
    # Row i of 1500 has 1499 - i pairs; the end comes with a block of 256 rows.
    assert ends[0][0] == sum(1499 - i for i in range((ends[0][1] // 256 + 1) * 256))
    assert ends[0][0] - sum(1499 - i for i in range(ends[0][1] // 256 * 256, ends[0][1] + 1)) <= 1_000_000 < ends[0][0]


class Counting(ArrayInputs):
    """Counts what is decoded to be looked at."""

    opened = 0
    lock = threading.Lock()

    def preview(self, i: int, at_least: int) -> Image.Image:
        with self.lock:
            self.opened += 1
        return super().preview(i, at_least)


def test_examine_decodes_once_and_keeps_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hygiene, "IN_MEMORY", 10)
    arrays = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)
    first, again = Counting(arrays), Counting(arrays)
    told: list[tuple[int, int]] = []
    records = examine(first, threads=4, progress=lambda done, total: told.append((done, total)))
    assert first.opened == 300
    assert told == [(256, 300), (300, 300)]
    assert records.digests == [first.digest(i) for i in range(300)]
    assert len(records._kept) == 10
    told.clear()
    recalled = examine(again, progress=lambda done, total: told.append((done, total)))
    assert again.opened == 0
    assert told == [(300, 300)]
    assert recalled.digests == records.digests
    for column in ("hashes", "detailed", "textured"):
        np.testing.assert_array_equal(getattr(recalled, column), getattr(records, column))
    thumbnails = np.stack([record(first.image(i), "x").thumbnail for i in range(300)])
    for one in (records, recalled):
        np.testing.assert_array_equal(one.thumbnails(np.arange(300)), thumbnails)
    assert (first.opened, again.opened) == (300, 0), "the store has all thumbnails"
    assert [int(h) for h in records.hashes] == [perceptual_hash(t) for t in thumbnails]


def test_thumbnails_that_the_store_has_lost_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Counting(np.random.default_rng(1).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8))
    records = examine(inputs)
    kept = records.thumbnails(np.array([3, 7]))
    shutil.rmtree(Path(os.environ["HEADSTART_CACHE"]) / "store")
    records._kept.clear()
    np.testing.assert_array_equal(records.thumbnails(np.array([3, 7])), kept)
    assert inputs.opened == 32


def test_equal_contents_are_decoded_once() -> None:
    one = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    inputs = Counting([one] * 20)
    records = examine(inputs)
    assert inputs.opened == 1
    assert len(set(records.digests)) == 1
    assert records.textured.all()


def test_what_is_unreadable_is_remembered_unless_the_system_is_at_fault(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(ant=2) / "ant"
    (root / "text.png").write_text("no picture\n")
    cut = (root / "000.png").read_bytes()
    (root / "cut.png").write_bytes(cut[: len(cut) // 2])
    (root / "empty.png").write_bytes(b"")
    os.mkfifo(root / "pipe.png")
    names = ["000.png", "text.png", "cut.png", "empty.png", "pipe.png", "absent.png", "nul\0.png"]
    reasons = [
        "is text, not a picture",
        "is cut short",
        "is empty (0 bytes)",
        "is not an ordinary file",
        "does not exist",
        "has an impossible file name",
    ]
    opened: list[str] = []
    real = PathInputs.preview

    def preview(self: PathInputs, i: int, at_least: int) -> Image.Image:
        opened.append(self.path(i).name)
        return real(self, i, at_least)

    monkeypatch.setattr(PathInputs, "preview", preview)
    for expected in (sorted(names), sorted(names[4:])):
        opened.clear()
        records = examine(PathInputs([root / name for name in names]))
        assert records.errors == dict(enumerate(reasons, 1))
        assert sorted(opened) == expected


def test_a_failure_of_the_disk_is_not_remembered(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photos(ant=1) / "ant" / "000.png"
    real = PathInputs.preview

    def broken(self: PathInputs, i: int, at_least: int) -> Image.Image:
        raise UnreadableImage("input/output error") from OSError(5, "Input/output error")

    monkeypatch.setattr(PathInputs, "preview", broken)
    assert examine(PathInputs([path])).errors == {0: "input/output error"}
    monkeypatch.setattr(PathInputs, "preview", real)
    assert examine(PathInputs([path])).errors == {}


def test_a_second_look_at_unchanged_files_decodes_and_reads_nothing(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(ant=20, bee=20)
    (root / "bee" / "text.png").write_text("no picture\n")
    with Image.open(root / "ant" / "003.png") as picture:
        picture.resize((60, 60)).save(root / "ant" / "smaller.png")
    for path in root.rglob("*.png"):
        os.utime(path, (10**9, 10**9))
    first = load_target(root)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a picture was read")

    monkeypatch.setattr("headstart.target.inputs.open_image", never)
    monkeypatch.setattr("hashlib.file_digest", never)
    second = load_target(root)
    assert second.hygiene == first.hygiene
    assert len(second.hygiene.near_duplicates) == 1
    assert len(second.hygiene.unreadable) == 1
    assert second.digest() == first.digest()


def test_a_record_does_not_depend_on_where_it_was_made(picture: Picture) -> None:
    one, other = record(picture(3), "x"), record(picture(3), "x")
    assert one.hash == other.hash
    assert np.array_equal(one.thumbnail, other.thumbnail)


def test_exact_copies_with_one_label_are_kept_once(photos: Photos) -> None:
    root = photos(ant=4, bee=4)
    shutil.copy(root / "ant" / "000.png", root / "ant" / "copy.png")
    target = load_target(root)
    assert target.n_examples == 8
    assert target.hygiene.exact_duplicates == ((os.path.join("ant", "000.png"), os.path.join("ant", "copy.png")),)
    assert any("1 exact copy" in said for said in target.hygiene.warnings)


def test_one_picture_under_two_labels_is_not_trained_on(photos: Photos) -> None:
    root = photos(ant=4, bee=4)
    shutil.copy(root / "ant" / "000.png", root / "bee" / "copy.png")
    target = load_target(root)
    assert target.n_examples == 7
    assert target.hygiene.conflicting == ((os.path.join("ant", "000.png"), os.path.join("bee", "copy.png")),)
    inputs = target.everything.examples.inputs
    assert not {inputs.name(i) for i in range(7)} & set(target.hygiene.conflicting[0])


def test_near_copies_stay_on_one_side_of_a_split_made_here(photos: Photos) -> None:
    root = photos(ant=64, bee=64)
    for number in range(20):
        with Image.open(root / "ant" / f"{number:03}.png") as picture:
            picture.resize((60, 60)).save(root / "ant" / f"copy{number:03}.png")
    target = load_target(root)
    assert target.split == "made"
    assert target.n_examples == 148
    assert len(target.hygiene.near_duplicates) == 20
    assert target.hygiene.across_splits == ()
    assert target.hygiene.duplicates_were == "moved"
    seal = target.episodes[0].seal.inputs
    sealed = {seal.name(i) for i in range(len(seal))}
    for one, other in target.hygiene.near_duplicates:
        assert (one in sealed) == (other in sealed)
    for seed in range(5):
        view, held = target.everything.fold(seed)
        assert not set(view.examples.groups) & set(held.groups)


def test_copies_across_a_given_split_are_reported_and_left(photos: Photos) -> None:
    root = photos("photos/train", ant=5, bee=5).parent
    photos("photos/test", ant=4, bee=4)
    shutil.copy(root / "train" / "ant" / "000.png", root / "test" / "ant" / "same.png")
    with Image.open(root / "train" / "bee" / "001.png") as picture:
        picture.resize((80, 80)).save(root / "test" / "bee" / "near.png")
    target = load_target(root)
    assert (target.n_train, target.n_test) == (10, 10)
    assert target.hygiene.duplicates_were == "reported"
    assert set(target.hygiene.across_splits) == {
        (os.path.join("test", "ant", "same.png"), os.path.join("train", "ant", "000.png"), "exact"),
        (os.path.join("test", "bee", "near.png"), os.path.join("train", "bee", "001.png"), "near"),
    }
    assert any(said.startswith("2 pairs of copies across the given split") for said in target.hygiene.warnings)


def test_a_conflict_across_a_given_split_leaves_the_test_example(photos: Photos) -> None:
    root = photos("photos/train", ant=5, bee=5).parent
    photos("photos/test", ant=4, bee=4)
    shutil.copy(root / "train" / "ant" / "000.png", root / "test" / "bee" / "other.png")
    target = load_target(root)
    assert (target.n_train, target.n_test) == (9, 9)
    assert len(target.hygiene.conflicting) == 1


def test_a_clean_target_says_nothing(photos: Photos) -> None:
    assert load_target(photos(ant=64, bee=64)).hygiene.warnings == ()


def test_a_file_replaced_between_hashing_and_decoding_leaves_nothing_behind(
    photos: Photos, picture: Picture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    path = photos(ant=1) / "ant" / "000.png"
    content = path.read_bytes()
    real = PathInputs.preview

    def replaced(self: PathInputs, i: int, at_least: int) -> Image.Image:
        picture(99).save(path)
        return real(self, i, at_least)

    with monkeypatch.context() as patched:
        patched.setattr(PathInputs, "preview", replaced)
        examine(PathInputs([path]))
    path.write_bytes(content)
    [again] = examine(PathInputs([path])).hashes
    assert again == record(picture(1), "").hash != record(picture(99), "").hash
