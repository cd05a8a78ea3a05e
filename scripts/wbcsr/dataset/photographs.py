"""The table labels.csv of the study's archive, which gives the classes of the cells in each photograph."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from wbcsr.dataset.archive import Archive
from wbcsr.errors import InputError
from wbcsr.files import parse_users_table


def number_of(photograph: str) -> int | None:
    """Return the number at the end of a photograph's name, which labels.csv uses; None if there is none."""
    number = re.search(r"(\d+)$", PurePosixPath(photograph).stem)
    return int(number[1]) if number else None


def categories(archive: Archive, folder: str, remedy: str) -> list[tuple[int, str]]:
    """Return number and category of each photograph, in the order of the file labels.csv next to `folder`.

    A category is a class, several classes separated by commas, or empty. Raises InputError, which ends with `remedy`,
    if the file is missing or unreadable.
    """
    path = (PurePosixPath(folder.strip("/")).parent / "labels.csv").as_posix()
    if path not in archive.entries:
        raise InputError(f"{archive.path}: lacks {path}, which gives the photographs' classes; {remedy}")
    table = parse_users_table(archive.read(path), f"{archive.path}: {path}", ["image", "category"], remedy)
    for line, number, _ in table.itertuples():
        if number and not number.isdecimal():
            raise InputError(f"{archive.path}: {path}, line {line}: {number!r} is not a photograph's number; {remedy}")
    return [(int(number), category) for number, category in table.itertuples(index=False) if number]
