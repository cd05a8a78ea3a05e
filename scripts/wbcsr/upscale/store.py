"""What is stored of upscaled images: PNG files, rows at the classifier's input sizes, or both; see the key `store`.

A shard's rows are in one .npy file beside its manifest, with the same stem: one record for each line of the manifest,
and in it a field for each size, such as `224px`, (224, 224, 3) uint8. The file is written in place. Every reader
compares a record with its hash in the manifest, so that no half-written record is used.

`Rows` and `Ledger` are what a job needs to go on after an interruption: records that were written in place, and the
list of those that are complete. Packing uses them too.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.claim import require_claim
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import sha256, write_csv, write_if_changed, write_text

log = logging.getLogger(__name__)

MANIFEST_COLUMNS = ["image", "file", "width", "height", "sha256", "input_sha256"]


@dataclass(frozen=True)
class Storing:
    """Which images of a class are PNG files, the first `pngs` (None: all), and the `sizes` of the rows in pixels."""

    pngs: int | None = None
    sizes: Sequence[int] = ()


ALL = Storing()


@dataclass(frozen=True)
class Entry:
    """One upscaled image, a line of the manifest.

    `sha256` is the hash of its PNG `file`; both are empty if there is none. `packed_sha256` is the hash of its record,
    empty if there are no rows. `input_sha256` is the hash of the original.
    """

    image: str
    file: str
    width: int
    height: int
    sha256: str
    input_sha256: str
    packed_sha256: str = ""


class Rows:
    """The records of a .npy file `path`, an array of `shape` and `kind`; a record is `array[place]`.

    The records of an earlier run are kept if the array has the same shape and kind. Use it as a context manager, in one
    or more threads.
    """

    def __init__(self, path: Path, kind: np.dtype, shape: tuple[int, ...]) -> None:
        header = io.BytesIO()
        about = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about)
        self._header, self._size = header.getvalue(), kind.itemsize * math.prod(shape[1:])
        self._whole = len(self._header) + self._size * shape[0]
        self._path = path

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        if os.pread(self._file, len(self._header), 0) != self._header:
            os.truncate(self._file, 0)
            self._write(0, self._header)
        os.truncate(self._file, self._whole)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def write(self, place: int, record: bytes) -> None:
        """Write a record; OSError names the file if the disk is full."""
        self._write(len(self._header) + self._size * place, record)

    def sha256(self, place: int) -> str:
        """The hash of a record."""
        return hashlib.sha256(os.pread(self._file, self._size, len(self._header) + self._size * place)).hexdigest()

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        os.fsync(self._file)

    def _write(self, position: int, content: bytes) -> None:
        try:
            while content:  # on a nearly full disk, only a part may be written
                written = os.pwrite(self._file, content, position)
                position, content = position + written, content[written:]
        except OSError as error:  # a full disk
            error.filename = str(self._path)
            raise


class Ledger:
    """The finished images of the output `path`: one JSON line per image, appended after what it lists is complete.

    It is a hidden file next to the output. `identity` contains everything that the pixels depend on.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = ledger_path(path)
        self.identity = identity
        self._lock = Lock()

    def entries(self) -> Iterator[Entry]:
        """Yield the images that earlier runs with the same identity finished."""
        if not self.path.is_file():
            return
        # A killed run may have cut a character; its line is then incomplete, too.
        with open(self.path, encoding="utf-8", errors="replace") as lines:
            for line in filter(str.strip, lines):
                try:
                    record = json.loads(line)
                    identity, entry = record["identity"], Entry(**record["entry"])
                except (ValueError, KeyError, TypeError):
                    log.warning("%s: skipping an incomplete line", self.path)
                    continue
                if identity == self.identity:
                    yield entry

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "a", encoding="utf-8")
        return self

    def add(self, *entries: Entry) -> None:
        with self._lock:
            require_claim()
            self._file.write("".join(map(self._line, entries)))
            self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def replace(self, entries: Iterable[Entry]) -> None:
        """Leave out the lines of images that are not in `entries`."""
        write_text(self.path, "".join(map(self._line, entries)))

    def _line(self, entry: Entry) -> str:
        # The newline comes first, so that an incomplete line of a killed run does not damage this one.
        return "\n" + json.dumps({"identity": self.identity, "entry": vars(entry)}, ensure_ascii=False)


def ledger_path(output: Path) -> Path:
    """The list of the finished images of an output; without it, all images are made again."""
    return output.with_name(f".{output.stem}.ledger")


