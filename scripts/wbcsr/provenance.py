"""How a result came to be: versions, machine, hashes of what went in."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from wbcsr.errors import InputError
from wbcsr.files import read_json, sha256

PACKAGES = (
    "torch",
    "torchvision",
    "basicsr",
    "realesrgan",
    "tensorrt",
    "torch-tensorrt",
    "triton",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
    "pandas",
    "matplotlib",
    "snakemake",
)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that shape a result, where they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's model name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """The machine a job ran on, without names that identify a user or a host."""
    return {"processor": processor(), "cores": cores(), "system": f"{platform.system()} {platform.machine()}"}


def check_inputs(found: dict[str, str]) -> None:
    """Compare inputs with what the jobs that wrote them noted in a provenance beside.

    `found` is the SHA-256 of each input by its path. InputError where one has changed since it was written.
    """
    for path, digest in found.items():
        stem = Path(path).with_suffix("")
        for record in (stem.with_name(f"{stem.name}.provenance.json"), Path(path).with_name("provenance.json")):
            noted = read_json(record).get("outputs_sha256", {}) if record.is_file() else {}
            if noted.get(path, digest) != digest:
                raise InputError(f"{path}: changed since it was written; delete it and run again")


def hashes(paths: list[str]) -> dict[str, str]:
    """SHA-256 of each file in `paths`; a file outside the working folder is named without its folder."""
    found = {}
    for path in sorted(set(paths)):
        if Path(path).is_file():
            name = path if not Path(path).is_absolute() and not path.startswith("..") else Path(path).name
            found[name] = sha256(path)
    return found
