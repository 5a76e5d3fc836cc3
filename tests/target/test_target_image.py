"""Opening every kind of picture, and refusing every kind of wreck with a plain reason."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.target import image as image_module
from headstart.target.image import MAX_PIXELS, UnreadableImage, extent, open_image

pytestmark = pytest.mark.fast

RED = (200, 30, 40)


def reopened(picture: Image.Image, kind: str, **options: object) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    stream.seek(0)
    return open_image(stream)


def pixel(picture: Image.Image, x: int = 0, y: int = 0) -> tuple[int, ...]:
    assert picture.mode == "RGB"
    return picture.getpixel((x, y))


def refusal(source: object) -> str:
    with pytest.raises(UnreadableImage) as caught:
        open_image(source)
    return str(caught.value)


def big_png(path: Path, side: int) -> None:
    """A valid PNG of side x side one-bit pixels, compressed to a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeeze = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(width: int, height: int, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """A blue picture with a red top left quarter, as a camera held sideways stores it, and the EXIF that says so."""
    upright = Image.new("RGB", (width, height), "blue")
    upright.paste("red", (0, 0, width // 2, height // 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return upright.transpose(UNDO[orientation]) if orientation > 1 else upright, exif


def assert_upright(opened: Image.Image) -> None:
    width, height = opened.size
    left, top = width // 8, height // 8
    right, bottom = width - 1 - left, height - 1 - top
    assert pixel(opened, left, top)[0] > 200
    assert pixel(opened, left, top)[2] < 60
    for x, y in ((right, top), (left, bottom), (right, bottom)):
        assert pixel(opened, x, y)[2] > 200
        assert pixel(opened, x, y)[0] < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    stored, exif = turned(32, 16, orientation)
    opened = reopened(stored, kind, exif=exif)
    assert opened.size == (32, 16)
    assert_upright(opened)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
@pytest.mark.parametrize("at_least", [None, 64])
def test_a_sideways_photo_decoded_smaller_is_upright(kind: str, orientation: int, at_least: int | None) -> None:
    stored, exif = turned(320, 144, orientation)
    stream = io.BytesIO()
    options = {"save_all": True, "append_images": [Image.new("RGB", stored.size)]} if kind == "MPO" else {}
    stored.save(stream, kind, exif=exif, **options)
    assert Image.open(stream).format == kind
    opened = open_image(stream, at_least=at_least)
    assert opened.size == ((320, 144) if at_least is None else (160, 72))
    assert_upright(opened)


def test_cmyk_becomes_rgb() -> None:
    red = pixel(reopened(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert red[0] > 240
    assert red[1] < 20
    assert red[2] < 20


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 65535], [0, 255]),  # 16 bits
        ([0, 32896, 65535], [0, 128, 255]),
        ([0, 4095], [0, 255]),  # 12 bits in 16
        ([0, 7, 200], [0, 7, 200]),  # 8 bits in 16
        ([0], [0]),
    ],
)
def test_16_bit_grey_keeps_its_range(values: list[int], expected: list[int]) -> None:
    picture = Image.fromarray(np.array([values], dtype=np.uint16))
    for kind in ("PNG", "TIFF"):
        opened = np.asarray(reopened(picture, kind))
        assert opened[0, :, 0].tolist() == expected
        assert (opened[..., 0] == opened[..., 1]).all()
        assert (opened[..., 0] == opened[..., 2]).all()


def test_other_grey_ranges_are_stretched() -> None:
    integers = Image.fromarray(np.array([[-100, 0, 100]], dtype=np.int32))
    assert np.asarray(open_image(integers))[0, :, 0].tolist() == [0, 128, 255]
    unit = Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32))
    assert np.asarray(reopened(unit, "TIFF"))[0, :, 0].tolist() == [0, 128, 255, 0]


def test_transparency_is_laid_on_white() -> None:
    assert pixel(reopened(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG")) == (255, 255, 255)
    assert pixel(reopened(Image.new("RGBA", (4, 4), (255, 0, 0, 51)), "PNG")) == (255, 204, 204)
    assert pixel(reopened(Image.new("LA", (4, 4), (0, 0)), "PNG")) == (255, 255, 255)
    assert pixel(reopened(Image.new("LA", (4, 4), (7, 255)), "PNG")) == (7, 7, 7)


def test_palettes_with_and_without_transparency() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*RED, 0, 0, 255])
    palette.putdata([0, 1])
    opened = reopened(palette, "PNG")
    assert [pixel(opened, 0), pixel(opened, 1)] == [RED, (0, 0, 255)]
    for transparency in (1, b"\xff\x00"):  # one index, or an alpha for each
        opened = reopened(palette, "PNG", transparency=transparency)
        assert [pixel(opened, 0), pixel(opened, 1)] == [RED, (255, 255, 255)]


