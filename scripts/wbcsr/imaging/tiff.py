"""TIFF files as arrays: tifffile decodes the samples, and here they become what they show.

TIFF holds nearly anything, and readers differ in what they make of it. Taken is what is understood in one way alone;
all else is refused with its reason. The numbers of tags and their values are those of TIFF 6.0 (Adobe, 1992) and of
its registered additions.
"""

from __future__ import annotations

import io
import logging
import math

import numpy as np
from PIL import Image
from tifffile import TiffFile, TiffPage

from wbcsr.errors import InputError

# How a TIFF begins: either byte order, classic and BigTIFF.
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

JPEG = 7
COMPRESSIONS = {1: "none", 5: "LZW", JPEG: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
COMPRESSIONS |= {34926: "Zstandard", 50000: "Zstandard"}
# A predictor means the same to all readers for these alone; some ignore it elsewhere.
PREDICTED = {"LZW", "deflate", "Zstandard"}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
PHOTOMETRIC, ORIENTATION, INK_SET = 262, 274, 332

# It logs what it works around, without the file's name; what matters of it is checked here.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def decode(content: bytes, name: str, most_pixels: int) -> tuple[np.ndarray, object]:
    """Decode a TIFF's bytes, not turned; returns an array as `wbcsr.imaging` has them, and the value of Orientation.

    - Samples of 1, 2 and 4 bits are scaled to 8; where white is zero, they are inverted.
    - A palette gives RGB of 8 bits: the high bytes of its colours, or the low ones where no high byte is set.
    - CMYK gives RGB by (1 - C)(1 - K) and so on, without a colour profile.
    - Grey and alpha give RGBA. Where the alpha is associated, the colours were multiplied by it and are divided.
    - A fourth sample of RGB whose meaning is not given is left out, as Pillow does.

    InputError where it is refused or damaged, holds more than one image, or promises more than `most_pixels`.
    """
    try:
        with TiffFile(io.BytesIO(content), is_ome=False, is_lsm=False, is_ndpi=False, is_scanimage=False) as file:
            frames = len(file.pages)
            if frames > 1:
                raise InputError(f"{name}: has {frames} frames; give a single image")
            page = file.pages.first
            _check(page, name)
            _check_segments(page, content, name, most_pixels)
            # Some programs keep a stack in one frame, and say so in its description alone.
            images = file.series[0].size // page.size
            if images > 1:
                raise InputError(f"{name}: is a stack of {images} images; give a single image")
            stored = page.asarray(squeeze=False, maxworkers=1)[:, 0]  # planes, height, width, samples of a plane
            pixels = np.moveaxis(stored, 0, 2).reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
            return _shown(pixels, page, name), page.tags.valueof(ORIENTATION, 1)
    except (InputError, MemoryError):
        raise
    # tifffile checks little before it computes: damaged tags make it raise anything.
    except Exception as error:
        raise InputError(f"{name}: not a readable TIFF ({' '.join(str(error).split())[:120]})") from error


def _check(page: TiffPage, name: str) -> None:
    """InputError where the samples are not of a kind that `decode` describes."""
    bits, samples, compression = page.bitspersample, page.samplesperpixel, COMPRESSIONS.get(page.compression)
    if page.sampleformat != 1 or bits not in (1, 2, 4, 8, 16):
        kind = str(page.dtype) if page.sampleformat != 1 and page.dtype else f"{bits}-bit"
        raise InputError(f"{name}: has {kind} samples; convert it to 8 or 16 bit")
    if compression is None:
        kind = getattr(page.compression, "name", page.compression)
        raise InputError(f"{name}: is compressed as {kind}; save it uncompressed or with LZW")
    if PHOTOMETRIC not in page.tags or page.photometric not in COLOURS or page.tags.valueof(INK_SET, 1) != 1:
        kind = getattr(page.photometric, "name", page.photometric) if PHOTOMETRIC in page.tags else "nothing known"
        raise InputError(f"{name}: its samples are {kind}; save it as RGB or grey")
    if page.photometric == YCBCR and (compression != "JPEG" or page.planarconfig != 1):
        raise InputError(f"{name}: its samples are YCbCr without JPEG; save it as RGB")
    if page.predictor not in (1, 2) or (page.predictor == 2 and compression in ("none", "PackBits")):
        raise InputError(f"{name}: has predictor {page.predictor} with compression {compression}; save it without")
    deep = bits == 16 and (compression == "JPEG" or page.photometric == PALETTE)
    flat = bits < 8 and (compression == "JPEG" or page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE))
    if deep or flat or (compression == "JPEG" and page.photometric == PALETTE):
        kind = getattr(page.photometric, "name", page.photometric)
        raise InputError(f"{name}: has {bits}-bit samples as {kind}, compressed as {compression}; save it as 8-bit RGB")
    extra = samples - COLOURS[page.photometric]
    if extra == 1 and bits >= 8 and page.photometric in (RGB, BLACK_IS_ZERO):
        known = _extra(page) in ((ASSOCIATED, UNASSOCIATED, UNSPECIFIED) if page.photometric == RGB else (1, 2))
    else:
        known = extra == 0
    if not known or page.imagedepth != 1:
        kind = getattr(page.photometric, "name", page.photometric)
        raise InputError(
            f"{name}: has {samples} samples a pixel, as {kind} with {extra} more that are no alpha; save what is to be "
            "seen as RGB or grey"
        )


