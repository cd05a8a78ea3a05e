"""Files that are not images or not accepted ones: their content, and the message for each."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
import tifffile
from PIL import Image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, metadata=None, **options)
    return buffer.getvalue()


def with_tags(content: bytes, **values: int) -> bytes:
    """A TIFF with changed values of some tags."""
    for name, value in values.items():
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            tag = file.pages.first.tags[name]
        size = {3: 2, 4: 4}[int(tag.dtype)]
        content = content[: tag.valueoffset] + value.to_bytes(size, "little") + content[tag.valueoffset + size :]
    return content


def with_type(content: bytes, name: str, kind: int, value: bytes) -> bytes:
    """A TIFF with a tag of another type and four bytes as its value."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        start = file.pages.first.tags[name].offset
    entry = content[start : start + 2] + kind.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value
    return content[:start] + entry + content[start + 12 :]


def animated(mode: str, form: str) -> bytes:
    return encoded(Image.new(mode, (4, 4)), form, save_all=True, append_images=[Image.new(mode, (4, 4), 9)])


PNG = encoded(Image.fromarray(RGB).resize((64, 64)), "PNG")


def slide(description: str, **options: Any) -> bytes:
    """A pyramid of tiles, as slide scanners write it."""
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as writer:
        for side in (64, 32, 16):
            pixels = np.zeros((side, side, 3), np.uint8)
            layout = {"photometric": "rgb", "tile": (16, 16), "metadata": None}
            writer.write(pixels, description=description, **layout, **options)
    return target.getvalue()


NDPI = {"extratags": [(271, 2, 0, "Hamamatsu", True), (65420, 4, 1, 1, True)]}


def png_announcing(side: int) -> bytes:
    """A PNG with a valid header that announces this many pixels per side."""
    header = b"IHDR" + side.to_bytes(4) * 2 + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4) + PNG[33:]


# PNG in the variant of Apple's tools for iPhones, whose pixels other readers cannot decode.
CGBI = b"\0\0\0\4CgBI" + bytes(4) + zlib.crc32(b"CgBI" + bytes(4)).to_bytes(4)
TIFF = tiff(RGB, photometric="rgb", compression="deflate")
TILED = tiff(RGB, photometric="rgb", compression="deflate", tile=(16, 16))
BAD_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a readable image"),
    "html": (b"<html>no image</html>", "not a readable image"),
    "truncated": (PNG[: len(PNG) // 2], "not a readable image"),
    "without its end": (PNG[:-12], "ends before its last chunk"),
    "a chunk of 4 GB": (PNG[:33] + b"\xfe\xff\xff\xff" + PNG[37:], "ends before its last chunk"),
    "huge header": (png_announcing(60_000), "60000×60000 pixels are more than the limit"),
    "animated GIF": (animated("L", "GIF"), "2 pages or frames"),
    "animated WebP": (animated("RGB", "WEBP"), "2 pages or frames"),
    "animated PNG": (animated("RGB", "PNG"), "2 pages or frames"),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC image, .*; convert it to PNG"),
    "HEIC of a phone": (b"\0\0\0\x24ftypmif1" + bytes(40), "is a HEIC image, .*; convert it to PNG"),
    "DICOM": (bytes(128) + b"DICM" + bytes(40), "is a DICOM file, .*; convert it to PNG"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "SVG with a header": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing"),
    "PDF": (b"%PDF-1.7\n" + bytes(40), "is a PDF"),
    "Photoshop": (b"8BPS\0\1" + bytes(40), "is of the format PSD"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "is a JPEG XL image"),
    "CZI": (b"ZISRAWFILE" + bytes(40), r"is a file of Zeiss \(CZI\), .*; export it"),
    "ND2": (b"\xda\xce\xbe\n" + bytes(40), r"is a file of Nikon \(ND2\), .*; export it"),
    "icon": (encoded(Image.fromarray(RGB).resize((32, 32)), "ICO"), "is of the format ICO, .*; convert it to PNG"),
    "portable pixmap": (encoded(Image.fromarray(RGB), "PPM"), "is of the format PPM, .*; convert it to PNG"),
    "damaged GIF": (b"GIF89a\7\0\5\0", "not a readable image"),
    "SVS": (slide("Aperio Image Library v11.2.1\r\n64x64"), "is a whole-slide image, .*; cut the cells out of it"),
    "NDPI": (slide("", **NDPI), "is a whole-slide image, .*; cut the cells out of it"),
    "PNG of another reader": (PNG[:33] + CGBI + PNG[33:], "CgBI"),
    "float": (tiff(np.zeros((4, 4), np.float32)), "float32 samples; set dataset.range"),
    "damaged JPEG 2000": (encoded(Image.fromarray(RGB).resize((64, 64)), "JPEG2000")[:-300], "a damaged JPEG 2000"),
    "truncated AVIF": (encoded(Image.fromarray(RGB).resize((64, 64)), "AVIF")[:-300], "damaged AVIF"),
    "animated AVIF": (animated("RGB", "AVIF"), "2 pages or frames"),
    "signed": (tiff(np.zeros((4, 4), np.int16)), "int16"),
    "32 bits": (tiff(np.zeros((4, 4), np.uint32)), "32-bit"),
    "12 bits": (tiff(np.zeros((4, 4), np.uint16), bitspersample=12), "12-bit"),
    "two pages": (
        tiff(np.zeros((2, 4, 4), np.uint8), photometric="minisblack"),
        "2 pages or frames",
    ),
    "stack in one page": (tiff(RGB, description="ImageJ=1.54f\nimages=3\nslices=3\n") + bytes(500), "3 pages"),
    "two channels": (tiff(RGB[:, :, :2], photometric="minisblack", planarconfig="contig"), "2 channels"),
    "five channels": (tiff(np.zeros((5, 4, 4), np.uint16), planarconfig="separate"), "5 channels"),
    "Lab": (tiff(RGB, photometric="cielab"), "CIELAB"),
    "raw colours": (tiff(RGB[:, :, 0], photometric="cfa"), "CFA"),
    "YCbCr": (encoded(Image.fromarray(RGB).convert("YCbCr"), "TIFF"), "YCBCR"),
    "fax": (encoded(Image.fromarray(RGB).convert("1"), "TIFF", compression="group4"), "CCITT"),
    "JPEG 2000": (tiff(RGB, photometric="rgb", compression="jpeg2000"), "JPEG2000"),
    "predictor without compression": (
        with_tags(tiff(RGB, photometric="rgb", predictor=2, compression="lzw"), Compression=1),
        "pred",
    ),
    "huge TIFF": (with_tags(TIFF, ImageWidth=60_000, ImageLength=60_000), "more than the limit"),
    "huge tiles": (with_tags(TILED, TileWidth=65_520, TileLength=65_520), "more than the limit"),
    "text instead of a number": (with_type(TIFF, "Compression", 2, b"\n\x01x\0"), "compressed as .*x"),
    "TIFF without its data": (with_tags(TIFF, StripOffsets=100_000), "lacks the data"),
}