def test_one_bit_and_one_pixel() -> None:
    assert pixel(reopened(Image.new("1", (1, 1), 1), "PNG")) == (255, 255, 255)
    assert pixel(reopened(Image.new("RGB", (1, 1), RED), "PNG")) == RED


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, "blue", "green")]
    assert pixel(reopened(frames[0], "GIF", save_all=True, append_images=frames[1:])) == RED


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "PPM", "TIFF", "GIF"])
def test_other_formats(kind: str) -> None:
    assert np.abs(np.array(pixel(reopened(Image.new("RGB", (16, 16), RED), kind))) - RED).max() <= 6


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_arrays(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 255, dtype=np.uint8)
    array[0, 1] = 9
    if shape[-1] == 4 and len(shape) == 3:
        array[..., 3] = 255
    opened = open_image(array)
    assert opened.size == (4, 5)
    assert pixel(opened, 1, 0) == (9, 9, 9)
    assert pixel(opened, 0, 0) == (255, 255, 255)


def test_arrays_of_other_kinds_are_refused() -> None:
    assert refusal(np.zeros((4, 4, 3))) == "is an array of float64, expected uint8 (scale it to 0..255 and convert it)"
    assert "expected uint8" in refusal(np.zeros((4, 4), dtype=np.uint16))
    assert "transpose(1, 2, 0)" in refusal(np.zeros((3, 20, 20), dtype=np.uint8))
    assert "shape (64,)" in refusal(np.zeros(64, dtype=np.uint8))
    assert "no pixels" in refusal(np.zeros((0, 4, 3), dtype=np.uint8))
    assert "a list is not a picture" in refusal([1, 2, 3])


def test_the_opened_picture_is_a_copy() -> None:
    original = Image.new("RGB", (2, 2), RED)
    open_image(original).putpixel((0, 0), (0, 0, 0))
    assert original.getpixel((0, 0)) == RED
    array = np.zeros((2, 2, 3), dtype=np.uint8)
    open_image(array).putpixel((0, 0), RED)
    assert not array.any()


def test_a_smaller_jpeg_where_that_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (1024, 512), RED).save(path)
    for at_least, size in {64: (128, 64), 65: (256, 128), 256: (512, 256), 257: (1024, 512), 1: (128, 64)}.items():
        small = open_image(path, at_least=at_least)
        assert small.size == size
        assert np.abs(np.array(pixel(small)) - RED).max() <= 6
    assert open_image(path).size == (1024, 512)
    assert open_image(path, at_least=0).size == (128, 64)


@pytest.mark.parametrize("size", [(257, 129), (400, 31), (31, 400), (1, 300), (64, 64), (127, 255)])
@pytest.mark.parametrize("at_least", [1, 15, 31, 32, 63, 64, 65, 128, 1000])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_smaller_jpeg_keeps_its_promise(size: tuple[int, int], at_least: int, orientation: int) -> None:
    stored, exif = turned(*size, orientation)
    stream = io.BytesIO()
    stored.save(stream, "JPEG", exif=exif)
    opened = open_image(stream, at_least=at_least)
    for got, had in zip(opened.size, size, strict=True):
        assert min(had, at_least) <= got <= had
        assert abs(got * max(size) - had * max(opened.size)) <= max(size)  # the same shape, to a pixel
    if min(size) >= 2 * at_least:
        assert max(opened.size) < max(size)  # it would be no use otherwise


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_smaller_jpeg_says_what_part_of_it_is_the_photo(orientation: int) -> None:
    """Sides that eight does not divide: resized by its extent, it is the whole photo resized, else it is shifted."""
    blots = np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    upright = Image.fromarray(blots).resize((257, 201), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    (upright.transpose(UNDO[orientation]) if orientation > 1 else upright).save(stream, "JPEG", quality=95, exif=exif)
    whole, small = open_image(stream), open_image(stream, at_least=25)
    assert small.size == (33, 26)
    assert extent(whole) == (0, 0, 257, 201)
    left, top, right, bottom = extent(small)
    assert (right - left, bottom - top) == (257 / 8, 201 / 8)

    def difference(box: tuple[float, float, float, float] | None) -> float:
        parts = ((whole, None), (small, box))
        one, other = (np.asarray(picture.resize((16, 16), box=part), dtype=float) for picture, part in parts)
        return float(np.abs(one - other).mean())

    # Whatever else the photo might be taken to fill, it fits less well.
    others = [(x, y, x + 257 / 8, y + 201 / 8) for x in (0, 7 / 8) for y in (0, 7 / 8) if (x, y) != (left, top)]
    assert difference(extent(small)) < 1
    assert min(difference(box) for box in (*others, None)) > 2


def test_pictures_made_from_a_smaller_one_are_whole() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (257, 201), RED).save(stream, "JPEG")
    small = open_image(stream, at_least=25)
    assert extent(small) != (0, 0, 33, 26)
    for made in (small.copy(), small.transpose(Image.Transpose.ROTATE_180), small.resize((33, 26)), small.convert("L")):
        assert extent(made) == (0, 0, 33, 26)
    assert extent(open_image(stream, at_least=1000)) == (0, 0, 257, 201)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_smaller_jpeg_of_another_mode(mode: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (256, 128), "white").convert(mode).save(stream, "JPEG")
    small = open_image(stream, at_least=32)
    assert small.size == (64, 32)
    assert min(pixel(small, 9, 9)) > 250


