"""TIFF files as arrays: tifffile decodes the samples, and this module converts them to displayed colours.

A TIFF can hold nearly anything, and readers interpret it differently. Files with a single meaning are decoded; all
others are rejected with a reason. The numbers of tags and their values are those of TIFF 6.0 (Adobe, 1992) and its
registered additions.
"""

from __future__ import annotations

import io
import logging
import math
import struct

import imagecodecs
import numpy as np
from PIL import Image
from tifffile import TIFF, TiffFile, TiffPage, imwrite

from wbcsr.errors import InputError
from wbcsr.imaging.formats import SLIDE, not_read

# The first bytes of a TIFF: both byte orders, classic and BigTIFF.
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

LZW, JPEG = 5, 7
COMPRESSIONS = {1: "none", LZW: "LZW", JPEG: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
COMPRESSIONS |= {34926: "Zstandard", 50000: "Zstandard"}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
FLOAT = 3  # of the tag SampleFormat
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
PHOTOMETRIC, ORIENTATION, INK_SET = 262, 274, 332

# tifffile's log does not name the file; this module checks what matters.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def _unpack_lzw(data: bytes, out: int) -> bytes:
    """Return the first `out` bytes of LZW data; libtiff decodes them as a TIFF with one strip of 8-bit samples."""
    tags = {256: out, 257: 1, 258: 8, 259: LZW, PHOTOMETRIC: BLACK_IS_ZERO, 273: 122, 277: 1, 278: 1, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    strip = struct.pack("<4sIH", MAGIC[0], 8, len(tags)) + entries + bytes(4) + data
    return bytes(imagecodecs.tiff_decode(strip, index=0))


# The LZW decoder of imagecodecs 2026.3.6, which tifffile would use, can crash on damaged data.
TIFF.DECOMPRESSORS = {compression: TIFF.DECOMPRESSORS[compression] for compression in COMPRESSIONS} | {LZW: _unpack_lzw}


# Kinds of whole-slide images, as tifffile recognises them.
_SLIDES = ("bif", "ndpi", "philips", "qpi", "scn", "svs", "vista")


def decode(
    content: bytes, name: str, most_pixels: int, floats: bool = False, first_page: bool = False
) -> tuple[np.ndarray, int]:
    """Decode a TIFF's bytes; returns the pixels as stored, not rotated, and the value of the tag Orientation.

    The pixels are an array as `wbcsr.imaging` describes:

    - Samples of 1, 2 and 4 bits are scaled to 8 bits. Samples for which zero is white are inverted.
    - A palette becomes 8-bit RGB: the high bytes of its colours, or the low bytes if all high bytes are zero.
    - CMYK becomes RGB by the formula R = (1 - C)(1 - K), without a colour profile.
    - Grey with alpha becomes RGBA. Colours that were multiplied by their alpha (associated) are divided by it.
    - A fourth sample of RGB without a declared meaning is dropped, as in Pillow.
    - With `floats`, floating-point samples of 16, 32 or 64 bits become float32; they must be grey or RGB, and finite.
    - With `first_page`, the first page of a file with several ones, and the first image of a stack, are decoded.

    Raises InputError if the file is of another kind, is damaged, is a whole-slide image, holds more than one image
    without `first_page`, or claims more than `most_pixels` pixels.
    """
    try:
        with _opened(content) as file:
            page, pages = file.pages.first, len(file.pages)
            if pages > 1 and any(getattr(page, f"is_{kind}") for kind in _SLIDES):
                raise InputError(not_read(*SLIDE))
            if pages > 1 and not first_page:
                raise InputError(has_several(pages))
            if page.sampleformat == FLOAT:
                _check_floats(page, floats)
            else:
                _check_samples(page)
            _check_segments(page, content, most_pixels)
            images = _stacked(file)
            if images > 1 and not first_page:
                raise InputError(has_several(images))
            stored = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # (planes, height, width, samples per plane)
            pixels = np.moveaxis(stored, 0, 2).reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
            orientation = page.tags.valueof(ORIENTATION)
            shown = _floats(pixels) if page.sampleformat == FLOAT else _shown(pixels, page)
            return shown, orientation if isinstance(orientation, int) else 1
    except InputError as error:
        raise InputError(f"{name}: {_line(error)}") from error
    except MemoryError:
        raise
    # Damaged tags make tifffile raise errors of almost any type.
    except Exception as error:
        raise InputError(f"{name}: not a readable TIFF ({_line(error)})") from error


def number_of_pages(content: bytes) -> int:
    """The number of pages, or of images in a stack that is stored as one page, of a file that `decode` decodes."""
    with _opened(content) as file:
        return max(len(file.pages), _stacked(file))


def has_several(images: int) -> str:
    """The reason why a file with several pages or frames cannot be used."""
    return f"has {images} pages or frames; give a single image, or set dataset.first_page to true to use the first"


def _opened(content: bytes) -> TiffFile:
    return TiffFile(io.BytesIO(content), is_ome=False, is_lsm=False, is_ndpi=False, is_scanimage=False)


def _stacked(file: TiffFile) -> int:
    """The number of images of the first page: ImageJ and others may mention the others only in its description."""
    return int(file.series[0].size // file.pages.first.size)


def _line(error: Exception) -> str:
    """Return an error's message as one printable line; it may contain values of damaged tags."""
    return "".join(filter(str.isprintable, " ".join(str(error).split())))[:200]


def encode(pixels: np.ndarray) -> bytes:
    """Encode an array (see `wbcsr.imaging`) as a TIFF with lossless compression."""
    target = io.BytesIO()
    imwrite(
        target,
        pixels,
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if pixels.shape[2:] == (4,) else None,
        compression="adobe_deflate",
        metadata=None,
    )
    return target.getvalue()


def _check_floats(page: TiffPage, floats: bool) -> None:
    """Raise InputError if floating-point samples are of a kind that `decode` does not describe."""
    if not floats:
        raise InputError(
            f"has {page.dtype} samples; set dataset.range to the values that become black and white, or convert it to "
            "8 or 16 bit"
        )
    compression = COMPRESSIONS.get(page.compression)
    samples = {BLACK_IS_ZERO: 1, RGB: 3}.get(page.photometric)
    plain = compression in ("none", "PackBits")
    if compression in (None, "JPEG") or page.predictor not in ((1,) if plain else (1, 3)) or page.imagedepth != 1:
        raise InputError(f"has {page.dtype} samples compressed as {_name(page.compression)}; save it uncompressed")
    if page.samplesperpixel != samples or page.dtype is None:
        raise InputError(f"has {page.samplesperpixel} channels of {page.dtype} samples; save it as RGB or grey")


def _floats(stored: np.ndarray) -> np.ndarray:
    """Convert floating-point samples (H, W, 1 or 3) to float32, (H, W) or (H, W, 3)."""
    pixels = stored.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise InputError("has values that are not finite numbers; replace them")
    return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels


def _check_samples(page: TiffPage) -> None:
    """Raise InputError if the samples are of a kind that `decode` does not describe."""
    bits, samples, photometric = page.bitspersample, page.samplesperpixel, page.photometric
    if page.sampleformat != 1 or bits not in (1, 2, 4, 8, 16):
        kind = f"{bits}-bit" if page.sampleformat == 1 or page.dtype is None else page.dtype
        raise InputError(f"has {kind} samples; convert it to 8 or 16 bit")
    compression = COMPRESSIONS.get(page.compression)
    if compression is None:
        raise InputError(f"is compressed as {_name(page.compression)}; save it uncompressed or with LZW")
    if PHOTOMETRIC not in page.tags:
        raise InputError("does not say what its samples are (PhotometricInterpretation); save it as RGB or grey")
    if photometric not in COLOURS or page.tags.valueof(INK_SET, 1) != 1:
        raise InputError(f"has samples of the kind {_name(photometric)}; save it as RGB or grey")
    # Some readers apply these predictors, and some ignore them.
    if page.predictor not in (1, 2) or (page.predictor == 2 and compression in ("none", "PackBits")):
        raise InputError(f"has predictor {page.predictor} with compression {compression}; save it without")
    extra = samples - COLOURS[photometric]
    alphas = {RGB: (UNSPECIFIED, ASSOCIATED, UNASSOCIATED), BLACK_IS_ZERO: (ASSOCIATED, UNASSOCIATED)}
    if not (extra == 0 or (extra == 1 and _extra(page) in alphas.get(photometric, ()))):
        raise InputError(
            f"has {samples} channels ({_name(photometric)}), and how to show them is not known; save it as RGB or grey"
        )
    if page.imagedepth != 1:
        raise InputError(f"is a stack of {page.imagedepth} images; give a single image")
    deepest = 8 if photometric == PALETTE or compression == "JPEG" else 16
    least = 1 if samples == 1 and compression not in ("LZW", "JPEG") else 8
    # Not all readers can decode these as JPEG.
    odd = compression == "JPEG" and (photometric == PALETTE or samples == 2)
    if (
        not least <= bits <= deepest
        or odd
        or (photometric == YCBCR and (compression, page.planarconfig) != ("JPEG", 1))
    ):
        raise InputError(
            f"has {samples} samples of {bits} bits ({_name(photometric)}) compressed as {compression}; save it as RGB"
        )


def _name(value: object) -> object:
    """Return the name of a tag's value, or the value itself if it has none."""
    return getattr(value, "name", value)


def _extra(page: TiffPage) -> int:
    """Return the meaning of the one sample in addition to the colours."""
    return int(page.extrasamples[0]) if len(page.extrasamples) == 1 else UNSPECIFIED


def _check_segments(page: TiffPage, content: bytes, most_pixels: int) -> None:
    """Raise InputError if strips or tiles claim too many pixels, are missing, or are truncated."""
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    across = math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)
    if max(across * height * width, page.imagelength * page.imagewidth) > most_pixels:
        raise InputError(
            f"{page.imagewidth}×{page.imagelength} pixels, in strips or tiles of {width}×{height}, are more than "
            f"the limit of {most_pixels:,}"
        )
    segments = across * (page.samplesperpixel if page.planarconfig == 2 else 1)
    if not len(page.dataoffsets) == len(page.databytecounts) == segments:
        raise InputError(f"not a readable TIFF (does not list its {segments} strips or tiles)")
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not 0 < offset < offset + count <= len(content):
            raise InputError("not a readable TIFF (lacks the data of a strip or tile)")
        if page.compression == JPEG:
            _check_jpeg(content[offset : offset + count], height * width)


def _check_jpeg(segment: bytes, most_pixels: int) -> None:
    """Raise InputError if a strip or tile is too large, or truncated (the decoder would fill it with grey)."""
    with Image.open(io.BytesIO(segment), formats=["JPEG"]) as header:
        if math.prod(header.size) > most_pixels or not segment.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise InputError("not a readable TIFF (damaged JPEG data)")


def _shown(stored: np.ndarray, page: TiffPage) -> np.ndarray:
    """Convert samples (H, W, S) to an array as described in `wbcsr.imaging`."""
    bits, extra = page.bitspersample, page.samplesperpixel - COLOURS[page.photometric]
    if page.photometric == PALETTE:
        if page.colormap is None or page.colormap.shape != (3, 2**bits):
            raise InputError(f"not a readable TIFF (its palette does not have {2**bits} colours)")
        palette = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
        return palette.T.astype(np.uint8)[stored[:, :, 0].astype(np.uint8)]
    # tifffile may return the byte order of the file.
    pixels: np.ndarray = stored.astype(np.uint16 if bits == 16 else np.uint8)
    top = int(np.iinfo(pixels.dtype).max)
    pixels *= top // (2**bits - 1)
    if page.photometric == WHITE_IS_ZERO:
        pixels = top - pixels
    elif page.photometric == CMYK:
        ink, light = pixels[:, :, :3].astype(np.int64), top - pixels[:, :, 3:].astype(np.int64)
        # Rounded as in Pillow.
        return (light - (ink * light + top // 2) // top).astype(pixels.dtype)
    if extra == 0 or _extra(page) == UNSPECIFIED:
        return pixels[:, :, 0] if pixels.shape[2] == 1 else pixels[:, :, :3]  # tifffile has converted YCbCr to RGB
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    if _extra(page) == ASSOCIATED:
        divided = colours.astype(np.int64) * top // np.maximum(alpha, 1)
        colours = np.where(alpha > 0, divided.clip(0, top), colours).astype(pixels.dtype)
    return np.dstack([np.broadcast_to(colours, (*colours.shape[:2], 3)), alpha])
