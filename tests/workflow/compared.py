"""Two studies held against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.files import sha256

# What says when, where, how fast or in how many attempts something came to be.
TOLD = {"started", "seconds", "cost", "machine", "measured", "images_per_second", "images_kept", "resumed_epochs"}
# By what an archive is known: its size and time.
TOLD |= {"state"}


def differences(one: Path, other: Path, part: str = "results") -> list[str]:
    """Files that only one of two studies has or that differ, apart from what tells time, machine and speed."""
    names = {path.relative_to(study).as_posix() for study in (one, other) for path in (study / part).rglob("*")}
    files = {name for name in names if not (one / name).is_dir() and not Path(name).name.startswith(".")}
    return sorted(name for name in files if content(one / name) != content(other / name))


def content(path: Path) -> Any:
    """What of a file must be the same whenever and wherever it is made."""
    if not path.is_file():
        return None
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns="seconds").to_csv()
    if path.name == "archive.csv":
        return pd.read_csv(path).drop(columns=["time", "label"]).to_csv()
    if path.suffix == ".json":
        # Engines are kept apart by the GPU model; a local run has none.
        text = path.read_text().replace("/any/", "/h100/")
        return json.dumps(_without_told(json.loads(text)), sort_keys=True)
    if path.name.startswith("cost.") or path.suffix == ".html":
        # Seconds and dates are what they are for; their tables stand in files of their own.
        return path.stat().st_size > 0
    return sha256(path)


def _without_told(value: Any) -> Any:
    if isinstance(value, dict):
        hashed = {"inputs_sha256", "outputs_sha256"}
        return {
            key: sorted(inner) if key in hashed else _without_told(inner)
            for key, inner in value.items()
            if key not in TOLD
        }
    if isinstance(value, list):
        return [_without_told(inner) for inner in value]
    return value
