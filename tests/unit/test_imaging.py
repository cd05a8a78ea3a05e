"""Decoding: every kind of image comes out as what it shows, and what is no image is named."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from wbcsr import imaging
from wbcsr.errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "pixels",
    [
        RGB,
        RGB[:, :, 0],
        np.dstack([RGB, RGB[:, :, 1]]),
        RNG.integers(0, 65536, (5, 7), dtype=np.uint16),
        RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16),
        RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16),
    ],
    ids=["RGB", "grey", "RGBA", "grey16", "RGB16", "RGBA16"],
)
def test_png_round_trip_is_lossless(pixels: np.ndarray) -> None:
    decoded = imaging.decode(imaging.encode_png(np.ascontiguousarray(pixels)), "x.png")
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PNG"])
def test_formats_agree_with_pillow(form: str) -> None:
    np.testing.assert_array_equal(imaging.decode(encoded(Image.fromarray(RGB), form), f"x.{form}"), RGB)


def test_jpeg_and_webp_agree_with_pillow() -> None:
    smooth = Image.fromarray(RGB).resize((64, 48))
    for form in ("JPEG", "WEBP"):
        content = encoded(smooth, form)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert np.abs(imaging.decode(content, "x").astype(int) - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "PNG", exif=exif)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    np.testing.assert_array_equal(imaging.decode(content, "x.png"), expected)
    np.testing.assert_array_equal(imaging.decode(behind_the_pixels(content), "x.png", whole=True), expected)


def behind_the_pixels(png: bytes) -> bytes:
    """A PNG with its EXIF as the last chunk but one."""
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    last = png.index(b"IEND") - 4
    return png[:start] + png[end:last] + png[start:end] + png[last:]


def test_palette_and_cmyk_become_rgb() -> None:
    palette = Image.fromarray(RGB).quantize(8)
    shown = imaging.to_rgb8(imaging.decode(encoded(palette, "PNG"), "x.png"))
    np.testing.assert_array_equal(shown, np.asarray(palette.convert("RGB")))
    cmyk = Image.fromarray(RGB).convert("CMYK")
    assert imaging.decode(encoded(cmyk, "TIFF"), "x.tif").shape == (5, 7, 3)


PNG = encoded(Image.fromarray(RGB).resize((64, 64)), "PNG")


def promising(side: int) -> bytes:
    """A PNG whose header, checksum and all, says that so many pixels a side follow."""
    header = b"IHDR" + side.to_bytes(4) * 2 + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4) + PNG[33:]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a readable image"),
        (b"<html>no image</html>", "not a readable image"),
        (PNG[: len(PNG) // 2], "not a readable image"),
        (PNG[:-12], "ends before its last chunk"),
        (PNG[:33] + b"\xfe\xff\xff\xff" + PNG[37:], "ends before its last chunk"),
        (promising(60_000), "60000×60000 pixels are more than the limit"),
        (encoded(Image.new("L", (4, 4)), "GIF", save_all=True, append_images=[Image.new("L", (4, 4), 9)]), "2 frames"),
        (
            encoded(Image.new("RGB", (4, 4)), "WEBP", save_all=True, append_images=[Image.new("RGB", (4, 4), 9)]),
            "2 frames",
        ),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "float32"),
        (encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "float32"),
    ],
    ids=[
        *("empty", "html", "truncated", "without its end", "a chunk of 4 GB", "huge header", "animated GIF"),
        *("animated WebP", "float", "not a number"),
    ],
)
def test_what_is_no_image_is_one_line(content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        imaging.decode(content, "TRAIN/A/x.png")
    assert str(error.value).startswith("TRAIN/A/x.png: ")
    assert "\n" not in str(error.value)


def test_what_was_enlarged_may_be_larger_than_what_is_taken_in() -> None:
    """As 4,000 pixels a side are by four."""
    content = encoded(Image.new("L", (12_000, 9_000), 7), "PNG")
    with pytest.raises(InputError, match="more than the limit"):
        imaging.decode(content, "x.png")
    assert imaging.decode(content, "x.png", whole=True).shape == (9_000, 12_000)


def test_to_rgb8() -> None:
    sixteen = np.array([[0, 257, 65535]], np.uint16)
    np.testing.assert_array_equal(imaging.to_rgb8(sixteen)[:, :, 2], [[0, 1, 255]])
    assert imaging.to_rgb8(np.dstack([RGB, RGB[:, :, 0]])).shape == (5, 7, 3)
