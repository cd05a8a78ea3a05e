"""How a result came to be: versions, machine, hashes of what went in."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from wbcsr.errors import InputError, how_to_regenerate
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
    "tifffile",
    "imagecodecs",
    "scikit-learn",
    "scikit-image",
    "scipy",
    "pandas",
    "matplotlib",
    "captum",
    "snakemake",
)


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that shape a result, where they are installed."""
    found = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version()} | {package: here for package, here in found.items() if here}


def version(package: str) -> str | None:
    """The installed version of a package (its distribution's name), or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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


def gpu() -> dict[str, str] | None:
    """The GPU that torch uses: name, capability ("9.0"), driver and memory_gib ("79.1").

    None where there is none, or where this process has not imported torch: it then computed on none, and importing
    torch takes seconds.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(torch.cuda.current_device())
    return {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "driver": driver() or "unknown",
        "memory_gib": f"{found.total_memory / 2**30:.1f}",
    }


def driver() -> str | None:
    """The version of NVIDIA's driver, as "570.86.15", or None where there is none to be seen.

    The loaded kernel module tells it, to every user; where /proc does not show it (WSL), nvidia-smi does.
    """
    module = Path("/proc/driver/nvidia/version")
    if module.is_file():
        version = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", module.read_text())
        if version:
            return version[1]
    return next(iter(nvidia_smi("driver_version")), None)


def nvidia_smi(fields: str) -> list[str]:
    """What nvidia-smi answers to a query for `fields` (their names, with commas between), one text a GPU.

    Empty where nvidia-smi is missing, fails, or has not answered after a minute, as on a node whose GPU hangs.
    """
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.strip().splitlines()


def machine() -> dict[str, Any]:
    """The machine a job ran on, without names that identify a user or a host."""
    system = f"{platform.system()} {platform.machine()}"
    return {"processor": processor(), "cores": cores(), "system": system, "gpu": gpu()}


def cost(seconds: float, device: str | None, gpus: int) -> dict[str, Any]:
    """What this process and those that it waited for have used: wall, CPU and GPU seconds, and memory in MiB.

    `device` is what the job computed on ("cuda" or "cuda:0" counts `gpus`, or one where nobody could name any). Memory
    is the largest resident set of one process; on the GPU it is what PyTorch's allocator held in this process, None
    where that used none.
    """
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    on_gpu = (device or "").startswith("cuda")
    torch = sys.modules.get("torch")
    held = torch.cuda.max_memory_reserved() if on_gpu and torch is not None else 0
    return {
        "wall_seconds": round(seconds, 2),
        "cpu_seconds": round(sum(used.ru_utime + used.ru_stime for used in (own, others)), 2),
        "gpu_seconds": round(seconds * max(1, gpus), 2) if on_gpu else 0.0,
        "memory_mib": round(max(largest_resident_kib(), others.ru_maxrss) / 1024, 1),
        "gpu_memory_mib": round(held / 2**20, 1) if held else None,
    }


def largest_resident_kib() -> int:
    """The largest resident set of this process so far.

    Where Linux tells it, not ru_maxrss, which counts the process that started this one, too.
    """
    status = Path("/proc/self/status")
    told = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.is_file() else None
    return int(told[1]) if told else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_inputs(found: dict[str, str]) -> None:
    """Compare inputs with what the jobs that wrote them noted in a provenance beside.

    `found` is the SHA-256 of each input by its path. InputError where one has changed since it was written.
    """
    for path, digest in found.items():
        stem = Path(path).with_suffix("")
        for record in (stem.with_name(f"{stem.name}.provenance.json"), Path(path).with_name("provenance.json")):
            noted = read_json(record).get("outputs_sha256", {}) if record.is_file() else {}
            if noted.get(path, digest) != digest:
                raise InputError(f"{path}: changed since it was written; {how_to_regenerate(path)}")


def without_folders(settings: Any) -> Any:
    """Settings as they may be published: of a path out of the working folder, which may tell users' names, its end."""
    if isinstance(settings, dict):
        return {key: without_folders(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [without_folders(value) for value in settings]
    if isinstance(settings, str) and settings.startswith(("/", "../", "~")):
        return Path(settings).name
    return settings


def hashes(paths: list[str]) -> dict[str, str]:
    """SHA-256 of each file in `paths`; a file outside the working folder is named without its folder."""
    found = {}
    for path in sorted(set(paths)):
        if Path(path).is_file():
            name = path if not Path(path).is_absolute() and not path.startswith("..") else Path(path).name
            found[name] = sha256(path)
    return found
