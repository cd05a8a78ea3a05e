"""The SHA-256 of large files, remembered on this node, because packed images are an input of many jobs."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from wbcsr.files import scratch_folder, sha256

# Bytes that are hashed in about 20 ms.
LEAST = 16 * 2**20
# Two writes within one tick of the clock give the same times, so younger files are not remembered.
_SETTLED_NS = 2_000_000_000


def remembered_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as `files.sha256`; a large file that has not changed is read once on a node.

    A file counts as unchanged if its inode, its size and its times of modification (mtime, ctime) are the same. Every
    write sets ctime, and no program can set it back. A fault of the disk changes none of them; it is found on another
    node, or when the notes, which are temporary files, are gone. A damaged note is not used. If a note cannot be
    written, the file is read again next time.
    """
    before = _state(path)
    if os.stat(path).st_size < LEAST:
        return sha256(path)
    note = scratch_folder() / "hashes" / hashlib.sha256(before.encode()).hexdigest()
    with suppress(OSError, ValueError):
        digest, seal = note.read_text(encoding="ascii").split()
        if seal == _seal(before, digest):
            return digest
    digest = sha256(path)
    settled = time.time_ns() - os.stat(path).st_ctime_ns > _SETTLED_NS
    if settled and _state(path) == before:
        with suppress(OSError):
            note.parent.mkdir(exist_ok=True)
            note.write_text(f"{digest} {_seal(before, digest)}", encoding="ascii")
    return digest


def _state(path: str | Path) -> str:
    found = os.stat(path)
    return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _seal(state: str, digest: str) -> str:
    return hashlib.sha256(f"{state} {digest}".encode()).hexdigest()
