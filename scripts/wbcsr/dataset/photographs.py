"""The table labels.csv beside the photographs of the study's archive, which names what each of them shows."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from wbcsr.dataset.archive import Archive
from wbcsr.errors import InputError
from wbcsr.files import parse_users_table


def number_of(photograph: str) -> int | None:
    """The number at the end of a photograph's name, by which labels.csv knows it."""
    number = re.search(r"(\d+)$", PurePosixPath(photograph).stem)
    return int(number[1]) if number else None


def categories(archive: Archive, folder: str, remedy: str) -> list[tuple[int, str]]:
    """Number and category of each photograph, in the order of the file labels.csv beside `folder`.

    A category is a class, several separated by commas, or empty. InputError, which ends with `remedy`, where the file
    is missing or unreadable.
    """
    path = (PurePosixPath(folder.strip("/")).parent / "labels.csv").as_posix()
    if path not in archive.entries:
        raise InputError(f"{archive.path}: lacks {path}, which names the photographs' classes; {remedy}")
    table = parse_users_table(archive.read(path), f"{archive.path}: {path}", ["image", "category"], remedy)
    for line, number, _ in table.itertuples():
        if number and not number.isdecimal():
            raise InputError(f"{archive.path}: {path}, line {line}: {number!r} is no number of a photograph; {remedy}")
    return [(int(number), category) for number, category in table.itertuples(index=False) if number]
