"""Build an engine once, record what it is and why, and load it in every job that uses it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from wbcsr import provenance
from wbcsr.claim import require_claim
from wbcsr.engines.backend import Backend, Program, dtype_for
from wbcsr.engines.backends import BACKENDS, get_backend
from wbcsr.engines.capability import DTYPES, has_fast_bf16, pick_device
from wbcsr.engines.choice import Order, choose, free_memory, precision_for
from wbcsr.engines.profile import Profile
from wbcsr.engines.reasons import in_words
from wbcsr.engines.source import Source, Workload, prepare
from wbcsr.errors import InputError, first_line, how_to_regenerate
from wbcsr.files import read_json, sha256, write_json

log = logging.getLogger(__name__)

# TensorRT and many kernels of PyTorch count the elements of a tensor in 32 bits.
LARGEST_TENSOR = 2**31 - 1

_NEEDED = {"backend", "precision", "batch_size", "profile", "inference", "fingerprint", "program_sha256"}


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run.

    `run` takes a batch (batch, 3, height, width) of `dtype` on `device`; its next call may overwrite its output. A
    compiled engine has a `profile`, which gives the batch size and the image sizes. Without a profile, any batch size
    up to `batch` and any image size that the network accepts is allowed.
    """

    run: Program
    backend: str
    precision: str
    batch: int
    profile: Profile | None
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    identity: str

    def fill(self, images: torch.Tensor) -> torch.Tensor:
        """Pad a batch (n, ...) with zeros to `batch` images if the engine needs full batches; n is at most `batch`."""
        missing = self.batch - len(images) if self.profile else 0
        return torch.cat([images, images.new_zeros((missing, *images.shape[1:]))]) if missing else images


