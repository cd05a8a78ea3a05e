"""Formats that are not decoded: how their files are recognised, and what to do with them."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image


class _Unread(NamedTuple):
    """A format: its name, the endings of its files, the bytes at some offset that its files have, and a remedy."""

    name: str
    endings: tuple[str, ...]
    signs: tuple[tuple[int, bytes], ...] = ()
    remedy: str = "convert it to PNG"


_EXPORT = "export it as TIFF or PNG from the microscope's program"
SLIDE = "a whole-slide image", "cut the cells out of it as PNG files, for example with QuPath"
_UNREAD = (
    _Unread("a DICOM file", ("dcm", "dicom"), ((128, b"DICM"),)),
    _Unread("a HEIC image", ("heic", "heif", "hif"), ((4, b"ftyphe"), (4, b"ftypmif1"), (4, b"ftypmsf1"))),
    _Unread("a JPEG XL image", ("jxl",), ((0, b"\xff\x0a"), (4, b"JXL "))),
    _Unread("a JPEG XR image", ("jxr", "wdp", "hdp"), ((0, b"II\xbc\x01"),)),
    _Unread("an SVG drawing or other XML", ("svg", "svgz"), ((0, b"<svg"), (0, b"<?xml"))),
    _Unread("a PDF", ("pdf",), ((0, b"%PDF"),)),
    _Unread("a camera's raw file", ("arw", "cr2", "cr3", "dng", "nef", "orf", "raf", "rw2")),
    _Unread("a video", ("avi", "mkv", "mov", "mp4"), remedy="save single images of it as PNG"),
    _Unread("a file of Zeiss (CZI)", ("czi",), ((0, b"ZISRAWFILE"),), _EXPORT),
    _Unread("a file of Nikon (ND2)", ("nd2",), ((0, b"\xda\xce\xbe\n"),), _EXPORT),
    _Unread("a file of Leica (LIF)", ("lif",), (), _EXPORT),
    _Unread("a file of Olympus", ("oib", "oif", "oir"), (), _EXPORT),
    _Unread(SLIDE[0], ("bif", "isyntax", "mrxs", "ndpi", "qptiff", "scn", "svs", "vms", "vsi"), (), SLIDE[1]),
)


def by_ending(name: str) -> str | None:
    """Why a file with this name is not decoded, if its ending is that of an image of another format."""
    ending = name.rpartition(".")[2].lower()
    known = next((each for each in _UNREAD if ending in each.endings), None)
    if known:
        return not_read(known.name, known.remedy)
    Image.init()
    theirs = Image.registered_extensions().get(f".{ending}")
    return not_read(f"of the format {theirs}") if theirs else None


def by_content(content: bytes, decoded: tuple[str, ...]) -> str | None:
    """Why a file with these bytes is not decoded, if they begin like a format that this module or Pillow knows.

    `decoded` are the formats that are decoded, as Pillow calls them; a file of one of them is damaged.
    """
    for each in _UNREAD:
        if any(content.startswith(sign, place) for place, sign in each.signs):
            return not_read(each.name, each.remedy)
    start = content[:16]
    if len(start) < 16:
        return None
    Image.init()
    accepting = (name for name in Image.ID if (accept := Image.OPEN[name][1]) is not None and accept(start))
    theirs = next(accepting, None)
    if theirs in decoded:
        return f"not a readable image (a damaged {theirs})"
    return not_read(f"of the format {theirs}") if theirs else None


def not_read(kind: str, remedy: str = "convert it to PNG") -> str:
    """The reason why a file of this kind cannot be used."""
    return f"is {kind}, which is not read; {remedy}"
