"""Files that are whole or not there: written beside, then renamed; and their hashes."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.claim import require_claim
from wbcsr.errors import InputError, first_line, make_again

# The endings of images' names; here and not in `imaging`, since a dry run needs them and has no decoders.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")

_SECONDS_OF_A_DAY = 86_400


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` once the block has ended well.

    The name beside carries host and process, so two writers of one output never share a file, and keeps the suffix,
    by which image and array writers choose their format. Nothing is left behind on failure. InputError where the job
    that this process works for no longer holds its outputs (see `wbcsr.claim`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}@{socket.gethostname()}.part{path.suffix}")
    try:
        yield beside
        with open(beside, "rb+") as written:
            os.fsync(written.fileno())
        require_claim()
        os.replace(beside, path)
    except OSError as error:
        # A full disk does not say what it had no room for, and the name beside says nothing to a user. An error without
        # a number is a package's own, and a file's name would take the place of what it says.
        if error.errno is not None and str(error.filename or beside) == str(beside):
            error.filename = str(path)
        raise
    finally:
        # Looked for first: on a read-only disk, to remove what is not there is an error, too.
        if beside.exists():
            beside.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left half-written in `folder`.

    Of this host's it is known that they have ended; what another host left is taken for dead after a day.
    """
    for path in folder.glob(".*@*.part*"):
        name = re.fullmatch(r".*\.(?P<process>\d+)@(?P<host>.*)\.part.*", path.name)
        if name is None:
            continue
        # Another job may put it in place or remove it meanwhile.
        with suppress(FileNotFoundError):
            if name["host"] == socket.gethostname():
                dead = not _is_alive(int(name["process"]))
            else:
                dead = time.time() - path.stat().st_mtime > _SECONDS_OF_A_DAY
            if dead:
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 is not sent; it asks whether it could be
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def scratch_folder() -> Path:
    """This user's own folder for what may be lost, below TMPDIR or /tmp; InputError where it is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"wbcsr-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to another user; set TMPDIR to a folder of yours")
    return folder


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write `content`, whole or not at all."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON with a stable order of keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; InputError where it is not there or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: is gone; run the rule that makes it again") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({first_line(error)}); {make_again(path)}") from error


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write `table` without its index; floats keep every digit that tells them apart."""
    with replacing(path) as beside:
        table.to_csv(beside, index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)


def read_csv(path: str | Path, columns: list[str], remedy: str | None = None) -> pd.DataFrame:
    """Read a CSV file that must have at least `columns`.

    Empty cells and the words NA and null stay text, since they may be names of classes.
    InputError where the file is empty, cannot be parsed, or lacks a column; it ends with `remedy`, or with how to make
    a result again.
    """
    remedy = remedy or make_again(path)
    texts = {
        "image": str,
        "source": str,
        "group": str,
        "file": str,
        "label": str,
        "class": str,
        "partition": str,
        "subset": str,
        "predicted": str,
        "sha256": str,
    }
    try:
        table = pd.read_csv(path, dtype=texts, keep_default_na=False)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({first_line(error)}); {remedy}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path}: its rows have more fields than its header, as with a comma at their ends; {remedy}")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; {remedy}")
    return table


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
