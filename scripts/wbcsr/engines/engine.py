"""Build an engine once, write down what it is and why, and load it in every job that uses it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr import provenance
from wbcsr.engines.backends import Program, get_backend
from wbcsr.engines.capability import DTYPES, has_fast_bf16, pick_device, pick_precision
from wbcsr.errors import InputError
from wbcsr.files import read_json, sha256, write_json
from wbcsr.weights import store

log = logging.getLogger(__name__)

DEFAULT_BATCH = {"cpu": 1, "cuda": 8}


@dataclass(frozen=True)
class Workload:
    """What an engine is built for: the most common image shape (height, width) and the number of images."""

    shape: tuple[int, int]
    images: int


@dataclass(frozen=True)
class Engine:
    """A super-resolution network that is ready to run.

    `run` takes (batch, 3, height, width) of `dtype` on `device`, values 0 to 1 in RGB, and gives
    (batch, 3, height * scale, width * scale). Height and width are those of `shape`, or, where that is None, any
    that `multiple` divides; batch is at most `batch_size`, exactly that where `shape` is fixed.
    """

    run: Program
    scale: int
    multiple: int
    shape: tuple[int, int] | None
    batch_size: int
    device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format
    identity: str


def build(weights_path: Path, description_path: Path, workload: Workload, settings: dict[str, Any]) -> dict[str, Any]:
    """Choose backend, precision and batch as `settings` (the section `inference`) says, and write the engine.

    `description_path` (engine.json) says what was chosen and why; a compiled program lies beside it.
    InputError where a backend or precision that was asked for cannot run here.
    """
    device = pick_device()
    precision = pick_precision(settings["precision"], device)
    batch_size = DEFAULT_BATCH[device.type] if settings["batch_size"] == "auto" else settings["batch_size"]
    network, architecture = store.load(weights_path)
    prepared = _prepare(network, device, precision)
    example = _example(workload, architecture.multiple, settings["tile"], batch_size, device, precision)
    program = description_path.with_name("program.pt2")
    program.unlink(missing_ok=True)
    choice = _choose(prepared, example, program, workload.images, settings)
    compiled = get_backend(choice["backend"], device).compiles
    description = {
        "precision": precision,
        "device": device.type,
        "batch_size": batch_size,
        "shape": list(example.shape[2:]) if compiled else None,
        "architecture": asdict(architecture),
        "weights_sha256": sha256(weights_path),
        "program_sha256": sha256(program) if compiled else None,
        "machine": _machine(device),
        "versions": provenance.versions(),
        **choice,
    }
    write_json(description_path, description)
    log.info("engine: %s %s on %s, batch %d: %s", choice["backend"], precision, device, batch_size, choice["reason"])
    return description


def load(weights_path: Path, description_path: Path) -> Engine:
    """The engine that `build` wrote.

    InputError where weights, program or machine are not the ones it was built for; it names what differs.
    """
    description = read_json(description_path)
    needed = {"backend", "precision", "device", "batch_size", "shape", "machine", "versions", "weights_sha256"}
    missing = sorted(needed - description.keys())
    if missing:
        raise InputError(f"{description_path}: lacks {', '.join(missing)}; delete it and run again")
    rebuild = "run `snakemake --forcerun compile_upscaler` on this kind of machine"
    device = pick_device()
    _require(description_path, "device", description["device"], device.type, rebuild)
    _require(description_path, "weights", description["weights_sha256"], sha256(weights_path), rebuild)
    backend = get_backend(description["backend"], device)
    program = description_path.with_name("program.pt2") if backend.compiles else None
    if program is not None:
        _require(description_path, "machine", description["machine"], _machine(device), rebuild)
        _require(description_path, "torch", description["versions"]["torch"], provenance.versions()["torch"], rebuild)
        found = sha256(program) if program.is_file() else None
        _require(description_path, "program", description["program_sha256"], found, rebuild)
    if description["precision"] == "bf16" and not has_fast_bf16(device):
        log.warning("bf16 is emulated on this processor, which is several times slower than fp32")
    network, architecture = store.load(weights_path)
    parts = ("backend", "precision", "device", "batch_size", "shape", "weights_sha256")
    return Engine(
        run=backend.load(_prepare(network, device, description["precision"]), program),
        scale=architecture.scale,
        multiple=architecture.multiple,
        shape=tuple(description["shape"]) if description["shape"] else None,
        batch_size=description["batch_size"],
        device=device,
        dtype=DTYPES[description["precision"]],
        memory_format=_memory_format(device, description["precision"]),
        identity=" ".join(str(description[part]) for part in parts),
    )


def _memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """Channels-last is faster, but in fp32 its sums differ from Real-ESRGAN's own, and a pixel now and then."""
    exact = device.type == "cpu" and precision == "fp32"
    return torch.contiguous_format if exact else torch.channels_last


