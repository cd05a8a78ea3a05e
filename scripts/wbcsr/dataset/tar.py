"""Tar files, also compressed ones, as archives."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from wbcsr.dataset.archive import COMMIT, GB, RATIO_APPLIES_ABOVE_BYTES, Archive, zstandard
from wbcsr.errors import InputError, first_line

_CHUNK = 1 << 20  # bytes of a compressed file that are unpacked at once
# The first bytes of a compressed file → the module that can read it; for Zstandard, `zstandard` finds it.
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_UNPACKERS = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\0": lzma, _ZSTANDARD: None}
# Errors of tarfile and of the formats; damaged sizes cause the last three.
_DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError, MemoryError)


class Tar(Archive):
    """A tar file. A compressed one is first unpacked into a temporary file, because it can only be read in order."""

    def __init__(self, path: Path, limits: Mapping[str, int]) -> None:
        super().__init__(path, limits)
        self._lock = threading.Lock()
        self._members: dict[str, tarfile.TarInfo] = {}
        self._opened = ExitStack()
        try:
            self._file = self._plain()
            self._tar = self._opened.enter_context(tarfile.open(fileobj=self._file, mode="r:"))  # noqa: SIM115
            self._list()
        except _DAMAGED as error:
            self.close()
            raise InputError(
                f"{path}: is not a tar file, or is incomplete ({first_line(error)}); download or copy it again"
            ) from error
        except InputError:
            self.close()
            raise

    def _plain(self) -> IO[bytes]:
        """Open the tar file itself, or its unpacked copy, which has no name and vanishes when it is closed."""
        try:
            packed = self._opened.enter_context(open(self.path, "rb"))  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error
        start = packed.read(max(map(len, _UNPACKERS)))
        packed.seek(0)
        magic = next((magic for magic in _UNPACKERS if start.startswith(magic)), None)
        if magic is None:
            return packed
        module: Any = _UNPACKERS[magic] or zstandard()
        if module is None:
            raise InputError(
                f"{self.path}: is compressed with Zstandard, which needs Python 3.14 or the package backports.zstd; "
                "install it (`pip install --constraint envs/pins.txt backports.zstd`), or unpack the file (`tar --zstd "
                "-xf`) and set dataset.archive to the folder"
            )
        target = self._opened.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        try:
            with module.open(packed) as unpacked:
                self._unpack(unpacked, target)
        except OSError as error:
            if error.errno is None:  # the error of a format
                raise EOFError(first_line(error)) from error
            raise InputError(
                f"{self.path}: cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}); set TMPDIR to a "
                "folder with more space, or unpack it yourself and set dataset.archive to the folder"
            ) from error
        except getattr(module, "ZstdError", EOFError) as error:
            raise EOFError(first_line(error)) from error
        target.seek(0)
        return target

    def _unpack(self, unpacked: IO[bytes], target: IO[bytes]) -> None:
        packed_size = self.path.stat().st_size
        while chunk := unpacked.read(_CHUNK):
            size = target.write(chunk) and target.tell()
            if beyond := self._beyond(size, "total_gb", GB):
                raise InputError(f"{self.path}: unpacks to at least {size:,} bytes, {beyond}")
            ratio = size // packed_size
            if size > RATIO_APPLIES_ABOVE_BYTES and (beyond := self._beyond(ratio, "ratio")):
                raise InputError(f"{self.path}: grows {ratio:,} times when unpacked, {beyond}")

    def _list(self) -> None:
        for number, member in enumerate(self._tar, start=1):
            if beyond := self._beyond(number, "files"):
                raise InputError(f"{self.path}: has at least {number:,} entries, {beyond}")
            name = self._safe_name(member.name)
            self._check_kind(member.name, member.issym() or member.islnk(), not (member.isreg() or member.isdir()))
            if member.isreg():
                self._check_size(member.name, member.size)
                self._add(member.name, name, member.size)
                self._members[name] = member
        # Without the block of zeros at the end, entries may be missing; tarfile does not report this.
        self._file.seek(self._tar.offset)
        if self._file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError("its end is missing")
        self._check_total()
        # `git archive` writes the commit into a comment, as in a zip file.
        comment = self._tar.pax_headers.get("comment", "").encode()
        self.commit = comment.decode() if COMMIT.fullmatch(comment) else ""

    def read(self, entry: str) -> bytes:
        try:
            with self._lock:
                file = self._tar.extractfile(self._members[entry])
                content = file.read() if file else b""
        except (tarfile.TarError, OSError) as error:
            raise self._error(entry, f"is damaged ({first_line(error)}); download or copy the archive again") from error
        if len(content) != self.entries[entry]:
            raise self._error(entry, "is shorter than the archive says; download or copy the archive again")
        return content

    def close(self) -> None:
        self._opened.close()
