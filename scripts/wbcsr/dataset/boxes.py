"""Boxes around objects, as Pascal VOC's XML files give them, as an archive with one image of each box.

Source of the format: the development kit of the PASCAL Visual Object Classes Challenge; corners are pixels, counted
from 1, that belong to the box.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import PurePosixPath
from xml.etree import ElementTree

from wbcsr import imaging
from wbcsr.dataset.archive import Archive
from wbcsr.errors import InputError, first_line
from wbcsr.files import IMAGE_SUFFIXES
from wbcsr.names import clean
from wbcsr.text import counted

log = logging.getLogger(__name__)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Boxes(Archive):
    """The boxes of `inner` as `<name of the object>/<stem of the image>_<number>.png`.

    The image of an XML file has the same stem. A box is cut off at the image's border; one without a pixel is an empty
    file. Hidden files and XML files of other kinds are ignored, and images without boxes are named in the log. Raises
    InputError if an XML file cannot be read, has a box without whole numbers, or has no image or several.
    """

    def __init__(self, inner: Archive, first_page: bool = False) -> None:
        super().__init__(inner.path, inner.limits)
        self.doubt, self.commit, self._inner, self._first_page = inner.doubt, inner.commit, inner, first_page
        self._boxes: dict[str, tuple[str, list[int]]] = {}
        pictures: dict[str, list[str]] = defaultdict(list)
        shown = [entry for entry in sorted(inner.entries) if not PurePosixPath(entry).name.startswith(".")]
        for entry in shown:
            if entry.lower().endswith(IMAGE_SUFFIXES):
                pictures[PurePosixPath(entry).stem].append(entry)
        for entry in shown:
            if entry.lower().endswith(".xml"):
                self._list(entry, pictures[PurePosixPath(entry).stem])
        boxed = {picture for picture, _ in self._boxes.values()}
        without = [picture for alike in pictures.values() for picture in alike if picture not in boxed]
        if without:
            images = counted(len(without), "image")
            log.warning("%s: left out: %s without boxes in an XML file (first: %s)", self.path, images, without[0])

    def _list(self, entry: str, pictures: list[str]) -> None:
        stem = PurePosixPath(entry).stem
        try:
            root = ElementTree.fromstring(self._inner.read(entry))
            if root.tag != "annotation":
                return
            boxes = [
                (clean(each.findtext("name", "")), [int(each.findtext(f"bndbox/{corner}", "")) for corner in _CORNERS])
                for each in root.findall("object")
            ]
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise self._error(entry, f"cannot be read as Pascal VOC ({first_line(error)}); correct it") from error
        if len(pictures) != 1:
            raise self._error(entry, f"has {len(pictures)} images of the name {stem!r}; it needs one")
        for number, (name, corners) in enumerate(boxes):
            box = f"{name}/{stem}_{number:03}.png"
            self.entries[box] = self._inner.entries[pictures[0]]
            self._boxes[box] = pictures[0], corners

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