def test_a_smaller_jpeg_is_the_mean_of_its_pixels() -> None:
    """Scaled by frequencies, not by leaving pixels out: a fine chequerboard becomes grey."""
    board = np.indices((128, 128)).sum(0) % 2
    stream = io.BytesIO()
    Image.fromarray((255 * board).astype(np.uint8)).save(stream, "JPEG", quality=100)
    small = np.asarray(open_image(stream, at_least=32))
    assert small.shape == (32, 32, 3)
    assert np.abs(small.astype(int) - 127).max() <= 3


def test_other_formats_keep_their_size() -> None:
    for kind in ("PNG", "WEBP", "BMP"):
        stream = io.BytesIO()
        Image.new("RGB", (200, 100), RED).save(stream, kind)
        assert open_image(stream, at_least=10).size == (200, 100)
    assert open_image(np.zeros((100, 200), np.uint8), at_least=10).size == (200, 100)


def test_a_picture_of_the_caller_is_not_made_smaller() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (256, 128), RED).save(stream, "JPEG")
    for loaded in (False, True):
        theirs = Image.open(stream)
        if loaded:
            theirs.load()
        assert open_image(theirs, at_least=16).size == (256, 128)
        assert theirs.size == (256, 128)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_a_photo_has_exactly_the_pixels_that_pillow_decodes(options: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (300, 411, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=97, **options)
    assert path.stat().st_size > 2**16  # more than one of Pillow's portions
    with Image.open(path) as plain:
        expected = np.asarray(plain.convert("RGB"))
    for source in (path, str(path), io.BytesIO(path.read_bytes()), Image.open(path)):
        np.testing.assert_array_equal(np.asarray(open_image(source)), expected)
    with path.open("rb") as stream:
        np.testing.assert_array_equal(np.asarray(open_image(stream)), expected)


def test_very_large_files_are_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slide.jpg"
    Image.effect_noise((64, 64), 90).convert("RGB").save(path)
    expected, content = np.asarray(open_image(path)), path.read_bytes()
    monkeypatch.setattr(image_module, "READ_AT_ONCE", path.stat().st_size - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("read at once"))
    np.testing.assert_array_equal(np.asarray(open_image(path)), expected)
    path.write_bytes(content[:-200])
    monkeypatch.setattr(image_module, "READ_AT_ONCE", 10)
    assert refusal(path) == "is cut short"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_what_is_opened_holds_on_to_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    Image.new("RGB", (8, 8), RED).save(path, kind)
    opened = open_image(path)
    assert type(opened) is Image.Image
    path.unlink()
    opened.putpixel((0, 0), (1, 2, 3))
    assert pixel(opened) == (1, 2, 3)


def damaged_exif() -> bytes:
    """A JPEG whose EXIF has a tag with data beyond its end, of which Pillow warns, and orientation 6."""
    stream = io.BytesIO()
    entries = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x010E, 2, 5000, 4000)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    Image.new("RGB", (32, 16), RED).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def test_warnings_of_pillow_reach_nobody() -> None:
    content = damaged_exif()
    with pytest.warns(UserWarning, match=r"EXIF|[Tt]ag"):
        Image.open(io.BytesIO(content)).getexif()

    def one(_: int) -> tuple[int, int]:
        return open_image(io.BytesIO(content)).size

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(one, range(40))) == {(16, 32)}
    assert not seen
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(one, range(40))) == {(16, 32)}


