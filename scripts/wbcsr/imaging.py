"""Images as arrays: decoding, encoding, and the one way from any image to 8-bit RGB.

Arrays are (height, width) for grey, (height, width, 3) for RGB and (height, width, 4) for RGBA,
dtype uint8 or uint16.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from wbcsr.errors import InputError, make_again

# A header may promise more pixels than any microscope gives: refuse before decoding.
MAX_PIXELS = 100_000_000
# Which takes the place of Pillow's own limit: what the workflow enlarges may be larger than that.
Image.MAX_IMAGE_PIXELS = None

# A chunk, and the keywords of texts, in which a PNG may hold EXIF or XMP.
_WHERE_PNG_SAYS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")

_TRANSPOSITIONS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def decode(content: bytes, name: str, whole: bool = False) -> np.ndarray:
    """Decode an image file's bytes, upright as its EXIF orientation says.

    Returns (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16. `whole` says that the bytes' hash is known to be
    that of a file which was decoded before, or that we wrote; looking for truncated data, which costs most of the time,
    and for too many pixels is then left out.
    InputError where the bytes are no image, are truncated, or promise more than `MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(content)) as header:
            width, height = header.size
            frames = getattr(header, "n_frames", 1)
            orientation = _orientation(header, content)
            if width * height > MAX_PIXELS and not whole:
                raise InputError(f"{name}: {width}×{height} pixels are more than the limit of {MAX_PIXELS:,}")
            if frames > 1:
                raise InputError(f"{name}: has {frames} frames; give a single image")
            if header.format == "PNG":
                _check_chunks(content, name)
            if not whole:
                header.load()  # finds truncated data, which OpenCV would fill with grey
            converted = header.convert("RGB") if header.mode in ("CMYK", "YCbCr", "LAB", "HSV") else None
    except UnidentifiedImageError as error:  # its message holds an address in memory
        raise InputError(f"{name}: not a readable image (of no known format)") from error
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(f"{name}: not a readable image ({' '.join(str(error).split())[:120]})") from error
    pixels: np.ndarray
    if converted is not None:
        pixels = np.asarray(converted)
    else:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None:
            raise InputError(f"{name}: not a readable image (unsupported by OpenCV)")
        pixels = decoded
        if pixels.ndim == 3:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name}: has {pixels.dtype} samples; convert it to 8 or 16 bit")
    return np.ascontiguousarray(_TRANSPOSITIONS.get(orientation, lambda a: a)(pixels))


def _check_chunks(content: bytes, name: str) -> None:
    """InputError where a PNG is not whole chunks to its last one: OpenCV takes the memory that a chunk promises."""
    position = 8
    while position < len(content):
        length, kind = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        position += length + 12
        if kind == b"IEND" and position <= len(content):
            return
    raise InputError(f"{name}: not a readable image (a PNG that ends before its last chunk)")


def _orientation(image: Image.Image, content: bytes) -> int:
    """EXIF's number for how an image lies; 1 is upright."""
    # A PNG may say so behind its pixels, all of which Pillow reads to get there: most of them do not say it anywhere.
    if image.format == "PNG" and not any(name in content for name in _WHERE_PNG_SAYS):
        return 1
    return int(image.getexif().get(0x0112, 1))


def read_image(path: str | Path) -> np.ndarray:
    """Read and decode an image file; see `decode`."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the rule that wrote it again") from error
    return decode(content, str(path))


def read_listed(file: Path, digest: str, manifest: Path) -> np.ndarray:
    """Read and decode an image that `manifest` lists with its SHA-256 `digest`; see `decode`.

    InputError where it is gone or is another file.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}), but {manifest} lists it; {make_again(manifest)}"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{file}: is not the file that {manifest} describes (SHA-256); {make_again(manifest)}")
    return decode(content, str(file), whole=True)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode an array (see the module) as a PNG, which is lossless and holds 8 and 16 bits."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    # Level 1 costs about a tenth more bytes than the default and a third of its time. One filter for all rows, and this
    # one, costs no bytes, and half of the time of encoding and of decoding.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise RuntimeError(f"PNG encoding failed for an array of shape {pixels.shape} and dtype {pixels.dtype}")
    return encoded.tobytes()


def to_rgb8(pixels: np.ndarray) -> np.ndarray:
    """Any array of the module's kinds as (H, W, 3) uint8: grey is repeated, alpha dropped, 16 bit scaled."""
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])