class Store:
    """Writes what `storing` asks for of the images `rows` (of `shard_rows`) beside `manifest`, and then the manifest.

    `put` and `keep` may be called by several threads. Use it as a context manager.
    """

    def __init__(self, manifest: Path, rows: pd.DataFrame, storing: Storing) -> None:
        self.manifest = manifest
        self.storing = storing
        self._rows = {row.image: row for row in rows.itertuples()}
        self._place = {image: place for place, image in enumerate(self._rows)}
        kind = np.dtype([(field(side), np.uint8, (side, side, 3)) for side in storing.sizes])
        self._records = Rows(rows_path(manifest), kind, (len(rows),))

    def __enter__(self) -> Store:
        if self.storing.sizes:
            self._records.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self.storing.sizes:
            self._records.__exit__()

    def put(self, row: Any, pixels: np.ndarray) -> Entry:
        """Store an upscaled image, any array that `imaging` describes; returns its line of the manifest."""
        file = digest = packed = ""
        if self._is_png(row.image):
            file = row.target
            digest = write_if_changed(self.manifest.with_name(file), imaging.encode_png(pixels))
        if self.storing.sizes:
            record = b"".join(imaging.to_square(pixels, side).tobytes() for side in self.storing.sizes)
            packed = hashlib.sha256(record).hexdigest()
            require_claim()
            self._records.write(self._place[row.image], record)
        return Entry(row.image, file, pixels.shape[1], pixels.shape[0], digest, row.input_sha256, packed)

    def keep(self, entry: Entry) -> Entry | None:
        """The line of the manifest for an image of an earlier run, or None if it must be upscaled again.

        The image is kept if its original and what is to be stored of it are unchanged. If only its row is missing, and
        the earlier run stored a PNG file, the row is made from the file.
        """
        row = self._rows.get(entry.image)
        if row is None or row.input_sha256 != entry.input_sha256:
            return None
        path = self.manifest.with_name(row.target)
        whole = entry.file == row.target and path.is_file() and sha256(path) == entry.sha256
        wanted = self._is_png(entry.image)
        if wanted and not whole:
            return None
        if self.storing.sizes and self._records.sha256(self._place[entry.image]) != entry.packed_sha256:
            return self.put(row, imaging.read_listed(path, entry.sha256, self.manifest)) if whole else None
        kept = entry if wanted else replace(entry, file="", sha256="")
        return kept if self.storing.sizes else replace(kept, packed_sha256="")

    def finish(self, entries: Mapping[str, Entry]) -> None:
        """Write the manifest of all rows, and remove what an earlier run stored with another `store`."""
        columns = [*MANIFEST_COLUMNS, "packed_sha256"] if self.storing.sizes else MANIFEST_COLUMNS
        if self.storing.sizes:
            self._records.sync()
        write_csv(self.manifest, pd.DataFrame([vars(entries[image]) for image in self._rows], columns=columns))
        for row in self._rows.values():
            if not self._is_png(row.image):
                self.manifest.with_name(row.target).unlink(missing_ok=True)
        if not self.storing.sizes:
            rows_path(self.manifest).unlink(missing_ok=True)

    def _is_png(self, image: str) -> bool:
        # The index of `shard_rows` is the position in the class.
        return self.storing.pngs is None or self._rows[image].Index < self.storing.pngs


def rows_path(manifest: Path) -> Path:
    """The file of the rows beside a manifest."""
    return manifest.with_suffix(".npy")


def field(side: int) -> str:
    """The name of the field with the rows of a size."""
    return f"{side}px"


def open_rows(manifest: Path) -> np.memmap:
    """Memory-map the rows beside `manifest`; raises InputError if the file is missing or incomplete."""
    try:
        rows: np.memmap = np.load(rows_path(manifest), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{rows_path(manifest)}: cannot be read ({error}), but {manifest} lists its rows; "
            f"{how_to_regenerate(manifest)}"
        ) from error
    return rows


def read_row(rows: np.memmap, place: int, digest: str, side: int, manifest: Path) -> np.ndarray:
    """The row of line `place` of `manifest` in `rows` (of `open_rows`), (side, side, 3) uint8.

    Raises InputError if the record is missing, has another hash than `digest`, or has no row of this size.
    """
    path = rows_path(manifest)
    # Read, not mapped: the pages of a mapped file count as memory of the process.
    record = np.fromfile(path, rows.dtype, 1, offset=rows.offset + place * rows.itemsize)
    if hashlib.sha256(record.tobytes()).hexdigest() != digest:
        raise InputError(
            f"{path}: row {place} is not the one that {manifest} describes (SHA-256); {how_to_regenerate(manifest)}"
        )
    if field(side) not in (rows.dtype.names or ()):
        raise InputError(f"{path}: has no rows of {side} pixels; {how_to_regenerate(manifest)}")
    row: np.ndarray = record[0][field(side)]
    return row