def test_warnings_of_others_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a picture is being decoded in a thread, this one warns, and swaps the filters of the process."""
    inside, go_on = threading.Event(), threading.Event()
    transpose = image_module.ImageOps.exif_transpose

    def slowly(picture: Image.Image) -> Image.Image | None:
        inside.set()
        assert go_on.wait(20)
        warnings.warn("of the decoder", UserWarning, stacklevel=1)  # an error here, were it not kept quiet
        return transpose(picture)

    monkeypatch.setattr(image_module.ImageOps, "exif_transpose", slowly)
    content = damaged_exif()
    with ThreadPoolExecutor(1) as pool:
        decoding = pool.submit(open_image, io.BytesIO(content))
        try:
            assert inside.wait(20)
            with pytest.raises(UserWarning, match="of mine"):  # warnings are errors in these tests
                warnings.warn("of mine", UserWarning, stacklevel=1)
            swapped = warnings.catch_warnings()
            swapped.__enter__()
        finally:
            go_on.set()
        assert decoding.result(20).size == (16, 32)
    swapped.__exit__(None, None, None)
    with pytest.raises(UserWarning, match="afterwards"):
        warnings.warn("afterwards", UserWarning, stacklevel=1)
    monkeypatch.undo()
    open_image(io.BytesIO(content))  # in this thread
    with pytest.raises(UserWarning, match="in the end"):
        warnings.warn("in the end", UserWarning, stacklevel=1)


def test_the_filters_of_the_process_can_be_handed_on() -> None:
    """Scikit-learn hands them to its workers, even where it runs one after another, and puts them in anew there."""
    open_image(np.zeros((2, 2, 3), np.uint8))
    ours = [entry[1] is image_module._hushed for entry in warnings.filters].index(True)
    for filters in (pickle.loads(pickle.dumps(warnings.filters)), copy.deepcopy(warnings.filters)):
        assert filters[ours][1].match("of mine") is None  # what reaches a worker silences nothing there
    from sklearn.utils.parallel import Parallel, delayed

    assert Parallel(n_jobs=None)(delayed(abs)(i) for i in (-1, -2)) == [1, 2]
    assert Parallel(n_jobs=2, backend="threading")(delayed(abs)(i) for i in (-1, -2)) == [1, 2]


def test_the_filters_of_the_process_do_not_pile_up() -> None:
    content = damaged_exif()
    with warnings.catch_warnings():
        sizes = []
        for _ in range(5):
            warnings.simplefilter("error")
            open_image(io.BytesIO(content))
            sizes.append(len(warnings.filters))
    assert sizes[0] == sizes[-1]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files(kind: str, share: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, kind)
    path = tmp_path / "cut"
    path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])
    assert refusal(path) in ("is cut short", "is damaged")


def test_jpeg_says_that_it_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path) == "is cut short"
    with pytest.raises(UnreadableImage, match="is cut short"):
        open_image(path, at_least=16)
    path.write_bytes(path.read_bytes()[:8])
    assert refusal(path) == "is damaged"


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    assert refusal(path) == "does not exist"
    assert refusal(str(path)) == "does not exist"
    path.write_bytes(b"")
    assert refusal(path) == "is empty (0 bytes)"
    assert refusal(io.BytesIO()) == "is empty (0 bytes)"
    assert refusal(io.BytesIO(b"<svg>")) == "is SVG, which is not supported (convert it to PNG)"
    path.write_text("Dear diary,\nno picture today.\n")
    assert refusal(path) == "is text, not a picture"
    path.write_bytes(bytes(range(200, 256)) * 20)
    assert refusal(path) == "is not a picture of a known format"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    assert "HEIC" in refusal(path)
    assert refusal(tmp_path) == "is a folder"
    assert refusal("a\0b.jpg") == "has an impossible file name"


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of Unix")
def test_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    assert refusal(tmp_path / "gone.jpg") == "is a broken link"
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    assert refusal(tmp_path / "round.jpg") == "is a link that leads back to itself"
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg") == "is not an ordinary file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    Image.new("RGB", (2, 2)).save(path)
    path.chmod(0)
    assert refusal(path) == "may not be read (permission denied)"


def test_a_decompression_bomb_is_refused_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    big_png(path, 20_000)
    assert path.stat().st_size < 100_000

    def decoded(self: Image.Image) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert refusal(path) == "is too large to open safely (more than 179 megapixels)"
    big_png(path, 13_384)  # just over our limit, below Pillow's error and above its warning
    assert MAX_PIXELS < 13_384**2
    assert "too large" in refusal(path)


def test_a_large_picture_below_the_limit_is_read_without_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    big_png(path, 9_600)  # 92 megapixels: Pillow alone would warn, and warnings are errors here
    assert open_image(path).size == (9_600, 9_600)
