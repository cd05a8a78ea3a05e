"""Decoding: every kind of image is decoded correctly, and files that are not images are named."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from bad_images import BAD_IMAGES, PNG, RGB, encoded, tiff, with_tags
from wbcsr import imaging
from wbcsr.errors import InputError
from wbcsr.files import IMAGE_SUFFIXES
from wbcsr.imaging import formats

RNG = np.random.default_rng(1)
RGBA = np.dstack([RGB, RGB[:, :, 1]])
KINDS = {
    "RGB": RGB,
    "grey": RGB[:, :, 0],
    "RGBA": RGBA,
    "grey16": RNG.integers(0, 65536, (5, 7), dtype=np.uint16),
    "RGB16": RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16),
    "RGBA16": RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16),
}


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.TIFF", "x.jpg"])
@pytest.mark.parametrize("pixels", KINDS.values(), ids=KINDS.keys())
def test_encoding_is_lossless(pixels: np.ndarray, name: str) -> None:
    content = imaging.encode(np.ascontiguousarray(pixels), name)
    decoded = imaging.decode(content, name)
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)
    assert Image.open(io.BytesIO(content)).format == ("TIFF" if ".t" in name.lower() else "PNG")


@pytest.mark.parametrize("form", ["BMP", "TIFF", "PNG"])
def test_formats_agree_with_pillow(form: str) -> None:
    np.testing.assert_array_equal(imaging.decode(encoded(Image.fromarray(RGB), form), f"x.{form}"), RGB)


def test_jpeg_and_webp_agree_with_pillow() -> None:
    smooth = Image.fromarray(RGB).resize((64, 48))
    for form in ("JPEG", "WEBP"):
        content = encoded(smooth, form)
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        np.testing.assert_array_equal(imaging.decode(content, "x"), expected)


JPEG2000 = {
    "RGB": RGB, "grey": RGB[:, :, 0], "grey with alpha": RGB[:, :, :2], "RGBA": RGBA, "RGB16": KINDS["RGB16"],
    "grey16": KINDS["grey16"],
}  # fmt: skip


@pytest.mark.parametrize("pixels", JPEG2000.values(), ids=JPEG2000.keys())
@pytest.mark.parametrize("container", ["JP2", "J2K"])
def test_jpeg_2000_keeps_its_bits(pixels: np.ndarray, container: str) -> None:
    stored = np.ascontiguousarray(np.kron(pixels, np.ones((8, 8, 1)[: pixels.ndim], pixels.dtype)))
    content = imagecodecs.jpeg2k_encode(stored, codecformat=container, level=0, reversible=True)
    shown = stored[:, :, [0, 0, 0, 1]] if stored.shape[2:] == (2,) else stored
    np.testing.assert_array_equal(imaging.decode(content, "x.jp2"), shown)


def test_gif_and_avif_agree_with_pillow() -> None:
    smooth = Image.fromarray(RGB).resize((64, 48))
    for form, turned in (("GIF", {}), ("AVIF", {}), ("AVIF", {"exif": exif(6)})):
        content = encoded(smooth, form, **turned)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
        np.testing.assert_array_equal(imaging.decode(content, "x"), expected)


STRETCHED = {"range": (0, 1), "first_page": False}
FLOATS = RNG.uniform(-0.2, 1.2, (5, 7, 3)).astype(np.float32)


@pytest.mark.parametrize("options", [{}, {"compression": "deflate", "predictor": 3}, {"compression": "lzw"}], ids=str)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("colours", ["rgb", "minisblack"])
def test_a_floating_point_tiff_is_stretched(colours: str, kind: type, options: dict[str, Any]) -> None:
    pixels = (FLOATS if colours == "rgb" else FLOATS[:, :, 0]).astype(kind)
    decoded = imaging.decode_as_configured(tiff(pixels, photometric=colours, **options), "x.tif", STRETCHED)
    assert decoded.dtype == np.uint16
    np.testing.assert_array_equal(decoded, np.rint(pixels.astype(np.float32).clip(0, 1).astype(float) * 65535))


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (np.full((4, 4), np.nan, np.float32), {}, "not finite"),
        (FLOATS[:, :, 0], {"photometric": "miniswhite"}, "1 channels of float32"),
        (FLOATS[:, :, :2], {"photometric": "minisblack", "planarconfig": "contig"}, "2 channels of float32"),
    ],
)
def test_other_floating_point_tiffs_are_rejected(pixels: np.ndarray, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^x\.tif: has .*{message}"):
        imaging.decode_as_configured(tiff(pixels, **options), "x.tif", STRETCHED)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def by_tifffile(pixels: np.ndarray, orientation: int) -> bytes:
    photometric = "minisblack" if pixels.ndim == 2 else "rgb"
    extra = {"extrasamples": ["unassalpha"]} if pixels.shape[2:] == (4,) else {}
    return tiff(pixels, photometric=photometric, extratags=[(274, 3, 1, orientation, True)], **extra)


def png16(pixels: np.ndarray, orientation: int) -> bytes:
    """A 16-bit PNG with EXIF data after its header, which Pillow and OpenCV cannot write."""
    content = imaging.encode_png(pixels)
    chunk = b"eXIf" + exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    return content[:33] + (len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + content[33:]


def by_pillow(form: str, **options: Any) -> Any:
    return lambda pixels, orientation: encoded(Image.fromarray(pixels), form, exif=exif(orientation), **options)


WITH_ORIENTATION = {
    "JPEG": (by_pillow("JPEG", quality=100), "RGB"),
    "grey JPEG": (by_pillow("JPEG", quality=100), "grey"),
    "MPO": (by_pillow("MPO", save_all=True, append_images=[Image.new("RGB", (3, 3))]), "RGB"),
    "PNG": (by_pillow("PNG"), "RGB"),
    "grey PNG": (by_pillow("PNG"), "grey"),
    "PNG with alpha": (by_pillow("PNG"), "RGBA"),
    "grey PNG of 16 bits": (png16, "grey16"),
    "PNG of 16 bits": (png16, "RGB16"),
    "PNG of 16 bits with alpha": (png16, "RGBA16"),
    "WebP": (by_pillow("WEBP", lossless=True), "RGB"),
    "WebP with alpha": (by_pillow("WEBP", lossless=True, exact=True), "RGBA"),
    "TIFF by Pillow": (by_pillow("TIFF", compression="tiff_lzw"), "RGB"),
    **{f"TIFF, {kind}": (by_tifffile, kind) for kind in KINDS},
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("write", "kind"), WITH_ORIENTATION.values(), ids=WITH_ORIENTATION.keys())
def test_an_image_is_rotated_once_as_by_pillow(write: Any, kind: str, orientation: int) -> None:
    pixels = np.ascontiguousarray(KINDS[kind])
    content = write(pixels, orientation)
    if kind in ("RGB16", "RGBA16"):  # Pillow has no mode for these, so it rotates an image of the pixel numbers.
        numbers = Image.fromarray(
            np.arange(pixels.shape[0] * pixels.shape[1], dtype=np.uint8).reshape(pixels.shape[:2])
        )
        numbers = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(numbers, "PNG", exif=exif(orientation)))))
        expected = pixels.reshape(-1, pixels.shape[2])[np.asarray(numbers)]
    else:
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    for whole in (False, True):
        decoded = imaging.decode(content, "x", whole=whole)
        assert decoded.dtype == expected.dtype
        np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_ignored(orientation: int) -> None:
    for content in (by_pillow("PNG")(RGB, orientation), by_tifffile(RGB, orientation)):
        np.testing.assert_array_equal(imaging.decode(content, "x"), RGB)


def test_exif_data_after_the_pixels_are_found() -> None:
    png = by_pillow("PNG")(RGB, 6)
    start = png.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(png[start : start + 4], "big")
    last = png.index(b"IEND") - 4
    behind = png[:start] + png[end:last] + png[start:end] + png[last:]
    np.testing.assert_array_equal(imaging.decode(behind, "x.png", whole=True), np.rot90(RGB, -1))


@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 2}, {"tile": (16, 16)}], ids=["one", "strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd"])
@pytest.mark.parametrize("kind", ["RGB", "RGB16", "RGBA16"])
def test_planes_and_layout_of_a_tiff_do_not_change_the_pixels(
    kind: str, compression: str | None, layout: dict[str, Any], byteorder: str, planes: str
) -> None:
    pixels = KINDS[kind]
    extra = {"extrasamples": ["unassalpha"]} if pixels.shape[2] == 4 else {}
    stored = pixels if planes == "contig" else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    options = {"planarconfig": planes, "photometric": "rgb", "byteorder": byteorder, "compression": compression}
    decoded = imaging.decode(tiff(stored, **options, **layout, **extra), "x.tif")
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


def test_min_is_white_is_inverted() -> None:
    for kind in ("grey", "grey16"):
        decoded = imaging.decode(tiff(KINDS[kind], photometric="miniswhite"), "x.tif")
        np.testing.assert_array_equal(decoded, np.iinfo(decoded.dtype).max - KINDS[kind])


def test_a_16_bit_palette_becomes_8_bit_rgb() -> None:
    index = RGB[:, :, 0]
    palette = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    decoded = imaging.decode(tiff(index, photometric="palette", colormap=palette), "x.tif")
    np.testing.assert_array_equal(decoded, (palette // 256).astype(np.uint8).T[index])
    low = palette // 256  # as old programs write it
    np.testing.assert_array_equal(imaging.decode(tiff(index, photometric="palette", colormap=low), "x.tif"), decoded)


def test_alpha_of_a_tiff() -> None:
    two = np.dstack([RGB[:, :, 0], np.full((5, 7), 128, np.uint8)])
    decoded = imaging.decode(tiff(two, photometric="minisblack", extrasamples=["unassalpha"]), "x.tif")
    np.testing.assert_array_equal(decoded, two[:, :, [0, 0, 0, 1]])
    multiplied = np.dstack([RGB // 2, two[:, :, 1]])
    content = tiff(multiplied, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(imaging.decode(content, "x.tif"), np.asarray(Image.open(io.BytesIO(content))))
    unexplained = tiff(RGBA, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(imaging.decode(unexplained, "x.tif"), RGB)


def test_a_pyramid_of_smaller_versions_is_not_a_second_image() -> None:
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as writer:
        writer.write(RGB, photometric="rgb", subifds=1)
        writer.write(RGB[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(imaging.decode(target.getvalue(), "x.tif"), RGB)


def test_a_small_tiff_that_expands_is_decoded_in_bounded_memory() -> None:
    """100 million pixels in 100 kB are within the limit; the decoder must not need many times their memory."""
    program = (
        "import resource, sys\n"
        "from wbcsr import imaging\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert imaging.decode(sys.stdin.buffer.read(), 'x.tif').shape == (10_000, 10_000)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    content = tiff(np.zeros((10_000, 10_000), np.uint8), compression="deflate", rowsperstrip=10_000)
    assert len(content) < 200_000
    assert int(run(program, content).stdout) < 600_000


def run(program: str, content: bytes) -> subprocess.CompletedProcess[bytes]:
    # glibc fills allocated memory with this value, so a decoder that reads uninitialised memory does not get zeros.
    environment = os.environ | {"MALLOC_PERTURB_": "165"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, input=content, capture_output=True, check=True, env=environment)


def test_damaged_lzw_data_are_rejected() -> None:
    """If a table lacks its first code, imagecodecs' own decoder reads uninitialised memory and crashes."""
    codes = [256, 300] + [258] * 10 + [257]
    bits = "".join(f"{code:09b}" for code in codes)
    data = bytes(int(bits[start : start + 8].ljust(8, "0"), 2) for start in range(0, len(bits), 8))
    content = tiff(np.zeros((10, 10), np.uint8), compression="lzw")
    content = with_tags(content, StripOffsets=len(content), StripByteCounts=len(data)) + data
    program = (
        "import sys\n"
        "from wbcsr import imaging\n"
        "from wbcsr.errors import InputError\n"
        "try:\n"
        "    imaging.decode(sys.stdin.buffer.read(), 'x')\n"
        "except InputError as error:\n"
        "    print(error)"
    )
    result = run(program, content)
    assert result.stdout.startswith(b"x: not a readable TIFF")
    assert result.stderr == b""


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "jpeg", "zstd"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 20}, {"tile": (16, 16)}], ids=["strips", "tiles"])
def test_a_truncated_tiff_is_rejected(compression: str | None, layout: dict[str, Any]) -> None:
    pixels = RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)
    content = tiff(pixels, photometric="rgb", compression=compression, **layout)
    for length in range(0, len(content), 29):
        with pytest.raises(InputError):
            imaging.decode(content[:length], "x.tif")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_truncated_jpeg_is_rejected(mode: str, options: dict[str, Any]) -> None:
    content = encoded(Image.fromarray(RGB).resize((40, 30)).convert(mode), "JPEG", **options)
    for length in range(len(content) - 3, 0, -3):
        with pytest.raises(InputError):
            imaging.decode(content[:length], "x.jpg")
    assert imaging.decode(content + b"what a camera adds", "x.jpg").shape[:2] == (30, 40)


