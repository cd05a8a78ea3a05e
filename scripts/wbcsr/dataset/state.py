"""Detect changes of an archive's contents: the data set is ingested again only if contents change, not times.

Snakemake sees only the modification time of a folder, and of a file only whether it is newer. Here, a file whose
modification time has changed since it was ingested is compared by its content.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from wbcsr.dataset.folder import Folder, is_read, printable
from wbcsr.errors import InputError
from wbcsr.files import read_csv, sha256, write_csv


@dataclass(frozen=True, slots=True)
class Noted:
    """A file of an archive when it was ingested: size in bytes, modification time in ns, and SHA-256.

    `label` identifies its content: size and time of the first ingested version, or the SHA-256 of a later version.
    """

    size: int
    time: int
    sha256: str
    label: str


RECORD_COLUMNS = ["file", *Noted.__annotations__]


@dataclass(frozen=True)
class _Found:
    path: str
    size: int
    time: int

    def is_as(self, noted: Noted) -> bool:
        return (self.size, self.time) == (noted.size, noted.time)


def archive_state(archive: str | Path, links: str | Path | None, most: int, record: str | Path) -> str | None:
    """Return a hash that depends on names and contents of an archive's files, not on times; None without an archive.

    The archive is a zip file, which counts as one file, or a folder, of which only readable files count (see `Folder`).
    `links` and `most` are `dataset.links` and `dataset.limits.files` of the configuration. `record` is the file written
    by `write_record` when the archive was ingested; the state is the same before this file exists and after it was
    written.

    A file with the recorded size and time is assumed to be unchanged; any other recorded file is read. Raises
    InputError as `Folder.files`, or if a file cannot be read.
    """
    archive = Path(archive)
    if not archive.exists():
        return None
    noted = read_record(record)
    hashed = hashlib.sha256()
    for name, found in _files(archive, links, most):
        hashed.update(f"{name}\0{_label(found, noted.get(name))}\n".encode())
    return hashed.hexdigest()


def note(archive: Path, links: str | Path | None, most: int, record: Path, threads: int) -> dict[str, Noted]:
    """Describe each file of the archive as it is now, by name; `record` has the earlier descriptions."""
    from wbcsr.progress import side_by_side  # imported here, because a dry run needs this module without tqdm

    before = read_record(record)

    def described(item: tuple[str, _Found]) -> tuple[str, Noted]:
        name, found = item
        noted = before.get(name)
        digest = noted.sha256 if noted and found.is_as(noted) else _content(found)
        return name, Noted(found.size, found.time, digest, _label(found, noted, digest))

    return dict(side_by_side(described, list(_files(archive, links, most)), threads, "note contents"))


def write_record(path: Path, noted: Mapping[str, Noted]) -> None:
    """Write the result of `note` to the CSV file `path` (`RECORD_COLUMNS`)."""
    rows = [{"file": name, **asdict(each)} for name, each in noted.items()]
    write_csv(path, pd.DataFrame(rows, columns=RECORD_COLUMNS))


def read_record(path: str | Path) -> dict[str, Noted]:
    """Read a file written by `write_record`; empty if it does not exist. Raises InputError if it is damaged."""
    if not Path(path).exists():
        return {}
    table = read_csv(path, RECORD_COLUMNS)[RECORD_COLUMNS]
    return {name: Noted(*each) for name, *each in table.itertuples(index=False, name=None)}


def _files(archive: Path, links: str | Path | None, most: int) -> Iterator[tuple[str, _Found]]:
    if archive.is_dir():
        folder = Folder(archive, links)
        for name, stat in folder.files(most):
            if is_read(name):
                yield printable(name), _Found(os.path.join(folder.root, name), stat.st_size, stat.st_mtime_ns)
    else:
        stat = archive.stat()
        yield printable(archive.name), _Found(str(archive), stat.st_size, stat.st_mtime_ns)


def _label(found: _Found, noted: Noted | None, digest: str | None = None) -> str:
    """Return the label of a file's content; if `digest` is None, the file is read if necessary."""
    if noted is None:
        return f"{found.size} {found.time}"
    if found.is_as(noted):
        return noted.label
    digest = digest or _content(found)
    return noted.label if digest == noted.sha256 else digest


def _content(found: _Found) -> str:
    try:
        return sha256(found.path)
    except OSError as error:
        raise InputError(f"{found.path}: cannot be read ({error.strerror}); correct its permissions") from error
