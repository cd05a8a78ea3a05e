"""Images as arrays: decoding, encoding, conversion to 8-bit RGB and to the classifier's input size.

Arrays are (height, width) for grey, (height, width, 3) for RGB and (height, width, 4) for RGBA,
dtype uint8 or uint16; only `decode` may also return float32.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.imaging import formats, tiff

# A header may claim more pixels than any microscope produces; reject the file before decoding.
MAX_PIXELS = 100_000_000
# MAX_PIXELS replaces Pillow's own limit, which an upscaled image may exceed.
Image.MAX_IMAGE_PIXELS = None

# Libraries print warnings that do not name the file; an unreadable file raises InputError instead.
warnings.filterwarnings("ignore", module=r"PIL\b")
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# Formats other than TIFF. Pillow reports a JPEG that contains several pictures, as phones write it, as MPO.
DECODED = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "AVIF", "JPEG2000")
# The chunk and the text keywords in which a PNG may hold EXIF or XMP.
_PNG_METADATA = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")

_TRANSPOSITIONS: dict[object, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def decode(
    content: bytes, name: str, whole: bool = False, floats: bool = False, first_page: bool = False
) -> np.ndarray:
    """Decode an image file's bytes, turned upright by its EXIF orientation (in a TIFF, the tag Orientation).

    Returns (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16. The format is detected from the bytes, not from
    the file's name: JPEG, PNG, BMP, WebP, GIF, AVIF (as 8 bits), JPEG 2000, or TIFF (see `wbcsr.imaging.tiff.decode`).
    Palettes and CMYK become RGB, and grey with alpha becomes RGBA. With `floats`, a floating-point TIFF becomes
    float32, which `stretch` converts. Colour profiles and gamma are not applied. Of a JPEG with several pictures (MPO,
    or a gain map), the first is returned; with `first_page`, also that of a file with several pages or of an animation
    (of an animated PNG, the picture that other programs show). `whole` means that this workflow has already decoded or
    written these bytes (known by their hash); the search for damaged data, which takes much of the time, and the limit
    of pixels are then skipped. Raises InputError if the bytes are not an image, are truncated, have several pages or
    frames without `first_page`, claim more than `MAX_PIXELS`, or are floating-point without `floats`.
    """
    pixels, orientation = (
        tiff.decode(content, name, MAX_PIXELS, floats, first_page)
        if content[:4] in tiff.MAGIC
        else _decode(content, name, whole, first_page)
    )
    # An unknown value rotates nothing, as in Pillow.
    return np.ascontiguousarray(_TRANSPOSITIONS.get(orientation, lambda a: a)(pixels))


def has_pages(content: bytes) -> bool:
    """Whether the bytes of a file that `decode` decodes hold several pages or frames."""
    if content[:4] in tiff.MAGIC:
        return tiff.number_of_pages(content) > 1
    with Image.open(io.BytesIO(content), formats=DECODED) as image:
        return _frames(image) > 1


def _frames(image: Image.Image) -> int:
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)


def _decode(content: bytes, name: str, whole: bool, first_page: bool) -> tuple[np.ndarray, object]:
    """Decode an image that is not a TIFF; returns its pixels as stored and the value of its EXIF orientation."""
    try:
        with Image.open(io.BytesIO(content), formats=DECODED) as image:
            width, height = image.size
            if width * height > MAX_PIXELS and not whole:
                raise InputError(f"{name}: {width}×{height} pixels are more than the limit of {MAX_PIXELS:,}")
            frames = _frames(image)
            if frames > 1 and not first_page:
                raise InputError(f"{name}: {tiff.has_several(frames)}")
            orientation = _orientation(image, content)
            if image.format == "JPEG2000":
                return _jpeg2000(content, name), orientation
            jpeg = image.format in ("JPEG", "MPO")
            if image.format != "PNG" and not (jpeg and image.mode in ("L", "RGB")):
                return _converted(image), orientation
            if not jpeg:
                content = _pixel_chunks(content, name, whole)
            elif not whole:
                image.load()  # detects truncated data, which the faster decoder would fill with grey
    except UnidentifiedImageError as error:  # its message contains a memory address
        reason = formats.by_content(content, DECODED) or "not a readable image (of no known format)"
        raise InputError(f"{name}: {reason}") from error
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(f"{name}: not a readable image ({' '.join(str(error).split())[:120]})") from error
    if jpeg:
        try:
            return imagecodecs.jpeg8_decode(content), orientation  # Pillow's own library, in half the time
        except imagecodecs.Jpeg8Error as error:
            raise InputError(f"{name}: not a readable image (a damaged JPEG: {error})") from error
    # Pillow has no mode for 16-bit RGB.
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{name}: not a readable image (a damaged PNG)")
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return pixels, orientation


def _jpeg2000(content: bytes, name: str) -> np.ndarray:
    """Decode a JPEG 2000, which Pillow reduces to 8 bits if it has colours."""
    try:
        pixels: np.ndarray = imagecodecs.jpeg2k_decode(content)
    except (imagecodecs.Jpeg2kError, ValueError) as error:
        raise InputError(f"{name}: not a readable image (a damaged JPEG 2000: {error})") from error
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        pixels = pixels[:, :, [0, 0, 0, 1]]
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.shape[2:] not in ((), (3,), (4,)):
        raise InputError(f"{name}: is a JPEG 2000 of {pixels.shape[2:]} {pixels.dtype} samples; convert it to PNG")
    return pixels


def _converted(image: Image.Image) -> np.ndarray:
    """Convert Pillow's image to (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8."""
    mode = "L" if image.mode in ("1", "L") else "RGBA" if image.has_transparency_data else "RGB"
    return np.asarray(image if image.mode == mode else image.convert(mode))


def _pixel_chunks(content: bytes, name: str, whole: bool) -> bytes:
    """Return only the chunks of a PNG that its pixels depend on; OpenCV prints lines about faulty texts and profiles.

    Raises InputError if the chunks are incomplete, because OpenCV allocates the memory that a chunk claims, or if a
    checksum is wrong; checksums are not verified if `whole`.
    """
    palette, alpha = content[25] == 3, content[25] >= 4  # byte 25 is the colour type
    kept = {b"IHDR", b"IDAT", b"IEND"} | ({b"PLTE"} if palette else set()) | (set() if alpha else {b"tRNS"})
    position, chunks = 8, [content[:8]]
    while position < len(content):
        length, kind = int.from_bytes(content[position : position + 4]), content[position + 4 : position + 8]
        end = position + length + 12
        # A capital first letter marks a chunk that readers must understand. The header is the first chunk.
        if (kind[:1].isupper() and kind not in kept | {b"PLTE"}) or (kind == b"IHDR") != (position == 8):
            raise InputError(f"{name}: not a readable image (a PNG with an unknown chunk {kind!r})")
        if kind in kept:
            chunks.append(content[position:end])
            if not whole and zlib.crc32(chunks[-1][4:-4]).to_bytes(4) != chunks[-1][-4:]:
                raise InputError(f"{name}: not a readable image (a PNG that is damaged or ends before its last chunk)")
        if kind == b"IEND" and end <= len(content):
            return b"".join(chunks)
        position = end
    raise InputError(f"{name}: not a readable image (a PNG that ends before its last chunk)")


def _orientation(image: Image.Image, content: bytes) -> object:
    """The value of EXIF's orientation; 1 is upright."""
    # A PNG may store it after its pixels, which Pillow would have to read first. Most PNGs do not store it.
    if image.format == "PNG" and not any(name in content for name in _PNG_METADATA):
        return 1
    return image.getexif().get(0x0112, 1)


def read_image(path: str | Path) -> np.ndarray:
    """Read and decode an image file; see `decode`."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run the rule that writes it") from error
    return decode(content, str(path))


def read_listed(file: Path, digest: str, manifest: Path) -> np.ndarray:
    """Read and decode an image that `manifest` lists with its SHA-256 `digest`; see `decode`.

    Raises InputError if it is missing or has other content.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}), but {manifest} lists it; {how_to_regenerate(manifest)}"
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise InputError(f"{file}: is not the file that {manifest} describes (SHA-256); {how_to_regenerate(manifest)}")
    return decode(content, str(file), whole=True)


