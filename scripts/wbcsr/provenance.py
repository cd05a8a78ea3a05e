"""The origin of a result: versions, machine, hashes of its inputs."""

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
from wbcsr.files import read_json
from wbcsr.remembered import remembered_sha256

PACKAGES = (
    "torch",
    "torchvision",
    "basicsr",
    "realesrgan",
    "spandrel",
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
    """The versions of Python and of the installed packages that can change a result."""
    found = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version()} | {package: here for package, here in found.items() if here}


def version(package: str) -> str | None:
    """The installed version of a package (its distribution's name), or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's model name as reported by the system."""
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

    None if there is no GPU, or if this process has not imported torch: then it used no GPU, and importing torch only to
    ask would take seconds.
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
    """The version of NVIDIA's driver, as "570.86.15", or None if none is found.

    Every user can read it from the loaded kernel module, or, if /proc does not show it (WSL), from nvidia-smi.
    """
    module = Path("/proc/driver/nvidia/version")
    if module.is_file():
        version = re.search(r"Kernel Module.*?\s(\d+\.\d[\d.]*)", module.read_text())
        if version:
            return version[1]
    return next(iter(nvidia_smi("driver_version")), None)


def nvidia_smi(fields: str) -> list[str]:
    """The answer of nvidia-smi to a query for `fields` (names separated by commas), one text per GPU.

    Empty if nvidia-smi is missing, fails, or has not answered after a minute, as on a node whose GPU hangs.
    """
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.strip().splitlines()


def machine() -> dict[str, Any]:
    """The machine on which a job ran, without names that identify a user or a host."""
    system = f"{platform.system()} {platform.machine()}"
    return {"processor": processor(), "cores": cores(), "system": system, "gpu": gpu()}


def cost(seconds: float, device: str | None, gpus: int) -> dict[str, Any]:
    """Resources used by this process and its finished children: wall, CPU and GPU seconds, and memory in MiB.

    `device` is the device of the job ("cuda" or "cuda:0" counts `gpus`, or one if none is listed). Memory is the
    largest resident set of one process. GPU memory is the peak of PyTorch's allocator in this process, None if it used
    none.
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

    Read from /proc on Linux, since ru_maxrss also counts the process that started this one.
    """
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.is_file() else None
    return int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def check_inputs(found: dict[str, str]) -> None:
    """Compare inputs with the hashes in the provenance files of the jobs that wrote them.

    `found` is the SHA-256 of each input by its path. Raises InputError if an input has changed since it was written.
    """
    for path, digest in found.items():
        stem = Path(path).with_suffix("")
        for record in (stem.with_name(f"{stem.name}.provenance.json"), Path(path).with_name("provenance.json")):
            noted = read_json(record).get("outputs_sha256", {}) if record.is_file() else {}
            if noted.get(path, digest) != digest:
                raise InputError(f"{path}: changed since it was written; {how_to_regenerate(path)}")


def without_folders(settings: Any) -> Any:
    """Settings for publication: of a path outside the working folder (it may contain user names), the last part."""
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
            found[name] = remembered_sha256(path)
    return found