def test_the_first_image_of_a_multi_picture_jpeg_is_used() -> None:
    first = Image.fromarray(RGB).resize((64, 48))
    content = encoded(first, "MPO", save_all=True, append_images=[first.rotate(180), first.resize((16, 12))])
    assert Image.open(io.BytesIO(content)).n_frames == 3
    np.testing.assert_array_equal(imaging.decode(content, "x.jpg"), np.asarray(Image.open(io.BytesIO(content))))


def test_cmyk_is_converted_to_rgb_as_by_pillow() -> None:
    cmyk = Image.fromarray(RGBA, "CMYK")
    for content in (encoded(cmyk, "TIFF"), encoded(cmyk, "JPEG")):
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        np.testing.assert_array_equal(imaging.decode(content, "x"), expected)
    sixteen = imaging.decode(tiff(RGBA.astype(np.uint16) * 257, photometric="separated"), "x.tif")
    np.testing.assert_allclose(sixteen / 257, np.asarray(cmyk.convert("RGB")), atol=0.5)


def test_png_and_bmp_modes_are_decoded_as_by_pillow() -> None:
    picture = Image.fromarray(RGB)
    grey, palette = picture.convert("L"), picture.quantize(8)
    for form in ("PNG", "BMP"):
        for image in (palette, grey, picture.convert("1"), picture):
            shown = np.asarray(image.convert("RGB"))
            np.testing.assert_array_equal(imaging.to_rgb8(imaging.decode(encoded(image, form), "x")), shown)
    see_through = encoded(palette, "PNG", transparency=bytes([0, 128]))
    expected = np.asarray(Image.open(io.BytesIO(see_through)).convert("RGBA"))
    np.testing.assert_array_equal(imaging.decode(see_through, "x"), expected)
    keyed = encoded(grey, "PNG", transparency=int(RGB[0, 0, 0]))
    np.testing.assert_array_equal(imaging.decode(keyed, "x"), np.asarray(grey))
    with_alpha = Image.fromarray(RGBA).convert("LA")
    np.testing.assert_array_equal(
        imaging.decode(encoded(with_alpha, "PNG"), "x"), np.asarray(with_alpha.convert("RGBA"))
    )
    two = np.dstack([KINDS["grey16"], KINDS["RGB16"][:, :, 0]])
    np.testing.assert_array_equal(imaging.decode(imagecodecs.png_encode(two), "x"), two[:, :, [0, 0, 0, 1]])