def stretch(pixels: np.ndarray, levels: tuple[float, float] | None) -> np.ndarray:
    """Stretch the colours of an array so that the `levels` (black, white) become 0 and 65535; see dataset.range.

    Values beyond the levels are clipped, and alpha is unchanged. A uint16 array without levels is returned itself, and
    so is any uint8 array, because such values are meant for display. A float32 array, which needs levels, becomes
    uint16.
    """
    if levels is None or pixels.dtype == np.uint8:
        return pixels
    black, white = levels
    if pixels.dtype == np.float32:
        shares = (pixels.astype(np.float64) - black) / (white - black)
        return np.rint(shares.clip(0, 1) * 65535).astype(np.uint16)
    steps = (np.arange(65536) - black).clip(0, white - black)
    stretched = np.rint(steps * (65535 / (white - black))).astype(np.uint16)[pixels]
    if pixels.shape[2:] == (4,):
        stretched[:, :, 3] = pixels[:, :, 3]
    return stretched


def decode_as_configured(content: bytes, name: str, dataset: Mapping[str, Any]) -> np.ndarray:
    """Decode a file and stretch its colours; uint8 or uint16. See `decode` and `stretch`.

    Of `dataset`, that section of the configuration, the keys `range` and `first_page` apply.
    """
    levels = dataset["range"]
    return stretch(decode(content, name, floats=levels is not None, first_page=dataset["first_page"]), levels)


def encode(pixels: np.ndarray, name: str) -> bytes:
    """Encode an array losslessly: as a TIFF if `name` ends like one or if the array is float32, otherwise as a PNG."""
    as_tiff = name.lower().endswith((".tif", ".tiff")) or pixels.dtype == np.float32
    return tiff.encode(pixels) if as_tiff else encode_png(pixels)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode an array (see the module) as a PNG, which is lossless and supports 8 and 16 bits."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    # Compared with the default, level 1 gives about 10 % larger files in a third of the time. A single filter for all
    # rows does not give larger files, and halves the time of encoding and decoding.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise RuntimeError(f"PNG encoding failed for an array of shape {pixels.shape} and dtype {pixels.dtype}")
    return encoded.tobytes()


def to_rgb8(pixels: np.ndarray) -> np.ndarray:
    """Convert any array that this module describes to (H, W, 3) uint8: repeat grey, drop alpha, scale 16 bits to 8."""
    if pixels.dtype == np.uint16:
        pixels = np.round(pixels / 257.0).astype(np.uint8)
    if pixels.ndim == 2:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def to_square(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resize any array that this module describes to (side, side, 3) uint8 (`to_rgb8`), ignoring the aspect ratio.

    Bilinear with antialiasing: the filter widens with the reduction, so that upscaled variants are averaged, not
    subsampled. Pillow's fixed-point arithmetic gives the same bytes on every machine.
    """
    return np.asarray(Image.fromarray(to_rgb8(pixels)).resize((side, side), Image.Resampling.BILINEAR))
