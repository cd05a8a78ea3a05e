"""Differential test of the image decoder: files with all options, compared with the library that wrote them.

`python tests/fuzz/differential.py <format or all> <seconds>` first writes files that cover every pair of options that
the writer allows, then random ones for the given time (0 seconds: only the first). For each file it is known whether it
must be rejected, and otherwise which pixels it shows: those that were written, or, after lossy compression, those that
the writer's library decodes. Our decoder must return exactly the same pixels, because Pillow, OpenCV and imagecodecs
use the same libjpeg-turbo and libwebp.

Prints the number of files. If a file is decoded differently, accepted although it must be rejected, or rejected
although it is valid, it is kept in the working folder as differs-<hash>.<format>, its options are printed, and the exit
status is 1.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from wbcsr.errors import InputError
from wbcsr.imaging import decode

Options = dict[str, Any]
SIZES = [(1, 1), (5, 7), (16, 16), (33, 70)]
COLOURS = {"minisblack": 1, "miniswhite": 1, "rgb": 3, "palette": 1, "separated": 4, "ycbcr": 3}
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class NotWritableError(Exception):
    """The writer cannot write files with these options."""


class Refused:
    """The expected result for a file that must be rejected."""


Written = tuple[bytes, "np.ndarray | Refused"]


@dataclass(frozen=True)
class Format:
    """A file format: the values of each option, and a function that writes a file and returns the expected result.

    Most files use only the `usual` values of an option, so that most files are valid.
    """

    options: dict[str, list[Any]]
    write: Callable[[Options, np.random.Generator], Written]
    usual: dict[str, list[Any]] = field(default_factory=dict)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels in upright orientation, turned channel by channel with Pillow."""
    if orientation not in TURNED:
        return pixels
    bands = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else [pixels]
    upright = [np.asarray(Image.fromarray(band.astype(np.int32)).transpose(TURNED[orientation])) for band in bands]
    return (np.dstack(upright) if pixels.ndim == 3 else upright[0]).astype(pixels.dtype)


