"""The backend `winograd`: compiles convolutions.cpp for the processor and runs the network with it."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr.engines.backend import Program
from wbcsr.engines.profile import Profile
from wbcsr.engines.trace import UnsuitedError, trace
from wbcsr.engines.winograd.network import Library, Network
from wbcsr.files import replacing, sha256
from wbcsr.provenance import processor

log = logging.getLogger(__name__)

CODE = Path(__file__).with_name("convolutions.cpp")
FLAGS = ["-std=c++20", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC", "-pthread"]


class Winograd:
    """For networks of 3×3 convolutions that keep the image size, such as Real-ESRGAN's RRDBNet, on a CPU.

    With bf16, only the factors of products are rounded to bf16; sums and everything between two convolutions are fp32.
    """

    name = "winograd"
    compiles = True
    packages: tuple[str, ...] = ()
    tensors: torch.dtype | None = torch.float32

    @property
    def precisions(self) -> tuple[str, ...] | None:
        return ("fp32", "bf16") if torch.cpu._is_avx512_bf16_supported() else ("fp32",)

    def unavailable(self, device: torch.device) -> str | None:
        if device.type != "cpu":
            return "winograd runs on a CPU, and this job has a GPU; choose auto, or hide the GPU"
        if _compiler() is None:
            return "winograd needs a C++20 compiler on the PATH (Debian: g++, 11 or newer)"
        return None

    def unsuited(self, network: nn.Module) -> str | None:
        try:
            trace(network)
        except UnsuitedError as error:
            return f"{self.name} {error}"
        return None

    def memory_format(self, device: torch.device, dtype: torch.dtype) -> torch.memory_format:
        return torch.contiguous_format

    def settings(self, inference: Mapping[str, Any], device: torch.device, precision: str) -> dict[str, Any]:
        flags = [*FLAGS, "-DBF16"] if precision == "bf16" else FLAGS
        return {"flags": " ".join(flags), "code": sha256(CODE), "instructions": _instructions()}

    def compile(self, network: nn.Module, profile: Profile, program: Path, settings: Mapping[str, Any]) -> None:
        with replacing(program) as beside:
            command = [str(_compiler()), *settings["flags"].split(), "-x", "c++", str(CODE), "-o", str(beside)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{command[0]} ({_version()}) cannot compile {CODE.name}: {done.stderr.strip()}")
            log.info("compiled by %s", _version())

    def load(self, network: nn.Module, program: Path, profile: Profile) -> Program:
        return Network(Library(program), trace(network))


def _compiler() -> str | None:
    return shutil.which("g++") or shutil.which("clang++")


def _version() -> str:
    """Return the first line of the compiler's version output."""
    done = subprocess.run([str(_compiler()), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _instructions() -> str:
    """Identify the processor's instruction set: SHA-256 of what Linux lists, or the processor's name without Linux."""
    listed = Path("/proc/cpuinfo")
    if not listed.is_file():
        return processor()
    lines = re.findall(r"^(?:flags|Features|CPU implementer|CPU part)\s*:.*$", listed.read_text(), re.MULTILINE)
    return hashlib.sha256("\n".join(sorted(set(lines))).encode()).hexdigest()[:16]