@pytest.mark.parametrize(("content", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES.keys())
def test_a_file_that_is_not_an_image_gives_one_line(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        imaging.decode(content, "TRAIN/A/x.png")
    assert str(error.value).startswith("TRAIN/A/x.png: ")
    assert "\n" not in str(error.value)


ENDINGS = {
    "x.dcm": "DICOM", "x.DICOM": "DICOM", "x.heic": "HEIC", "x.psd": "PSD", "x.svg": "SVG", "x.czi": "CZI",
    "x.ico": "ICO", "x.svs": "whole-slide", "x.ndpi": "whole-slide", "x.mrxs": "whole-slide", "x.cr2": "raw",
}  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), ENDINGS.items())
def test_the_ending_of_a_format_that_is_not_read_names_it(name: str, kind: str) -> None:
    message = str(formats.by_ending(name))
    assert kind in message
    assert "PNG" in message


def test_every_ending_of_a_format_that_pillow_knows_is_either_read_or_named() -> None:
    Image.init()
    decoded = {*imaging.DECODED, "TIFF", "MPO"}
    for ending, form in Image.registered_extensions().items():
        assert (ending in IMAGE_SUFFIXES) == (form in decoded), ending
        assert formats.by_ending(f"x{ending}"), ending
    assert formats.by_ending("notes.txt") is None


