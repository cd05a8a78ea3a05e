"""The records that jobs write about themselves, as tables and report read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_json


def read_records(paths: Iterable[Path], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Read JSON files that must have `keys`; raises InputError if a file is missing or lacks a key."""
    records = []
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: is missing; run the workflow again to make it")
        record = read_json(path)
        missing = [key for key in keys if not isinstance(record, dict) or key not in record]
        if missing:
            raise InputError(f"{path}: lacks '{missing[0]}'; {how_to_regenerate(path)}")
        records.append(record)
    return records
