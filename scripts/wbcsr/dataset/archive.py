"""A common interface to zip files, tar files and folders: the names of the files, and the bytes of each.

Archives come from any source, so files are never extracted under the names inside: callers get bytes and choose where
to write them. Dangerous or ambiguous archives are rejected before any file is read.
"""

from __future__ import annotations

import bz2
import copy
import importlib
import lzma
import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from wbcsr.dataset.folder import Folder
from wbcsr.errors import InputError, first_line
from wbcsr.names import clean_path

_MB, GB = 1_000_000, 1_000_000_000
# Smaller files with a high compression ratio, such as empty images, are harmless.
RATIO_APPLIES_ABOVE_BYTES = 1_000_000

# Bits of the general purpose flag (APPNOTE.TXT 4.4.4): encryption is 0, 6 and 13; UTF-8 is 11.
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
# Methods for which zipfile limits how much one read unpacks, and names of methods that it cannot unpack.
_STREAMED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZSTANDARD = 93
_UNUSUAL = {9: "Deflate64", _ZSTANDARD: "Zstandard", 95: "xz", 98: "PPMd"}
_TAR = re.compile(r"\.(tar(\.(gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
# Archives that are not read, by their first bytes.
_NOT_READ = {b"Rar!": "RAR", b"7z\xbc\xaf": "7z"}
COMMIT = re.compile(rb"[0-9a-f]{40}")
# The first line of the small file that Git LFS keeps in place of a large one.
_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


def is_lfs_pointer(content: bytes) -> bool:
    """Whether a file is one that Git LFS keeps in place of a large file (its specification, "Pointer")."""
    return content.startswith(_LFS_POINTER)


def zstandard() -> Any:
    """The module that reads Zstandard, of Python 3.14 or of the package backports.zstd; None if there is neither."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    return None


class Archive(ABC):
    """The files of an archive. Created by `open_archive`, and closed at the end of its `with` block.

    `entries` maps each file's path inside the archive, with forward slashes and cleaned (`names.clean_path`), to its
    size in bytes. `doubt` is appended to the message about a missing file if file names may have been decoded wrongly.
    `commit` is the commit from which git wrote the zip file, or "" if it is unknown.
    """

    doubt = ""
    commit = ""

    def __init__(self, path: Path, limits: Mapping[str, int]) -> None:
        self.path = path
        self.limits = limits
        self.entries: dict[str, int] = {}

    @abstractmethod
    def read(self, entry: str) -> bytes:
        """Return the bytes of one of `entries`; thread-safe.

        Raises InputError if the file cannot be read or exceeds the limit for one file.
        """

    @abstractmethod
    def close(self) -> None:
        """Close open files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _safe_name(self, name: str) -> str:
        """Return an entry's name cleaned and without redundant parts; raises InputError if it is not allowed."""
        if "\0" in name:
            raise self._error(name, "has a zero byte in its name; pack the archive again")
        # Some programs write backslashes; on Windows, these can also point outside a folder.
        parts = re.split(r"[/\\]", name)
        if parts[0] == "" or re.match(r"[A-Za-z]:", name):
            raise self._error(name, "has an absolute path; pack the archive again with relative paths")
        if ".." in parts:
            raise self._error(name, "points outside the archive; pack it again without '..'")
        if "\\" in name:
            remedy = f"pack the archive again with forward slashes{self.doubt}"
            raise self._error(name, f"has a backslash in its path; {remedy}")
        return clean_path("/".join(part for part in parts if part not in ("", ".")))

    def _check_kind(self, name: str, is_link: bool, is_special: bool) -> None:
        if is_link:
            raise self._error(name, "is a link; pack the archive again with the file itself")
        if is_special:
            raise self._error(name, "is a device or another special file; pack the archive again without it")

    def _check_size(self, name: str, size: int) -> None:
        if beyond := self._beyond(size, "file_mb", _MB):
            raise self._error(name, f"unpacks to {size:,} bytes, {beyond}")

    def _add(self, name: str, safe_name: str, size: int) -> None:
        """Add a file to `entries`; raises InputError if it is there."""
        if safe_name in self.entries:
            raise self._error(name, "occurs twice; pack the archive again without the second one")
        self.entries[safe_name] = size

    def _check_total(self) -> None:
        total = sum(self.entries.values())
        if beyond := self._beyond(total, "total_gb", GB):
            raise InputError(f"{self.path}: unpacks to {total:,} bytes, {beyond}")

    def _error(self, entry: str, problem: str) -> InputError:
        # A name from outside may contain anything; repr keeps the message on one line.
        return InputError(f"{self.path}: entry {entry!r} {problem}")

    def _beyond(self, number: int, limit: str, unit: int = 1) -> str | None:
        """Return the end of an error message if `number` exceeds the limit of this name (in `unit`), else None."""
        most = self.limits[limit] * unit
        if number <= most:
            return None
        return f"more than the limit of {most:,}; if this is intended, raise dataset.limits.{limit}"


def open_archive(
    path: str | Path, limits: Mapping[str, int], links: str | Path | None = None, classes: Sequence[str] = ()
) -> Archive:
    """Open the zip file, tar file, folder or MedMNIST file (.npz) at `path`.

    `limits` is `dataset.limits` of the configuration: `files`, `file_mb` (each file), `total_gb` and `ratio` (maximum
    ratio of unpacked to packed size; of each file in a zip file). `links` is `dataset.links`: symbolic links in a
    folder may point into the folder itself and into `links`. `classes` are the names of the labels of a MedMNIST file.
    Raises InputError if the archive is missing, is not a zip or tar file, is damaged, exceeds the limits, or has an
    entry that is not allowed: an absolute path or one that points outside the archive, a link (in a folder, see
    `Folder`) or device, an encrypted entry, a duplicate name, or a compression method other than deflate, bzip2, LZMA
    and, where `zstandard` finds a module, Zstandard.
    """
    path = Path(path)
    if path.is_dir():
        return _Folder(path, limits, links)
    if path.is_file() and path.suffix.lower() == ".npz":
        from wbcsr.dataset.medmnist import MedMnist  # here, since it is made of a zip file of this module

        return MedMnist(path, limits, classes)
    if path.is_file() and _TAR.search(path.name):
        from wbcsr.dataset.tar import Tar  # here for the same reason

        return Tar(path, limits)
    if path.is_file():
        return Zip(path, limits)
    raise InputError(f"{path}: there is no such archive or folder; put it there or correct dataset.archive")


class Zip(Archive):
    """A zip file; see `open_archive`."""

    def __init__(self, path: Path, limits: Mapping[str, int]) -> None:
        super().__init__(path, limits)
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            with open(path, "rb") as file:
                kind = _NOT_READ.get(file.read(4))
            if kind:
                raise InputError(
                    f"{path}: is a {kind} archive, which is not read; unpack it and set dataset.archive to the folder"
                ) from error
            raise InputError(
                f"{path}: is not a zip file, or is incomplete ({first_line(error)}); download or copy it again"
            ) from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        # `git archive`, which also makes the zip files of GitHub and GitLab, writes the commit into the comment.
        self.commit = match[0].decode() if (match := COMMIT.fullmatch(self._zip.comment)) else ""
        self._lock = threading.Lock()  # zipfile counts its open entries without a lock
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            self._list()
        except InputError:
            self.close()
            raise

    def _list(self) -> None:
        infos = self._zip.infolist()
        if beyond := self._beyond(len(infos), "files"):
            raise InputError(f"{self.path}: has {len(infos):,} entries, {beyond}")
        for info in infos:
            name = self._safe_name(self._decoded(info))
            self._check(info)
            if info.is_dir():
                continue
            self._add(info.orig_filename, name, info.file_size)
            self._infos[name] = info
        self._check_total()

    def _decoded(self, info: zipfile.ZipInfo) -> str:
        """Return the name of an entry; many programs, including that of macOS, write UTF-8 without setting the flag."""
        if info.flag_bits & _UTF8 or info.orig_filename.isascii():
            return info.orig_filename
        try:
            return info.orig_filename.encode("cp437").decode("utf-8")  # zipfile decoded it as cp437, as the format says
        except UnicodeDecodeError:
            self.doubt = (
                f"; names such as {info.orig_filename!r} may be wrong, because they are not in UTF-8: unpack the "
                "archive where its names are right, and set dataset.archive to that folder"
            )
            return info.orig_filename

    def _check(self, info: zipfile.ZipInfo) -> None:
        name = info.orig_filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        self._check_kind(name, kind == stat.S_IFLNK, kind not in (0, stat.S_IFREG, stat.S_IFDIR))
        if info.flag_bits & _ENCRYPTED:
            raise self._error(name, "is encrypted; pack the archive again without a password")
        method = info.compress_type
        is_read = method in (*_STREAMED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA) or (method == _ZSTANDARD and zstandard())
        if not is_read:
            raise self._error(
                name,
                f"is compressed with an unusual method ({_UNUSUAL.get(method, method)}); unpack the archive and set "
                "dataset.archive to the folder, or pack it again with deflate",
            )
        self._check_size(name, info.file_size)
        ratio = info.file_size // max(info.compress_size, 1)
        if info.file_size > RATIO_APPLIES_ABOVE_BYTES and (beyond := self._beyond(ratio, "ratio")):
            raise self._error(name, f"grows {ratio:,} times when unpacked, {beyond}")

    def open(self, entry: str) -> IO[bytes]:
        """One of `entries` to be read from its start; for one thread, and with zipfile's own errors."""
        if self._infos[entry].compress_type not in _STREAMED:
            raise self._error(entry, "is compressed with an unusual method; pack the archive again with deflate")
        return self._zip.open(self._infos[entry])

    def read(self, entry: str) -> bytes:
        info = self._infos[entry]
        try:
            if info.compress_type in _STREAMED:
                with self._lock, self._zip.open(info) as file:
                    # With a bound, zipfile unpacks no more than the verified size, whatever the data contains.
                    content = file.read(info.file_size + 1)
            else:
                content = self._unpacked(info)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            ValueError,
            NotImplementedError,
            OSError,
        ) as error:
            raise self._error(entry, f"is damaged ({first_line(error)}); download or copy the archive again") from error
        if len(content) != info.file_size:
            raise self._error(entry, "is shorter than the archive says; download or copy the archive again")
        return content

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        """Unpack a file that zipfile unpacks without a limit for one read, or not at all."""
        stored = copy.copy(info)
        stored.compress_type, stored.file_size = zipfile.ZIP_STORED, info.compress_size
        del stored.CRC  # it is that of the unpacked file
        with self._lock, self._zip.open(stored) as file:
            # Files that cannot be compressed grow by less than this.
            packed = file.read(info.file_size + info.file_size // 50 + 1000)
        decompressor: Any = bz2.BZ2Decompressor()
        if info.compress_type == _ZSTANDARD:
            decompressor = zstandard().ZstdDecompressor()
        elif info.compress_type == zipfile.ZIP_LZMA:
            # APPNOTE.TXT 5.8.8: two bytes of version, two of length, and five of properties, with which a .lzma file
            # begins, too. There, the unpacked size follows; -1 is unknown.
            packed = packed[4:9] + struct.pack("<q", -1) + packed[9:]
            decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=self.limits["file_mb"] * _MB)
        try:
            content: bytes = decompressor.decompress(packed, info.file_size + 1)
        except getattr(zstandard(), "ZstdError", EOFError) as error:
            raise zipfile.BadZipFile(first_line(error)) from error
        if len(content) == info.file_size and zlib.crc32(content) != info.CRC:
            raise zipfile.BadZipFile("its checksum is wrong")
        return content

    def close(self) -> None:
        self._zip.close()


class _Folder(Archive):
    def __init__(self, path: Path, limits: Mapping[str, int], links: str | Path | None) -> None:
        super().__init__(path, limits)
        self._folder = Folder(path, links)
        self._names: dict[str, str] = {}
        for name, found in self._folder.files(limits["files"]):
            entry = clean_path(name)
            if entry in self._names:
                raise self._error(name, "differs from another file only by blanks or by the Unicode form; rename one")
            self._names[entry] = name
            self.entries[entry] = found.st_size

    def read(self, entry: str) -> bytes:
        # Checked again here: since the folder was listed, links may have changed, and files may have grown.
        target = self._folder.target(self._names[entry])
        try:
            with open(target, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                # A folder may contain large files that are never read, so the size is only checked here.
                if beyond := self._beyond(size, "file_mb", _MB):
                    raise self._error(entry, f"has {size:,} bytes, {beyond}")
                return file.read()
        except OSError as error:
            raise self._error(entry, f"cannot be read ({error.strerror}); correct its permissions") from error

    def close(self) -> None:
        """There is nothing to close."""
