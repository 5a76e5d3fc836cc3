"""Opening every kind of picture, and refusing every kind of wreck with a plain reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.target.image import MAX_PIXELS, UnreadableImage, open_image

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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (32, 16), "blue")
    upright.paste("red", (0, 0, 16, 8))  # the top left quarter
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = reopened(stored, kind, exif=exif)
    assert opened.size == (32, 16)
    assert pixel(opened, 4, 2)[0] > 200
    assert pixel(opened, 4, 2)[2] < 60
    for x, y in ((28, 2), (4, 13), (28, 13)):
        assert pixel(opened, x, y)[2] > 200


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
    small = open_image(path, at_least=64)
    assert small.size == (128, 64)
    assert np.abs(np.array(pixel(small)) - RED).max() <= 6
    assert open_image(path).size == (1024, 512)


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
    path.write_bytes(path.read_bytes()[:8])
    assert refusal(path) == "is damaged"


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    assert refusal(path) == "does not exist"
    assert refusal(str(path)) == "does not exist"
    path.write_bytes(b"")
    assert refusal(path) == "is empty (0 bytes)"
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