def _prepare(network: nn.Module, device: torch.device, precision: str) -> nn.Module:
    network = network.to(device, DTYPES[precision]).to(memory_format=_memory_format(device, precision))
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _example(
    workload: Workload, multiple: int, tile: int, batch_size: int, device: torch.device, precision: str
) -> torch.Tensor:
    height, width = (min(-(-side // multiple) * multiple, tile) for side in workload.shape)
    generator = torch.Generator().manual_seed(0)
    batch = torch.rand((batch_size, 3, height, width), generator=generator)
    return batch.to(device=device, dtype=DTYPES[precision], memory_format=_memory_format(device, precision))


def _choose(
    network: nn.Module, example: torch.Tensor, program: Path, images: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Backend and the reason for it; a compiled backend's program is written on the way."""
    requested = settings["backend"]
    if requested != "auto":
        backend = get_backend(requested, example.device)
        if backend.compiles:
            backend.compile(network, example, program)
        return {"backend": requested, "reason": "asked for in the configuration"}
    if example.device.type == "cpu" and example.dtype == torch.float32:
        # Measured with x4plus at 160×120 on two cores with AVX2: eager 4.7 s, compiled 4.6 to 5.1 s.
        reason = "in fp32 a CPU spends its time in convolutions, which compiling leaves as they are"
        return {"backend": "eager", "reason": reason}
    batches = -(-images // example.shape[0])
    eager_seconds = _seconds(network, example)
    eager_minutes = eager_seconds * batches / 60
    measured = {"eager_seconds_per_batch": round(eager_seconds, 3), "images": images}
    limit = settings["compile_above_minutes"]
    if eager_minutes <= limit:
        reason = (
            f"{images} images take {eager_minutes:.1f} minutes uncompiled, at most {limit:g}: compiling would not pay"
        )
        return {"backend": "eager", "reason": reason, "measured": measured}
    try:
        backend = get_backend("inductor", example.device)
    except InputError as unavailable:
        return {"backend": "eager", "reason": str(unavailable), "measured": measured}
    started = time.perf_counter()
    backend.compile(network, example, program)
    measured["compile_seconds"] = round(time.perf_counter() - started, 1)
    compiled = backend.load(network, program)
    # Each ran once to warm up; now they take turns, so that a machine that drifts treats both alike.
    _seconds(compiled, example)
    eager_seconds, inductor_seconds = _seconds(network, example), _seconds(compiled, example)
    measured["eager_seconds_per_batch"] = round(eager_seconds, 3)
    measured["inductor_seconds_per_batch"] = round(inductor_seconds, 3)
    faster = "inductor" if inductor_seconds < eager_seconds else "eager"
    if faster == "eager":
        program.unlink()
    reason = f"measured: eager {eager_seconds:.3f} s, inductor {inductor_seconds:.3f} s a batch"
    return {"backend": faster, "reason": reason, "measured": measured}


def _seconds(run: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor) -> float:
    """Seconds for one batch."""
    with torch.inference_mode():
        started = time.perf_counter()
        run(example)
        if example.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _machine(device: torch.device) -> str:
    """What a compiled program depends on: the GPU's model, or the processor's and its instruction set."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} sm{''.join(map(str, torch.cuda.get_device_capability(device)))}"
    return f"{provenance.processor()} {torch.backends.cpu.get_cpu_capability()}"


def _require(path: Path, what: str, built: Any, found: Any, remedy: str) -> None:
    if built != found:
        raise InputError(f"{path}: built for another {what} ({built}, here {found}); {remedy}")