PAGES = [RGB, RGB[::-1].copy(), RGB // 2]


def paged(form: str) -> bytes:
    if form == "stack":
        more = b"".join(page.tobytes() for page in PAGES[1:])
        return tiff(RGB, photometric="rgb", description="ImageJ=1.54f\nimages=3\nslices=3\n") + more
    if form in ("TIFF", "16 bits", "float"):
        pages = np.stack(PAGES).astype({"TIFF": np.uint8, "16 bits": np.uint16, "float": np.float32}[form])
        return tiff(pages, photometric="rgb")
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(form, {})
    first, *others = (Image.fromarray(page) for page in PAGES)
    return encoded(first, form, save_all=True, append_images=others, **options)


@pytest.mark.parametrize("form", ["TIFF", "16 bits", "float", "stack", "GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_page_is_read_if_it_is_asked_for(form: str) -> None:
    content = paged(form)
    with pytest.raises(InputError, match=r"x: has 3 pages or frames; .*dataset\.first_page"):
        imaging.decode(content, "x", floats=True)
    assert imaging.has_pages(content)
    first = imaging.decode(content, "x", floats=True, first_page=True)
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) if form in ("GIF", "AVIF") else RGB
    np.testing.assert_array_equal(first[:, :, :3], shown)
    for name in ("x.png", "x.tif"):
        alone = imaging.encode(first, name)
        assert not imaging.has_pages(alone)
        np.testing.assert_array_equal(imaging.decode(alone, name, floats=True), first)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    chunk = kind + data
    return PNG[:33] + len(data).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + PNG[33:]


def test_no_library_prints_its_own_messages() -> None:
    """File descriptor 2, to which C libraries print, stays empty for accepted and for rejected files."""
    odd = [
        with_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile")),
        with_chunk(b"gAMA", bytes(4)),
        with_chunk(b"eXIf", b"no EXIF"),
        PNG[:100] + b"damaged" + PNG[107:],
        PNG[:-1] + b"?",
        encoded(Image.fromarray(RGB), "JPEG")[:-2] + b"more" * 9 + b"\xff\xd9",
        tiff(RGB, photometric="rgb", compression="jpeg")[:-40],
        tiff(np.moveaxis(KINDS["RGB16"], 2, 0), photometric="rgb", planarconfig="separate", compression="lzw"),
        tiff(RGB, photometric="rgb", extratags=[(305, 4, 1, 7, True), (33550, 2, 0, "", True)]),
        *(content for content, _ in BAD_IMAGES.values()),
    ]
    program = (
        "import pickle, sys, logging\n"
        "from wbcsr import imaging\n"
        "from wbcsr.errors import InputError\n"
        "from wbcsr.job import configure_logging\n"
        "configure_logging(None)\n"
        "taken = 0\n"
        "for content in pickle.load(sys.stdin.buffer):\n"
        "    try:\n"
        "        imaging.decode(content, 'x')\n"
        "        taken += 1\n"
        "    except InputError:\n"
        "        pass\n"
        "print(taken)"
    )
    result = run(program, pickle.dumps(odd))
    assert result.stderr == b""
    assert int(result.stdout) >= 5


def test_an_upscaled_image_may_exceed_the_limit_for_input_images() -> None:
    """An image with a side of 4,000 pixels exceeds it after upscaling by four."""
    content = encoded(Image.new("L", (12_000, 9_000), 7), "PNG")
    with pytest.raises(InputError, match="more than the limit"):
        imaging.decode(content, "x.png")
    assert imaging.decode(content, "x.png", whole=True).shape == (9_000, 12_000)


def test_16_bits_and_alpha_become_8_bit_rgb() -> None:
    sixteen = np.array([[0, 257, 65535]], np.uint16)
    np.testing.assert_array_equal(imaging.to_rgb8(sixteen)[:, :, 2], [[0, 1, 255]])
    assert imaging.to_rgb8(np.dstack([RGB, RGB[:, :, 0]])).shape == (5, 7, 3)


def test_range_rescales_16_bit_values() -> None:
    values = np.array([[0, 100, 2000, 4095, 5000]], np.uint16)
    np.testing.assert_array_equal(imaging.stretch(values, (0, 4095)), [[0, 1600, 32007, 65535, 65535]])
    np.testing.assert_array_equal(imaging.stretch(values, (100, 2000)), [[0, 0, 65535, 65535, 65535]])
    with_alpha = np.dstack([values] * 4)
    np.testing.assert_array_equal(imaging.stretch(with_alpha, (0, 4095))[:, :, 3], values)
    assert imaging.stretch(RGB, (0, 4095)) is RGB
    assert imaging.stretch(values, None) is values