def _extra(page: TiffPage) -> int:
    """What the one sample more than the colours is."""
    return int(page.extrasamples[0]) if len(page.extrasamples) == 1 else UNSPECIFIED


def _check_segments(page: TiffPage, content: bytes, name: str, most_pixels: int) -> None:
    """InputError where strips or tiles promise too many pixels, are not all there, or are cut short."""
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    across = math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)
    if max(across * height * width, page.imagelength * page.imagewidth) > most_pixels:
        raise InputError(
            f"{name}: {page.imagewidth}×{page.imagelength} pixels, in {across} strips or tiles of {width}×{height}, are "
            f"more than the limit of {most_pixels:,}"
        )
    segments = across * (page.samplesperpixel if page.planarconfig == 2 else 1)
    if not len(page.dataoffsets) == len(page.databytecounts) == segments:
        raise InputError(f"{name}: not a readable TIFF (lists other than its {segments} strips or tiles)")
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if not 0 < offset < offset + count <= len(content):
            raise InputError(f"{name}: not a readable TIFF (lacks the data of a strip or tile)")
        if page.compression == JPEG:
            _check_jpeg(content[offset : offset + count], name, height * width)


def _check_jpeg(segment: bytes, name: str, most_pixels: int) -> None:
    """InputError where a strip or tile is cut short, for which the decoder would make up grey, or is too large."""
    with Image.open(io.BytesIO(segment), formats=["JPEG"]) as header:
        if math.prod(header.size) > most_pixels or not segment.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise InputError(f"{name}: not a readable TIFF (damaged JPEG data)")


def _shown(pixels: np.ndarray, page: TiffPage, name: str) -> np.ndarray:
    """Samples (H, W, S) as an array of the kinds of `wbcsr.imaging`."""
    bits = page.bitspersample
    if page.photometric == PALETTE:
        if page.colormap is None or page.colormap.shape != (3, 2**bits):
            raise InputError(f"{name}: not a readable TIFF (its palette is not one of {2**bits} colours)")
        colours = page.colormap >> 8 if page.colormap.max() > 255 else page.colormap
        return np.ascontiguousarray(colours.astype(np.uint8).T[pixels[:, :, 0].astype(np.uint8)])
    top = 65535 if bits == 16 else 255
    # Not in the file's byte order.
    pixels = pixels.astype(np.uint16 if bits == 16 else np.uint8) * (255 // (2**bits - 1) if bits < 8 else 1)
    if page.photometric == WHITE_IS_ZERO:
        pixels = top - pixels
    elif page.photometric == CMYK:
        ink, light = pixels[:, :, :3].astype(np.int64), top - pixels[:, :, 3:].astype(np.int64)
        # As Pillow rounds.
        return (light - (ink * light + top // 2) // top).clip(0).astype(pixels.dtype)
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    if page.photometric == RGB and (pixels.shape[2] == 3 or _extra(page) == UNSPECIFIED):
        return pixels[:, :, :3]
    if page.photometric == YCBCR:
        return pixels  # RGB by now
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1:]
    if _extra(page) == ASSOCIATED:
        divided = (colours.astype(np.int64) * top) // np.maximum(alpha, 1)
        colours = np.where(alpha > 0, divided.clip(0, top), colours).astype(pixels.dtype)
    return np.dstack([*(colours[:, :, min(band, colours.shape[2] - 1)] for band in range(3)), alpha])
