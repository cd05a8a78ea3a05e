"""Boxes around objects, as Pascal VOC's XML files give them, as an archive with one image of each box.

Source of the format: the development kit of the PASCAL Visual Object Classes Challenge; corners are pixels, counted
from 1, that belong to the box.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import PurePosixPath
from xml.etree import ElementTree

from wbcsr import imaging
from wbcsr.dataset.archive import Archive
from wbcsr.errors import InputError, first_line
from wbcsr.files import IMAGE_SUFFIXES
from wbcsr.names import clean

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Boxes(Archive):
    """The boxes of `inner` as `<name of the object>/<stem of the image>_<number>.png`.

    The image of an XML file has the same stem. A box is cut off at the image's border; one without a pixel is an empty
    file. Raises InputError if an XML file cannot be read, has a box without whole numbers, or has no image or several.
    """

    def __init__(self, inner: Archive, first_page: bool = False) -> None:
        super().__init__(inner.path, inner.limits)
        self.doubt, self.commit, self._inner, self._first_page = inner.doubt, inner.commit, inner, first_page
        self._boxes: dict[str, tuple[str, list[int]]] = {}
        pictures: dict[str, list[str]] = defaultdict(list)
        for entry in inner.entries:
            if entry.lower().endswith(IMAGE_SUFFIXES):
                pictures[PurePosixPath(entry).stem].append(entry)
        for entry in sorted(inner.entries):
            if not entry.lower().endswith(".xml"):
                continue
            stem = PurePosixPath(entry).stem
            if len(pictures[stem]) != 1:
                raise self._error(entry, f"has {len(pictures[stem])} images of the name {stem!r}; it needs one")
            self._list(entry, pictures[stem][0], stem)

    def _list(self, entry: str, picture: str, stem: str) -> None:
        try:
            objects = ElementTree.fromstring(self._inner.read(entry)).findall("object")
            boxes = [
                (clean(each.findtext("name", "")), [int(each.findtext(f"bndbox/{corner}", "")) for corner in _CORNERS])
                for each in objects
            ]
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise self._error(entry, f"cannot be read as Pascal VOC ({first_line(error)}); correct it") from error
        for number, (name, corners) in enumerate(boxes):
            box = f"{name}/{stem}_{number:03}.png"
            self.entries[box] = self._inner.entries[picture]
            self._boxes[box] = picture, corners

    def read(self, entry: str) -> bytes:
        picture, (left, top, right, bottom) = self._boxes[entry]
        try:
            pixels = imaging.decode(self._inner.read(picture), picture, first_page=self._first_page)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error
        cut = pixels[max(top - 1, 0) : max(bottom, 0), max(left - 1, 0) : max(right, 0)]
        return imaging.encode_png(cut) if cut.size else b""

    def close(self) -> None:
        self._inner.close()
