"""Files that are no image, or none that is taken: what they hold, and what is said of it."""

from __future__ import annotations

import io
import zlib

import numpy as np
from PIL import Image

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def animated(mode: str, form: str) -> bytes:
    return encoded(Image.new(mode, (4, 4)), form, save_all=True, append_images=[Image.new(mode, (4, 4), 9)])


PNG = encoded(Image.fromarray(RGB).resize((64, 64)), "PNG")


def promising(side: int) -> bytes:
    """A PNG whose header, checksum and all, says that so many pixels a side follow."""
    header = b"IHDR" + side.to_bytes(4) * 2 + PNG[24:29]
    return PNG[:12] + header + zlib.crc32(header).to_bytes(4) + PNG[33:]


BAD_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not a readable image"),
    "html": (b"<html>no image</html>", "not a readable image"),
    "truncated": (PNG[: len(PNG) // 2], "not a readable image"),
    "without its end": (PNG[:-12], "ends before its last chunk"),
    "a chunk of 4 GB": (PNG[:33] + b"\xfe\xff\xff\xff" + PNG[37:], "ends before its last chunk"),
    "huge header": (promising(60_000), "60000×60000 pixels are more than the limit"),
    "animated GIF": (animated("L", "GIF"), "2 frames"),
    "animated WebP": (animated("RGB", "WEBP"), "2 frames"),
    "float": (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "float32"),
    "not a number": (encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), "float32"),
}
