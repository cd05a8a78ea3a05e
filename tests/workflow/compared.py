"""Comparison of the results of two studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.files import sha256

# Keys for time, machine, speed and number of attempts, which may differ between equal studies.
VARYING = {"started", "seconds", "cost", "machine", "measured", "images_per_second", "images_kept", "resumed_epochs"}
# The state of an archive: its size and time.
VARYING |= {"state"}


def differences(one: Path, other: Path, part: str = "results") -> list[str]:
    """Files that only one of two studies has or whose content differs, apart from time, machine and speed."""
    names = {path.relative_to(study).as_posix() for study in (one, other) for path in (study / part).rglob("*")}
    files = {name for name in names if not (one / name).is_dir() and not Path(name).name.startswith(".")}
    return sorted(name for name in files if content(one / name) != content(other / name))


def content(path: Path) -> Any:
    """The content of a file that must not depend on when and where it was made."""
    if not path.is_file():
        return None
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns="seconds").to_csv()
    if path.name == "archive.csv":
        return pd.read_csv(path).drop(columns=["time", "label"]).to_csv()
    if path.suffix == ".json":
        # Engines are stored by GPU model; a local run has none.
        text = path.read_text().replace("/any/", "/h100/")
        return json.dumps(_without_varying(json.loads(text)), sort_keys=True)
    if path.name.startswith("cost.") or path.suffix == ".html":
        # These files contain seconds and dates; the tables in them are also separate files.
        return path.stat().st_size > 0
    return sha256(path)


def _without_varying(value: Any) -> Any:
    if isinstance(value, dict):
        hashed = {"inputs_sha256", "outputs_sha256"}
        return {
            key: sorted(inner) if key in hashed else _without_varying(inner)
            for key, inner in value.items()
            if key not in VARYING
        }
    if isinstance(value, list):
        return [_without_varying(inner) for inner in value]
    return value
