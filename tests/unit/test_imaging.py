"""Decoding: every kind of image comes out as what it shows, and what is no image is named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from bad_images import BAD_IMAGES, RGB, encoded
from wbcsr import imaging
from wbcsr.errors import InputError

RNG = np.random.default_rng(1)


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


@pytest.mark.parametrize(("content", "says"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
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
