"""The table labels.csv of the study's archive, which gives the classes of the cells in each photograph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from wbcsr.dataset.archive import Archive
from wbcsr.dataset.classes import Classes
from wbcsr.errors import InputError
from wbcsr.files import parse_users_table


def number_of(photograph: str) -> int | None:
    """Return the number at the end of a photograph's name, which labels.csv uses; None if there is none."""
    number = re.search(r"(\d+)$", PurePosixPath(photograph).stem)
    return int(number[1]) if number else None


def categories(archive: Archive, dataset: Mapping[str, Any], remedy: str) -> list[tuple[int, str]]:
    """Return number and class of each photograph, in the order of labels.csv next to the folder of photographs.

    `dataset` is that section of the configuration. Where the file names a member of a class, the class is returned;
    any other category, such as several classes separated by commas, is returned unchanged. Raises InputError, which
    ends with `remedy`, if the file is missing or unreadable.
    """
    classes = Classes(dict(dataset))
    path = (PurePosixPath(dataset["photographs"].strip("/")).parent / "labels.csv").as_posix()
    if path not in archive.entries:
        raise InputError(f"{archive.path}: lacks {path}, which gives the photographs' classes; {remedy}")
    table = parse_users_table(archive.read(path), f"{archive.path}: {path}", ["image", "category"], remedy)
    for line, number, _ in table.itertuples():
        if number and not number.isdecimal():
            raise InputError(f"{archive.path}: {path}, line {line}: {number!r} is not a photograph's number; {remedy}")
    rows = table.itertuples(index=False)
    # A pattern of a class might match several classes that are separated by commas.
    return [
        (int(number), category if "," in category else classes.of(category) or category)
        for number, category in rows
        if number
    ]