def smooth(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, top: int) -> np.ndarray:
    """Random samples up to `top`, with runs of equal values, which some compressions encode separately."""
    values = rng.integers(0, top + 1, shape)
    values[:, : shape[1] // 2] = values[:1, :1]
    return values.astype(dtype)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def as_shown(image: Image.Image) -> np.ndarray:
    """The image as Pillow shows it: grey, RGB or RGBA, upright."""
    mode = "L" if image.mode in ("1", "L") else "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(ImageOps.exif_transpose(image).convert(mode))


# TIFF files written by tifffile.

SAMPLES = {
    "1-bit": (np.uint8, 1), "2-bit": (np.uint8, 2), "4-bit": (np.uint8, 4), "8-bit": (np.uint8, 8),
    "12-bit": (np.uint16, 12), "16-bit": (np.uint16, 16), "32-bit": (np.uint32, 32),
    "int16": (np.int16, 16), "float32": (np.float32, 32),
}  # fmt: skip
LOSSLESS = ["none", "lzw", "deflate", "adobe_deflate", "packbits", "zstd"]


def write_tiff(o: Options, rng: np.random.Generator) -> Written:
    dtype, bits = SAMPLES[o["samples"]]
    extra = o["extra"]
    count = COLOURS[o["photometric"]] + len(extra)
    height, width = o["size"]
    data = smooth(rng, (height, width, count), dtype, min(2**bits, 2**31) - 1)
    colormap = rng.integers(0, 65536, (3, 2 ** min(bits, 16)), dtype=np.uint16)
    stored = data[:, :, 0] if count == 1 else data if o["planes"] == "contig" else data.transpose(2, 0, 1)
    options: Options = {
        "photometric": o["photometric"], "byteorder": o["byteorder"], "bigtiff": o["bigtiff"], "metadata": None,
        "compression": None if o["compression"] == "none" else o["compression"],
        "extratags": [(274, 3, 1, o["orientation"], True)],
    }  # fmt: skip
    if o["predictor"]:
        options["predictor"] = True
    if bits not in (8, 16, 32):
        options["bitspersample"] = bits
    if count > 1:
        options["planarconfig"] = o["planes"]
    if extra:
        options["extrasamples"] = extra
    if o["photometric"] == "palette":
        options["colormap"] = colormap
    options |= {"rowsperstrip": 3} if o["layout"] == "strips" else {}
    options |= {"tile": (o["layout"],) * 2} if isinstance(o["layout"], int) else {}
    target = io.BytesIO()
    try:
        tifffile.imwrite(target, np.ascontiguousarray(stored), **options)
    # tifffile reports unsupported options by exceptions of many types.
    except Exception as error:
        raise NotWritableError(str(error)) from error
    content = target.getvalue()
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        if (page.imagelength, page.imagewidth, page.samplesperpixel) != data.shape:
            raise NotWritableError("it takes these samples for something else")
    if refused_tiff(o, bits, count):
        return content, Refused()
    if o["compression"] == "jpeg":
        read = tifffile.imread(io.BytesIO(content))
        data = np.atleast_3d(read if read.ndim == 2 or o["planes"] == "contig" else read.transpose(1, 2, 0))
    return content, turned(shown(data, o, bits, colormap), o["orientation"])


def refused_tiff(o: Options, bits: int, count: int) -> bool:
    photometric, extra, compression = o["photometric"], o["extra"], o["compression"]
    return (
        o["samples"] not in ("1-bit", "2-bit", "4-bit", "8-bit", "16-bit")
        or (bits < 8 and (count > 1 or compression == "lzw" or photometric in ("rgb", "separated", "ycbcr")))
        or (photometric == "palette" and bits > 8)
        or compression not in [*LOSSLESS, "jpeg"]
        or (compression == "jpeg" and (bits != 8 or photometric == "palette" or count == 2))
        or (photometric == "ycbcr" and (compression != "jpeg" or o["planes"] == "separate"))
        or (o["predictor"] and compression in ("none", "packbits"))
        or not (
            not extra
            or (photometric == "rgb" and len(extra) == 1)
            or (photometric == "minisblack" and extra in (["assocalpha"], ["unassalpha"]))
        )
    )


def shown(data: np.ndarray, o: Options, bits: int, colormap: np.ndarray) -> np.ndarray:
    """The image that samples (H, W, S) show according to the TIFF 6.0 specification."""
    top = 2**bits - 1
    photometric, extra = o["photometric"], o["extra"]
    if photometric == "palette":
        return np.dstack([colormap[band][data[:, :, 0]] // 256 for band in range(3)]).astype(np.uint8)
    if photometric == "separated" and bits == 8:
        return np.asarray(Image.fromarray(data, "CMYK").convert("RGB"))
    if photometric == "separated":
        part = data / top
        exact = (1 - part[:, :, :3]) * (1 - part[:, :, 3:]) * top
        return np.rint(exact).astype(np.uint16)
    if bits < 8:
        data = (data * (255 // top)).astype(np.uint8)
        top = 255
    if photometric == "miniswhite":
        data = (top - data).astype(data.dtype)
    if not extra or extra == ["unspecified"]:
        return data[:, :, 0] if data.shape[2] == 1 else data[:, :, :3]
    alpha = data[:, :, -1]
    colours = [data[:, :, min(band, data.shape[2] - 2)] for band in range(3)]
    if extra == ["assocalpha"]:
        colours = [
            np.where(alpha, np.minimum(top, band.astype(int) * top // np.maximum(alpha, 1)), band) for band in colours
        ]
    return np.dstack([*colours, alpha]).astype(data.dtype)


TIFF = Format(
    {
        "samples": list(SAMPLES),
        "photometric": list(COLOURS),
        "extra": [[], ["unspecified"], ["assocalpha"], ["unassalpha"], ["unspecified", "unassalpha"]],
        "planes": ["contig", "separate"],
        "compression": [*LOSSLESS, "jpeg", "webp", "lzma", "jpeg2000"],
        "layout": ["one strip", "strips", 16, 32, 64],
        "predictor": [False, True],
        "byteorder": ["<", ">"],
        "bigtiff": [False, True],
        "orientation": list(range(1, 9)),
        "size": SIZES,
    },
    write_tiff,
    {"samples": ["8-bit", "16-bit"], "extra": [[]], "compression": ["lzw", "deflate", "zstd", "jpeg"]},
)


# TIFF, BMP, PNG, JPEG and WebP files written by Pillow.


def picture(mode: str, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    shape = {"RGB": (3,), "RGBA": (4,), "LA": (2,), "CMYK": (4,)}.get(mode, ())
    if mode == "I;16":
        return Image.fromarray(smooth(rng, size, np.uint16, 65535))
    pixels = smooth(rng, (*size, *shape), np.uint8, 255)
    if mode == "1":
        return Image.fromarray(pixels).convert("1")
    if mode == "P":
        image = Image.fromarray(pixels % 16, "P")
        image.putpalette(rng.integers(0, 256, 48, dtype=np.uint8).tobytes())
        return image
    return Image.fromarray(pixels, mode)


def write_pillow_tiff(o: Options, rng: np.random.Generator) -> Written:
    image = picture(o["mode"], o["size"], rng)
    options = {} if o["compression"] is None else {"compression": o["compression"]}
    try:
        content = saved(image, "TIFF", tiffinfo={274: o["orientation"]}, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise NotWritableError(str(error)) from error
    if o["compression"] == "group4" or (o["mode"], o["compression"]) in (("LA", "jpeg"), ("1", "tiff_lzw")):
        return content, Refused()
    read = Image.open(io.BytesIO(content))
    if o["mode"] == "I;16":
        return content, turned(np.asarray(image), o["orientation"])
    return content, as_shown(read)


PILLOW_TIFF = Format(
    {
        "mode": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"],
        "compression": [None, "raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "group4", "jpeg"],
        "orientation": list(range(1, 9)),
        "size": SIZES,
    },
    write_pillow_tiff,
    {"compression": [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"]},
)


def write_png(o: Options, rng: np.random.Generator) -> Written:
    mode, deep = o["mode"], o["deep"]
    if deep:
        # imagecodecs writes these and chooses the filter itself; Pillow has no mode for them.
        shape = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}.get(mode)
        if shape is None or o["transparent"] or o["orientation"] != 1 or o["profile"]:
            raise NotWritableError("imagecodecs")
        pixels = smooth(rng, (*o["size"], *shape), np.uint16, 65535)
        content = imagecodecs.png_encode(pixels, level=o["level"])
        return content, np.dstack([pixels[:, :, [0, 0, 0, 1]]]) if mode == "LA" else pixels
    image = picture(mode, o["size"], rng)
    options: Options = {"compress_level": o["level"]}
    if o["transparent"]:
        if mode not in ("P", "RGB"):
            raise NotWritableError("a grey with one transparent level is grey, see test_imaging")
        options["transparency"] = bytes([0, 128, 255]) if mode == "P" else image.getpixel((0, 0))
    if o["orientation"] != 1:
        options["exif"] = exif(o["orientation"])
    if o["profile"]:
        options["icc_profile"] = b"no profile"
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add(b"gAMA", struct.pack(">I", 100_000))
    content = saved(image, "PNG", **options)
    return content, as_shown(Image.open(io.BytesIO(content)))


PNG = Format(
    {
        "mode": ["1", "L", "LA", "P", "RGB", "RGBA"],
        "deep": [False, True],
        "transparent": [False, True],
        "level": [0, 1, 9],
        "orientation": list(range(1, 9)),
        "profile": [False, True],
        "size": SIZES,
    },
    write_png,
)


def write_jpeg(o: Options, rng: np.random.Generator) -> Written:
    image = picture(o["mode"], o["size"], rng)
    options: Options = {key: o[key] for key in ("quality", "progressive", "optimize", "subsampling", "keep_rgb")}
    if o["restart"]:
        options["restart_marker_rows"] = 1
    if o["second"]:
        options |= {"save_all": True, "append_images": [picture(o["mode"], (5, 5), rng)]}
    try:
        content = saved(image, "MPO" if o["second"] else "JPEG", exif=exif(o["orientation"]), **options)
    except (OSError, ValueError) as error:
        raise NotWritableError(str(error)) from error
    return content + o["behind"], as_shown(Image.open(io.BytesIO(content)))


JPEG = Format(
    {
        "mode": ["L", "RGB", "CMYK"],
        "quality": [1, 50, 100],
        "progressive": [False, True],
        "optimize": [False, True],
        "subsampling": [0, 1, 2],
        "keep_rgb": [False, True],
        "restart": [False, True],
        "second": [False, True],
        "behind": [b"", b"more"],
        "orientation": list(range(1, 9)),
        "size": SIZES,
    },
    write_jpeg,
)


def write_bmp(o: Options, rng: np.random.Generator) -> Written:
    height, width = o["size"]
    if o["kind"] in ("1", "L", "P", "RGB", "RGBA"):
        image = picture(o["kind"], o["size"], rng)
        content = saved(image, "BMP")
        pixels = np.asarray(image.convert("L" if o["kind"] in ("1", "L") else "RGB"))
        depth = content[28]
        body = content[int.from_bytes(content[10:14], "little") :]
    else:
        # Variants that no writer here supports: 16 bits per pixel (5, 5 and 5 bits, or bit masks) and run-length
        # encoding.
        depth = 8 if o["kind"] == "RLE8" else 16
        values = smooth(rng, (height, width), np.uint8 if depth == 8 else np.uint16, 2 ** min(depth, 15) - 1)
        palette = rng.integers(0, 256, (256, 4), dtype=np.uint8) if depth == 8 else np.zeros((0, 4), np.uint8)
        masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F) if o["kind"] == "565" else b""
        if depth == 8:
            runs = (b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in values[::-1])
            body, pixels = b"".join(runs) + b"\0\1", palette[:, 2::-1][values]
        else:
            rows = (row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in values[::-1])
            body = b"".join(rows)
            places = ((11, 31), (5, 63), (0, 31)) if masks else ((10, 31), (5, 31), (0, 31))
            pixels = np.dstack([(values >> place & most) * 255 // most for place, most in places]).astype(np.uint8)
        compression = {"RLE8": 1, "565": 3, "555": 0}[o["kind"]]
        before = masks + palette.tobytes()
        start = 54 + len(before)
        content = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
        content += struct.pack("<IiiHHIIiiII", 40, width, height, 1, depth, compression, len(body), 1, 1, 0, 0)
        content += before + body
    if o["top down"]:
        if o["kind"] == "RLE8":
            raise NotWritableError("runs go upwards")
        stride = (width * depth + 31) // 32 * 4
        upside = b"".join(body[start : start + stride] for start in range(0, stride * height, stride)[::-1])
        content = content[:22] + struct.pack("<i", -height) + content[26 : len(content) - len(body)] + upside
    return content, pixels


BMP = Format(
    {"kind": ["1", "L", "P", "RGB", "RGBA", "555", "565", "RLE8"], "top down": [False, True], "size": SIZES}, write_bmp
)


def write_webp(o: Options, rng: np.random.Generator) -> Written:
    image = picture(o["mode"], o["size"], rng)
    options: Options = {key: o[key] for key in ("lossless", "quality", "method", "exact")}
    if o["orientation"] != 1:
        options["exif"] = exif(o["orientation"])
    if o["frames"] > 1:
        content = saved(image, "WEBP", save_all=True, append_images=[picture(o["mode"], o["size"], rng)], **options)
        return content, Refused()
    content = saved(image, "WEBP", **options)
    return content, turned(imagecodecs.webp_decode(content), o["orientation"])


WEBP = Format(
    {
        "mode": ["RGB", "RGBA"],
        "lossless": [False, True],
        "quality": [1, 80, 100],
        "method": [0, 4],
        "exact": [False, True],
        "orientation": list(range(1, 9)),
        "frames": [1, 2],
        "size": SIZES,
    },
    write_webp,
    {"frames": [1]},
)

FORMATS = {"tiff": TIFF, "pillow-tiff": PILLOW_TIFF, "png": PNG, "jpeg": JPEG, "bmp": BMP, "webp": WEBP}
# Number of attempts to write a valid file with a pair of options before the pair counts as impossible.
TRIES = 25


def pairs_of(options: Options) -> set[tuple[str, str, str, str]]:
    named = sorted((name, repr(value)) for name, value in options.items())
    return {(*one, *other) for one, other in itertools.combinations(named, 2)}


def drawn(form: Format, chance: random.Random, **fixed: Any) -> Options:
    usual = {name: form.usual.get(name, []) if chance.random() < 0.9 else [] for name in form.options}
    return {name: chance.choice(usual[name] or values) for name, values in form.options.items()} | fixed


def covering(form: Format, chance: random.Random) -> Iterator[Options | None]:
    """Options that cover each pair of values in a valid file, if there is one; `send` reports if a file was valid."""
    missing = [
        {one: first, other: second}
        for one, other in itertools.combinations(form.options, 2)
        for first, second in itertools.product(form.options[one], form.options[other])
    ]
    covered: set[tuple[str, str, str, str]] = set()
    for pair in missing:
        for _ in range(TRIES):
            if pairs_of(pair) <= covered:
                break
            options = drawn(form, chance, **pair)
            if (yield options):
                covered |= pairs_of(options)


@contextmanager
def errors_kept() -> Iterator[list[bytes]]:
    """Capture stderr, also that of C libraries; after the block, the list holds the captured bytes, if any."""
    kept: list[bytes] = []
    with tempfile.TemporaryFile() as printed:
        before = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(before, 2)
            os.close(before)
            printed.seek(0)
            kept += filter(None, [printed.read()])


def judge(content: bytes, expected: np.ndarray | Refused) -> str | None:
    """Describe the error of our decoder for a file; None if there is none."""
    try:
        pixels = decode(content, "file")
    except InputError as error:
        return None if isinstance(expected, Refused) else f"refused: {error}"
    if isinstance(expected, Refused):
        return f"taken as {pixels.shape} {pixels.dtype}"
    if (pixels.shape, pixels.dtype) != (expected.shape, expected.dtype):
        return f"{pixels.shape} {pixels.dtype}, not {expected.shape} {expected.dtype}"
    most = int(np.abs(pixels.astype(int) - expected).max())
    return f"differs by {most}" if most else None


def try_out(name: str, options: Options, seed: int) -> str:
    """The result for a file: "alike", "refused", "not written", or a description of the error."""
    form = FORMATS[name]
    try:
        with errors_kept():
            content, expected = form.write(options, np.random.default_rng(seed))
    except NotWritableError:
        return "not written"
    with errors_kept() as kept:
        wrong = judge(content, expected)
    wrong = f"printed {kept[0]!r}" if kept else wrong
    if wrong is None:
        return "refused" if isinstance(expected, Refused) else "alike"
    file = Path(f"differs-{hashlib.sha256(content).hexdigest()[:12]}.{name.rpartition('-')[2]}")
    file.write_bytes(content)
    return f"{file}: {wrong}; {options}"


def run(name: str, seconds: float) -> bool:
    """Test files of a format; returns whether all results were as expected."""
    form, chance, counts = FORMATS[name], random.Random(name), Counter[str]()
    seeds = itertools.count()

    def one(options: Options) -> bool:
        outcome = try_out(name, options, next(seeds))
        if outcome not in ("alike", "refused", "not written"):
            print(outcome)
            outcome = "wrong"
        counts[outcome] += 1
        return outcome == "alike"

    pairs = covering(form, chance)
    options = next(pairs, None)
    while options is not None:
        try:
            options = pairs.send(one(options))
        except StopIteration:
            options = None
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        one(drawn(form, chance))
    files = sum(counts.values()) - counts["not written"]
    print(f"{name}: {files} files, {counts['alike']} alike, {counts['refused']} refused, {counts['wrong']} wrong")
    return not counts["wrong"]


def main() -> None:
    chosen, seconds = sys.argv[1:]
    names = list(FORMATS) if chosen == "all" else [chosen]
    right = [run(name, float(seconds) / len(names)) for name in names]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
