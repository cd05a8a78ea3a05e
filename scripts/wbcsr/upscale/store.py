"""What is stored of upscaled images: PNG files, rows at the classifier's input sizes, or both; see the key `store`.

A shard's rows are in one .npy file beside its manifest, with the same stem: one record for each line of the manifest,
and in it a field for each size, such as `224px`, (224, 224, 3) uint8. The file is written in place. Every reader
compares a record with its hash in the manifest, so that no half-written record is used.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.claim import require_claim
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import sha256, write_csv, write_if_changed

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


class Store:
    """Writes what `storing` asks for of the images `rows` (of `shard_rows`) beside `manifest`, and then the manifest.

    `put` and `keep` may be called by several threads. Use it as a context manager.
    """

    def __init__(self, manifest: Path, rows: pd.DataFrame, storing: Storing) -> None:
        self.manifest = manifest
        self.storing = storing
        self._rows = {row.image: row for row in rows.itertuples()}
        self._place = {image: place for place, image in enumerate(self._rows)}
        self._lock = Lock()
        self._file: BinaryIO

    def __enter__(self) -> Store:
        path = rows_path(self.manifest)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.storing.sizes:
            kind = np.dtype([(field(side), np.uint8, (side, side, 3)) for side in self.storing.sizes])
            header = io.BytesIO()
            shape = (len(self._rows),)
            np.lib.format.write_array_header_1_0(
                header, {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            )
            self._start, self._size = header.tell(), kind.itemsize
            self._file = open(path, "r+b" if path.exists() else "w+b")
            if self._file.read(self._start) != header.getvalue():
                # Rows of other images or sizes.
                self._file.truncate(0)
                self._write(0, header.getvalue())
            self._file.truncate(self._start + self._size * len(self._rows))
        return self

    def __exit__(self, *_: object) -> None:
        if self.storing.sizes:
            self._file.close()

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
            self._write(self._start + self._size * self._place[row.image], record)
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
        if self.storing.sizes and not self._has_record(entry):
            return self.put(row, imaging.read_listed(path, entry.sha256, self.manifest)) if whole else None
        kept = entry if wanted else replace(entry, file="", sha256="")
        return kept if self.storing.sizes else replace(kept, packed_sha256="")

    def finish(self, entries: Mapping[str, Entry]) -> None:
        """Write the manifest of all rows, and remove what an earlier run stored with another `store`."""
        columns = [*MANIFEST_COLUMNS, "packed_sha256"] if self.storing.sizes else MANIFEST_COLUMNS
        if self.storing.sizes:
            os.fsync(self._file.fileno())
        write_csv(self.manifest, pd.DataFrame([asdict(entries[image]) for image in self._rows], columns=columns))
        for row in self._rows.values():
            if not self._is_png(row.image):
                self.manifest.with_name(row.target).unlink(missing_ok=True)
        if not self.storing.sizes:
            rows_path(self.manifest).unlink(missing_ok=True)

    def _is_png(self, image: str) -> bool:
        # The index of `shard_rows` is the position in the class.
        return self.storing.pngs is None or self._rows[image].Index < self.storing.pngs

    def _has_record(self, entry: Entry) -> bool:
        with self._lock:
            self._file.seek(self._start + self._size * self._place[entry.image])
            return hashlib.sha256(self._file.read(self._size)).hexdigest() == entry.packed_sha256

    def _write(self, position: int, content: bytes) -> None:
        try:
            with self._lock:
                self._file.seek(position)
                self._file.write(content)
                self._file.flush()
        except OSError as error:  # a full disk
            error.filename = self._file.name
            raise


def rows_path(manifest: Path) -> Path:
    """The file of the rows beside a manifest."""
    return manifest.with_suffix(".npy")


def field(side: int) -> str:
    """The name of the field with the rows of a size."""
    return f"{side}px"


def open_rows(manifest: Path) -> np.ndarray:
    """Memory-map the rows beside `manifest`; raises InputError if the file is missing or incomplete."""
    try:
        rows: np.ndarray = np.load(rows_path(manifest), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{rows_path(manifest)}: cannot be read ({error}), but {manifest} lists its rows; "
            f"{how_to_regenerate(manifest)}"
        ) from error
    return rows


def read_row(rows: np.ndarray, place: int, digest: str, side: int, manifest: Path) -> np.ndarray:
    """The row of line `place` of `manifest` in `rows` (of `open_rows`), (side, side, 3) uint8.

    Raises InputError if the record is missing, has another hash than `digest`, or has no row of this size.
    """
    path = rows_path(manifest)
    record = rows[place : place + 1].tobytes()
    if hashlib.sha256(record).hexdigest() != digest:
        raise InputError(
            f"{path}: row {place} is not the one that {manifest} describes (SHA-256); {how_to_regenerate(manifest)}"
        )
    if field(side) not in (rows.dtype.names or ()):
        raise InputError(f"{path}: has no rows of {side} pixels; {how_to_regenerate(manifest)}")
    row: np.ndarray = np.frombuffer(record, rows.dtype)[0][field(side)]
    return row