def build(source: Source, path: Path, workload: Workload, inference: Mapping[str, Any]) -> dict[str, Any]:
    """Choose backend, precision and batch size from `inference` (section of the configuration), and write the engine.

    `path` (engine.json) records what was chosen and why, and the fingerprint; a compiled program is written next to it
    as program.pt2. If the device runs out of memory, the batch size is halved; it is also reduced if the largest tensor
    would have more than `LARGEST_TENSOR` elements. Both are logged and recorded. Raises InputError if the configured
    backend or precision cannot run here, or if memory is too small for one image.
    """
    device = pick_device()
    precision = precision_for(source, inference, device)
    # All images of a batch have the same size, so a batch never exceeds the number of images of the most common size.
    wanted = batch = min(workload.batch[device.type], max(workload.images.values()))
    program = path.with_name("program.pt2")
    tile, fix = inference["tile"] if source.tiled else None, inference["shapes"] == "static"
    height, width = Profile.covering(1, workload.images, source.multiple, tile, fix, source.least).max
    most = max(1, LARGEST_TENSOR // (source.elements_per_pixel * height * width))
    if batch > most:
        batch = most
        log.warning("a tensor of %d images would have more than 2^31 elements; continuing with %d", wanted, batch)
    while True:
        profile = Profile.covering(batch, workload.images, source.multiple, tile, fix, source.least)
        require_claim()
        program.unlink(missing_ok=True)
        try:
            choice = choose(Order(source, profile, program, workload, inference, precision, device))
            break
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise InputError(
                    f"{path}: {device} has too little memory for one image ({first_line(error)}); "
                    "lower inference.tile, raise inference.workspace_gib if it is set, or use a larger GPU"
                ) from error
        # Outside the except block, in which the exception still keeps the allocated memory alive.
        batch //= 2
        log.warning("out of memory with %d images at once; continuing with %d", batch * 2, batch)
        free_memory(device)
    backend = BACKENDS[choice["backend"]]
    description = {
        "precision": precision,
        "device": device.type,
        "batch_size": batch,
        "batch_size_wanted": wanted,
        "profile": asdict(profile) if backend.compiles else None,
        "architecture": source.architecture,
        "inference": dict(inference),
        "fingerprint": _fingerprint(source, backend, precision, profile, inference, device),
        "program_sha256": sha256(program) if backend.compiles else None,
        "machine": _text(_machine(device)),
        "versions": provenance.versions(),
        **choice,
    }
    write_json(path, description)
    why = in_words([choice["reasons"]])
    log.info("engine: %s %s on %s, batch %d: %s", backend.name, precision, device, batch, why)
    return description


def load(source: Source, path: Path) -> Engine:
    """Load the engine that `build` wrote.

    Raises InputError if weights, program, settings or machine differ from those it was built for; the message names
    what differs and gives the command that rebuilds the engine.
    """
    description = read_json(path)
    missing = sorted(_NEEDED - description.keys())
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; {how_to_regenerate(path)}")
    device = pick_device()
    try:
        backend, precision = BACKENDS[description["backend"]], description["precision"]
        batch = int(description["batch_size"])
        profile = Profile.from_json(description["profile"]) if description["profile"] else None
        built = {**description["fingerprint"], "program": description["program_sha256"] or "none"}
        DTYPES[precision]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged or of an older version ({error!r}); {how_to_regenerate(path)}") from error
    program = path.with_name("program.pt2")
    found = _fingerprint(source, backend, precision, profile, description["inference"], device)
    found["program"] = sha256(program) if backend.compiles and program.is_file() else "none"
    differing = [part for part in {**built, **found} if built.get(part, "none") != found.get(part, "none")]
    if differing:
        listed = "; ".join(f"{part} {built.get(part, 'none')}, here {found.get(part, 'none')}" for part in differing)
        raise InputError(
            f"{path}: built for another {', '.join(differing)} ({listed}); delete it and run again on this kind of "
            f"machine, or build it with: snakemake --forcerun {source.rule} -- {path} (with the --directory and "
            "--configfile of the run)"
        )
    get_backend(backend.name, device)
    if precision == "bf16" and not has_fast_bf16(device):
        log.warning("bf16 is emulated on this processor, which is several times slower than fp32")
    parts = [backend.name, precision, device.type, batch, profile, built["weights"], built["program"]]
    run = backend.load(prepare(source.network, backend, device, precision), program, profile or _any_size(batch))
    dtype = dtype_for(backend, precision)
    return Engine(
        run=_guarded(run, profile) if profile else run,
        backend=backend.name,
        precision=precision,
        batch=batch,
        profile=profile,
        device=device,
        dtype=dtype,
        memory_format=backend.memory_format(device, dtype),
        identity=" ".join(map(str, parts)),
    )


def run_once(engine: Engine) -> None:
    """Run a compiled engine once, so that an error shows early."""
    if engine.profile is None:
        raise TypeError("only a compiled engine has an input size and can run without images")
    with torch.inference_mode():
        engine.run(engine.profile.example(engine.dtype, engine.device, engine.memory_format)).cpu()


def _guarded(run: Program, profile: Profile) -> Program:
    """Check the batch before `run`: compiled programs do not, and read beyond the end of a batch that is too small."""

    def guarded(batch: torch.Tensor) -> torch.Tensor:
        profile.require(batch)
        return run(batch)

    return guarded


def _any_size(batch: int) -> Profile:
    return Profile.fixed(batch, 1, 1)


def _fingerprint(
    source: Source,
    backend: Backend,
    precision: str,
    profile: Profile | None,
    inference: Mapping[str, Any],
    device: torch.device,
) -> dict[str, str]:
    """Return everything that a compiled program depends on, by name; without one, what the output pixels depend on."""
    parts = {
        "weights": sha256(source.weights),
        "architecture": _text(source.architecture),
        "precision": precision,
        "device": device.type,
    }
    if backend.compiles:
        parts["shapes"] = str(profile)
        parts["settings"] = _text(backend.settings(inference, device, precision))
        parts |= _machine(device)
        parts |= {package: provenance.version(package) or "not installed" for package in backend.packages}
    return parts


def _machine(device: torch.device) -> dict[str, str]:
    """Return what a compiled program is bound to: GPU model and driver, or processor and instruction set."""
    if device.type == "cuda":
        gpu = provenance.gpu() or {}
        return {
            "GPU": torch.cuda.get_device_name(device),
            "compute capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
            "driver": gpu.get("driver", "unknown"),
        }
    return {"processor": f"{provenance.processor()} {torch.backends.cpu.get_cpu_capability()}"}


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(values.items()))
