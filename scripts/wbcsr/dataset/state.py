"""What an archive's contents are known by, so that other contents are taken in again and other times alone are not.

Of a folder Snakemake sees its own time alone, and of a file only whether it became newer. Here a file that has another
time than when it was taken in is compared by its content.
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


@dataclass(frozen=True)
class Noted:
    """A file of an archive when it was taken in: its size in bytes, the time of its last change in ns, and its SHA-256.

    `label` is what its content is called: by size and time when it was first taken in, by the SHA-256 of any later one.
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
    """A hash that changes with the names and contents of an archive's files, and not with times; None without one.

    The archive is a zip, which is one file, or a folder, of which those files count that may be read (see `Folder`);
    `links` and `most` are the configuration's `dataset.links` and `dataset.limits.files`. `record` is what
    `write_record` wrote when the archive was taken in; while it is not there, the state is what it will be afterwards.

    A file of the size and time that were noted is taken for the same, any other one that was noted is read. InputError
    as by `Folder.files`, or where a file cannot be read.
    """
    archive = Path(archive)
    if not archive.exists():
        return None
    noted = read_record(record)
    told = hashlib.sha256()
    for name, found in _files(archive, links, most):
        told.update(f"{name}\0{_label(found, noted.get(name))}\n".encode())
    return told.hexdigest()


def note(archive: Path, links: str | Path | None, most: int, record: Path, threads: int) -> dict[str, Noted]:
    """Each file of the archive as it is now, by name; `record` has those of the last time."""
    from wbcsr.progress import side_by_side  # here, since a dry run needs the state, and has no tqdm

    before = read_record(record)

    def described(item: tuple[str, _Found]) -> tuple[str, Noted]:
        name, found = item
        noted = before.get(name)
        digest = noted.sha256 if noted and found.is_as(noted) else _content(found)
        return name, Noted(found.size, found.time, digest, _label(found, noted, digest))

    return dict(side_by_side(described, list(_files(archive, links, most)), threads, "note contents"))


def write_record(path: Path, noted: Mapping[str, Noted]) -> None:
    """Write what `note` found as the CSV file `path` (`RECORD_COLUMNS`)."""
    rows = [{"file": name, **asdict(each)} for name, each in noted.items()]
    write_csv(path, pd.DataFrame(rows, columns=RECORD_COLUMNS))


def read_record(path: str | Path) -> dict[str, Noted]:
    """What `write_record` wrote; empty where it is not there. InputError where it is damaged."""
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
    """What the content is called of a file whose SHA-256 is `digest`; without that it is read where it must be."""
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
        raise InputError(f"{found.path}: cannot be read ({error.strerror}); mend its permissions") from error
