"""The same bytes from the same training, interrupted or not, on one machine."""

from __future__ import annotations

import io
import logging
import os
import pickle
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wbcsr.errors import first_line
from wbcsr.files import write_bytes
from wbcsr.provenance import processor

log = logging.getLogger(__name__)

# Errors that reading a damaged checkpoint may raise.
_DAMAGE = (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile)


def make_repeatable(threads: int, device: torch.device, precision: str) -> None:
    """Make torch deterministic on this machine; the number of threads is fixed because it determines the order of sums.

    On a GPU, an operation without a deterministic implementation only warns. `precision` is the configured one: with
    fp32, TF32 is not used, which would have only ten bits of mantissa.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    # Filling new memory with NaN would reveal reads of uninitialised values, but takes time at every step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if precision == "fp32":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def describe_device(device: torch.device, threads: int) -> dict[str, str]:
    """The part of a fingerprint that describes where the training runs."""
    on_gpu = device.type == "cuda"
    return {
        "device": f"cuda {torch.cuda.get_device_name(device)}" if on_gpu else f"cpu {processor()}",
        # On a GPU, sums do not depend on the number of CPU threads.
        "threads": "any" if on_gpu else str(threads),
        "torch": str(torch.__version__),
    }


def write_checkpoint(path: Path, fingerprint: Mapping[str, str], content: Mapping[str, Any]) -> float:
    """Write a checkpoint atomically; returns the seconds needed.

    `fingerprint` describes everything that determines the result, by name.
    """
    started = time.perf_counter()
    # Through memory, because torch's error for a full disk does not say that it is full.
    buffer = io.BytesIO()
    torch.save({"fingerprint": dict(fingerprint), **content}, buffer)
    write_bytes(path, buffer.getbuffer())
    return time.perf_counter() - started


def read_checkpoint(path: Path, fingerprint: Mapping[str, str]) -> dict[str, Any] | None:
    """Return what `write_checkpoint` wrote, on the CPU; None if there is none, it is damaged, or of another training.

    The log says why a checkpoint is not used, and names what differs.
    """
    if not path.exists():
        return None
    try:
        # torch writes checksums but does not verify them.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"checksum of {damaged} differs")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = content["fingerprint"]
    except _DAMAGE as error:
        log.warning("%s: damaged (%s); training starts from the beginning", path, first_line(error))
        return None
    different = sorted(key for key in {*found, *fingerprint} if found.get(key) != fingerprint.get(key))
    if different:
        log.warning("%s: made with other %s; training starts from the beginning", path, ", ".join(different))
        return None
    return content
