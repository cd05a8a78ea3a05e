"""Examine what this node can run; each check has its own process, so that a crash or a hang affects no other check."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcsr import provenance, site
from wbcsr.errors import first_line
from wbcsr.files import write_json
from wbcsr.isolated import EndedError, IsolatedProcess

log = logging.getLogger(__name__)

# Compiling took 44 s on two busy cores. It was not measured on a GPU or with packages on a network file system.
TIMEOUT_S = 300
PACKAGES = ("torch", "torchvision", "triton", "torch-tensorrt", "tensorrt", "torch-tensorrt-rtx")
# Not imported from wbcsr.engines.backends, so that the doctor also works if torch cannot be imported.
BACKENDS = ("eager", "winograd", "inductor", "triton", "tensorrt")
GIB = 2**30


def diagnose(inference: Mapping[str, Any], path: Path) -> None:
    """Examine this node, log the findings as a table and write them as JSON to `path`.

    The checks use the settings in `inference`, the section of the configuration.
    """
    found = examine(inference)
    for line in table(found):
        log.info("%s", line)
    write_json(path, found)


def examine(inference: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Return environment, processor, memory (GiB), GPUs, versions, compiler, free disk space (GiB), and what runs.

    Each entry of `backends` and `kernels` has `runs` and either device and seconds, or a one-line `reason` with the
    remedy. `timeout_s` is the limit of each check in seconds. Anything missing, such as nvidia-smi, is None or empty;
    it is never an error.
    """
    log.info("checking what runs here; each of %d checks may take up to %g s", len(BACKENDS) + 2, timeout_s)
    torch_folder = site.folder()
    return {
        "environment": {
            "python": platform.python_version(),
            "folder": sys.prefix,
            "site": str(torch_folder) if torch_folder else None,
        },
        "processor": provenance.processor(),
        "cores": provenance.cores(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        "driver": provenance.driver(),
        "driver_cuda": _driver_cuda(),
        "nvidia_smi": provenance.nvidia_smi("name,compute_mode,mig.mode.current"),
        "torch": check("survey", inference, timeout_s),
        "versions": {package: provenance.version(package) for package in PACKAGES},
        "compiler": _compiler(),
        "free_gib": {
            "working folder": round(shutil.disk_usage(".").free / GIB, 1),
            "temporary files": round(shutil.disk_usage(tempfile.gettempdir()).free / GIB, 1),
        },
        "backends": {name: check(name, inference, timeout_s) for name in BACKENDS},
        "kernels": check("kernels", inference, timeout_s),
    }


def check(name: str, inference: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return the result of a check of `wbcsr.engines.capability_checks`, or the reason why it has none."""
    with tempfile.TemporaryFile() as output:
        try:
            with IsolatedProcess(timeout_s=timeout_s, output=output) as process:
                return process.call(_run_check, name, inference)
        except Exception as error:
            output.seek(0)
            printed = output.read().decode(errors="replace").strip()
            log.info("%s failed; it printed:\n%s", name, printed or "nothing", exc_info=True)
            reason = str(error) if isinstance(error, EndedError) else f"{type(error).__name__}: {first_line(error)}"
    return {"runs": False, "reason": f"{reason}; its output is in the log"}


def _run_check(name: str, inference: Mapping[str, Any]) -> dict[str, Any]:
    """Run a check in the isolated process; importing torch may fail here."""
    from wbcsr.engines.capability_checks import CHECKS

    return CHECKS[name](inference)


def table(found: Mapping[str, Any]) -> list[str]:
    """Return the findings of `examine` as lines with a name and a value in two columns."""
    rows = [("Environment", _environment(found["environment"])), ("Processor", _processor(found))]
    rows += [*_gpus(found), ("CUDA", _cuda(found))]
    rows += [(package, _package(package, found["versions"])) for package in PACKAGES]
    rows.append(("C++ compiler", found["compiler"] or "none; inductor needs one (Debian: g++)"))
    rows += [(f"Free: {name}", f"{gib} GiB") for name, gib in found["free_gib"].items()]
    rows += [(f"Backend {name}", _outcome(answer)) for name, answer in found["backends"].items()]
    rows.append(("Triton kernels", _outcome(found["kernels"])))
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {text}" for name, text in rows]


def _environment(found: Mapping[str, Any]) -> str:
    text = f"Python {found['python']} in {found['folder']}"
    if found["site"] is None:
        return text
    return f"{text}, with the site's own PyTorch in {found['site']} (`make setup-site`)"


def _processor(found: Mapping[str, Any]) -> str:
    sizes = f"{found['processor']}, cores: {found['cores']}, {found['memory_gib']} GiB"
    survey = found["torch"]
    if "vectors" not in survey:
        return sizes
    return ", ".join(
        [sizes, survey["vectors"], *(name if has else f"no {name}" for name, has in survey["bf16"].items())]
    )


def _gpus(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    survey = found["torch"]
    rows = [("GPU", _gpu(gpu)) for gpu in survey.get("gpus", [])]
    if not rows:
        rows = [("GPU", f"none that PyTorch can use: {survey.get('no_gpu') or survey['reason']}")]
    return rows + [("nvidia-smi", f"{line} (name, compute mode, MIG)") for line in found["nvidia_smi"]]


def _gpu(gpu: Mapping[str, Any]) -> str:
    free = f"busy: {gpu['busy']}" if gpu["free_gib"] is None else f"{gpu['free_gib']} GiB free"
    return f"{gpu['name']}, compute capability {gpu['capability']}, {gpu['memory_gib']} GiB, {free}"


def _cuda(found: Mapping[str, Any]) -> str:
    survey = found["torch"]
    driver = f"driver {found['driver']}" if found["driver"] else "no driver"
    supports = f" for CUDA up to {found['driver_cuda']}" if found["driver_cuda"] else ""
    built = f"for {survey['cuda']}" if survey.get("cuda") else "without it"
    return f"{driver}{supports}; PyTorch was built {built}"


def _package(package: str, versions: Mapping[str, str | None]) -> str:
    if package == "torch-tensorrt" and not versions[package] and versions["torch-tensorrt-rtx"]:
        return "not installed (torch-tensorrt-rtx is installed, but it can only check engines)"
    return versions[package] or "not installed"


def _outcome(answer: Mapping[str, Any]) -> str:
    if not answer["runs"]:
        return f"DOES NOT RUN: {answer['reason']}"
    where = " ".join(answer[key] for key in ("device", "precision") if key in answer)
    return f"runs ({where}; built and run once in {answer['seconds']} s)"


def _driver_cuda() -> str | None:
    """Return the newest CUDA version that the driver supports, as "13.0" (cuDriverGetVersion)."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def _compiler() -> str | None:
    """Return the first line of the output of `g++ --version` or `clang++ --version`."""
    for name in ("g++", "clang++"):
        if shutil.which(name):
            answer = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
            return next(iter(answer.stdout.splitlines()), name)
    return None
