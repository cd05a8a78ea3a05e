"""Files that are either complete or absent: they are written under another name, then renamed. Also their hashes."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from wbcsr.claim import require_claim
from wbcsr.errors import InputError, first_line, how_to_regenerate
from wbcsr.names import clean, clean_path
from wbcsr.text import counted

# The suffixes of image files; defined here, not in `imaging`, because a dry run needs them and has no decoders.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
)

_SECONDS_OF_A_DAY = 86_400
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` when the block ends without an error.

    The temporary name contains host and process, so that two writers of one output never share a file. It keeps the
    suffix, by which image and array writers choose their format. After a failure, the temporary file is removed. Raises
    InputError if a later job now holds the outputs of this process's job (see `wbcsr.claim`).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}@{socket.gethostname()}.part{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        require_claim()
        os.replace(temporary, path)
    except OSError as error:
        # The error of a full disk names no file, and the temporary name tells a user nothing. An error without a number
        # comes from a package, and a file name would replace its message.
        if error.errno is not None and str(error.filename or temporary) == str(temporary):
            error.filename = str(path)
        raise
    finally:
        # On a read-only disk, unlinking a missing file is an error, too.
        if temporary.exists():
            temporary.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in `folder`.

    On this host, a file is removed if its process has ended. A file of another host is removed after a day.
    """
    for path in folder.glob(".*@*.part*"):
        name = re.fullmatch(r".*\.(?P<process>\d+)@(?P<host>.*)\.part.*", path.name)
        if name is None:
            continue
        # Another job may have renamed or removed the file in the meantime.
        with suppress(FileNotFoundError):
            if name["host"] == socket.gethostname():
                dead = not _is_alive(int(name["process"]))
            else:
                dead = time.time() - path.stat().st_mtime > _SECONDS_OF_A_DAY
            if dead:
                path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only checks whether the process exists
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def scratch_folder() -> Path:
    """This user's own folder for temporary files, in TMPDIR or /tmp; InputError if it belongs to another user."""
    folder = Path(tempfile.gettempdir()) / f"wbcsr-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: belongs to another user; set TMPDIR to a folder of your own")
    return folder


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, content: bytes | memoryview) -> None:
    """Write `content`, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_if_changed(path: Path, content: bytes) -> str:
    """Write a file unless it already has this content; returns the SHA-256 of the content."""
    digest = hashlib.sha256(content).hexdigest()
    if not (path.is_file() and sha256(path) == digest):
        write_bytes(path, content)
    return digest


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON with sorted keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises InputError if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; run the rule that writes it") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({first_line(error)}); {how_to_regenerate(path)}") from error


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write `table` without its index; floats keep all significant digits."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)


def read_csv(path: str | Path, columns: list[str]) -> pd.DataFrame:
    """Read a CSV file that one of our jobs wrote and that must have at least `columns`; see `read_users_table`.

    Empty cells and the words NA and null remain text, because they may be names of classes. Raises InputError if the
    file is empty, cannot be parsed or lacks a column; the message ends with how to regenerate the file.
    """
    texts = {
        "image": str,
        "source": str,
        "file": str,
        "class": str,
        "actual": str,
        "of": str,
        "partition": str,
        "subset": str,
        "predicted": str,
        "sha256": str,
        "packed_sha256": str,
    }
    remedy = how_to_regenerate(path)
    try:
        table = pd.read_csv(path, dtype=texts, keep_default_na=False)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({first_line(error)}); {remedy}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path}: its rows have more fields than its header, perhaps a comma at their ends; {remedy}")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{path}: lacks the column(s) {', '.join(missing)}; {remedy}")
    return table


def read_users_table(
    path: str | Path,
    columns: list[str],
    remedy: str,
    optional: Sequence[str] = (),
    called: Mapping[str, str | None] | None = None,
) -> pd.DataFrame:
    """Read a table that a user wrote by hand or with a spreadsheet; see `parse_users_table`.

    The columns `image` and `file` are paths. Backslashes become forward slashes, and a leading ./ is removed. Raises
    InputError also if such a cell is empty.
    """
    table = parse_users_table(Path(path).read_bytes(), str(path), columns, remedy, optional, called)
    for column in table.columns.intersection(["image", "file"]):
        table[column] = table[column].map(_forward)
        for line in table.index[table[column] == ""]:
            their = (called or {}).get(column, column)
            raise InputError(f"{path}, line {line}: the column {their} is empty; {remedy}")
    return table


def _forward(path: str) -> str:
    return "/".join(name for name in clean_path(path.replace("\\", "/")).split("/") if name not in ("", "."))


def parse_users_table(
    content: bytes,
    name: str,
    columns: list[str],
    remedy: str,
    optional: Sequence[str] = (),
    called: Mapping[str, str | None] | None = None,
) -> pd.DataFrame:
    """The `columns` of a table that a user wrote, and its `optional` ones if present; the index holds line numbers.

    `content` is CSV, separated by commas, semicolons or tabs (the separator that splits the first line into the
    columns), in UTF-8, or in UTF-16 with a byte-order mark, as spreadsheets save it. `called` maps our name of a column
    to that in the table, if it differs. Column names are matched without regard to case and surrounding blanks. Empty
    rows are skipped. All cells are text, cleaned by `names.clean`.

    Raises InputError if the text cannot be read, a column is missing or occurs twice, or a row has more or fewer fields
    than the first line. The message begins with `name` and ends with `remedy`.
    """
    theirs = {column: clean((called or {}).get(column) or column).casefold() for column in [*columns, *optional]}
    needed = [theirs[column] for column in columns]
    # Excel writes the separator on a line of its own.
    text = re.sub(r"\Asep=[,;\t](?=[\r\n])", "", _decode(content, name, remedy))
    first = next((line for line in text.splitlines() if clean(line)), "")
    headers = {
        delimiter: [clean(cell).casefold() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        for delimiter in _DELIMITERS
    }
    delimiter = next((each for each, header in headers.items() if {*needed} <= {*header}), None)
    if delimiter is None:
        found = max(headers.values(), key=len)
        missing = " and the column ".join(column for column in needed if column not in found)
        has = f"it has {', '.join(map(repr, found[:10]))}" if found else "it is empty"
        raise InputError(f"{name}: lacks the column {missing} ({has}); {remedy}")
    header = headers[delimiter]
    while not header[-1]:
        header.pop()
    wanted = list(dict.fromkeys([*columns, *(column for column in optional if theirs[column] in header)]))
    for column in wanted:
        if header.count(theirs[column]) > 1:
            raise InputError(f"{name}: has the column {theirs[column]} twice; {remedy}")
    places = [header.index(theirs[column]) for column in wanted]
    lines, rows = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for fields in reader:
            cells = [clean(field) for field in fields]
            if not any(cells):
                continue
            if len(cells) < len(header) or any(cells[len(header) :]):
                many = f" (a {_DELIMITERS[delimiter]} inside a field needs quotes around it)"
                raise InputError(
                    f"{name}, line {reader.line_num}: has {counted(len(cells), 'field')}, and the first line has "
                    f"{len(header)}{many if len(cells) > len(header) else ''}; {remedy}"
                )
            lines.append(reader.line_num)
            rows.append([cells[place] for place in places])
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: cannot be read as CSV ({error}); {remedy}") from error
    table = pd.DataFrame(rows[1:], columns=wanted, index=pd.Index(lines[1:], name="line"), dtype=object)
    for column in wanted:
        broken = table.index[table[column].str.contains(r"[\r\n]")]
        if len(broken):
            raise InputError(
                f"{name}, line {broken[0]}: the column {theirs[column]} contains a line break, perhaps because a "
                f"quotation mark is not closed; {remedy}"
            )
    return table


def _decode(content: bytes, name: str, remedy: str) -> str:
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}, line {line}: is not UTF-8 text; save it as CSV UTF-8, or {remedy}") from error
    if "\0" in text:
        raise InputError(f"{name}: is not UTF-8 text; save it as CSV UTF-8, or {remedy}")
    return text


def without_suffix(path: str) -> str:
    """The path of a file without the suffix of an image; other suffixes are kept."""
    stem, dot, suffix = path.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in IMAGE_SUFFIXES else path


def png_names(files: pd.Series) -> pd.Series:
    """The names of the PNG files that are made from the images `files` of one folder.

    The new name is the old stem with .png. If two images of the folder have the same stem, or the stem of one is the
    name of another, it is the whole old name with .png.
    """
    stems = files.map(lambda file: PurePosixPath(file).stem)
    shared = (stems.map(Counter(stems)) > 1) | stems.isin(files)
    return stems.where(~shared, files) + ".png"


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
