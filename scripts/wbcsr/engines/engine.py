"""Build an engine once, write down what it is and why, and load it in every job that uses it."""

from __future__ import annotations

import copy
import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr import provenance
from wbcsr.claim import require_claim
from wbcsr.engines.backend import Backend, Program, UnloadableError, example_for
from wbcsr.engines.backends import BACKENDS, get_backend
from wbcsr.engines.capability import DTYPES, has_fast_bf16, inference_precision, pick_device
from wbcsr.engines.profile import Profile, Size
from wbcsr.errors import InputError, first_line
from wbcsr.files import read_json, sha256, write_json

log = logging.getLogger(__name__)

# For `auto`: a GPU's engine is built in minutes, and a CPU's in tens of them.
COMPILE_ABOVE_MINUTES = {"cpu": 30.0, "cuda": 3.0}
# Sides in pixels that Winograd's way and eager are compared with, which a CPU takes a second for.
TRIAL_SIDE = 64
_NEEDED = {"backend", "precision", "batch_size", "profile", "inference", "fingerprint", "program_sha256"}


@dataclass(frozen=True)
class Source:
    """A network to make ready: in fp32, in evaluation mode, on the CPU; it takes (batch, 3, height, width).

    `architecture` describes it, `weights` is the file that it came from, `multiple` divides every height and width of
    its input, and `rule` is the rule that builds its engine. `tiled` says whether it may be given an image in tiles.
    `auto` leaves it in fp32 on a CPU if `exact_on_cpu`.
    """

    network: nn.Module
    architecture: dict[str, Any]
    weights: Path
    multiple: int
    rule: str
    tiled: bool
    exact_on_cpu: bool


@dataclass(frozen=True)
class Workload:
    """What an engine is built for: how many images there are of each (height, width), and the batch by device."""

    images: Mapping[Size, int]
    batch: Mapping[str, int]


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run.

    `run` takes (batch, 3, height, width) of `dtype` on `device`. Where there is a `profile`, it says which batch and
    sizes; without one any size goes that the network can divide, and any batch up to `batch`. What `run` returns may
    be overwritten by its next call.
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
        """Images (n, ...) followed by ones of zeros where the engine takes whole batches only; n is at most `batch`."""
        missing = self.batch - len(images) if self.profile else 0
        return torch.cat([images, images.new_zeros((missing, *images.shape[1:]))]) if missing else images


def build(source: Source, path: Path, workload: Workload, inference: Mapping[str, Any]) -> dict[str, Any]:
    """Choose backend, precision and batch as `inference` (the configuration's section) says, and write the engine.

    `path` (engine.json) says what was chosen and why, and holds the fingerprint; a compiled program lies beside it as
    program.pt2. A batch that the device has no memory for is halved, which is logged and written down.
    InputError where a backend or precision that was asked for cannot run here, or the memory does not hold one image.
    """
    device = pick_device()
    precision = _precision(source, inference, device)
    # A batch is of one size, so no more can go together than there are of the most common.
    wanted = batch = min(workload.batch[device.type], max(workload.images.values()))
    program = path.with_name("program.pt2")
    while True:
        tile, fix = inference["tile"] if source.tiled else None, inference["shapes"] == "static"
        profile = Profile.covering(batch, workload.images, source.multiple, tile, fix)
        require_claim()
        program.unlink(missing_ok=True)
        try:
            choice = _choose(source, profile, program, workload, inference, precision, device)
            break
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise InputError(
                    f"{path}: {device} has not the memory for one image ({first_line(error)}); "
                    "lower inference.tile, raise inference.workspace_gib if it is set, or take a larger GPU"
                ) from error
        # Here and not above, where the error still holds on to what was allocated.
        batch //= 2
        log.warning("out of memory with %d images at once; going on with %d", batch * 2, batch)
        _free_memory(device)
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
    log.info("engine: %s %s on %s, batch %d: %s", backend.name, precision, device, batch, choice["reason"])
    return description


def load(source: Source, path: Path) -> Engine:
    """The engine that `build` wrote.

    InputError where weights, program, settings or machine are not the ones it was built for; it names what differs
    and the command that builds it again.
    """
    description = read_json(path)
    missing = sorted(_NEEDED - description.keys())
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; delete it and run again")
    device = pick_device()
    try:
        backend, precision = BACKENDS[description["backend"]], description["precision"]
        batch = int(description["batch_size"])
        profile = Profile.from_json(description["profile"]) if description["profile"] else None
        built = {**description["fingerprint"], "program": description["program_sha256"] or "none"}
        DTYPES[precision]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is damaged ({error!r}); delete it and run again") from error
    program = path.with_name("program.pt2")
    found = _fingerprint(source, backend, precision, profile, description["inference"], device)
    found["program"] = sha256(program) if backend.compiles and program.is_file() else "none"
    differing = [part for part in {**built, **found} if built.get(part, "none") != found.get(part, "none")]
    if differing:
        listed = "; ".join(f"{part} {built.get(part, 'none')}, here {found.get(part, 'none')}" for part in differing)
        raise InputError(
            f"{path}: built for another {', '.join(differing)} ({listed}); delete it and run again on this kind of "
            f"machine, or build it by: snakemake --forcerun {source.rule} -- {path} (with the --directory and "
            "--configfile of the run)"
        )
    get_backend(backend.name, device)
    if precision == "bf16" and not has_fast_bf16(device):
        log.warning("bf16 is emulated on this processor, which is several times slower than fp32")
    parts = [backend.name, precision, device.type, batch, profile, built["weights"], built["program"]]
    run = backend.load(_prepare(source.network, backend, device, precision), program, profile or _any_size(batch))
    return Engine(
        run=_guarded(run, profile) if profile else run,
        backend=backend.name,
        precision=precision,
        batch=batch,
        profile=profile,
        device=device,
        dtype=DTYPES[precision],
        memory_format=backend.memory_format(device, DTYPES[precision]),
        identity=" ".join(map(str, parts)),
    )


def try_out(engine: Engine) -> None:
    """Run a compiled engine once; what it lacks here shows as an error."""
    if engine.profile is None:
        raise TypeError("only a compiled engine is tried out: the others have no size")
    with torch.inference_mode():
        engine.run(engine.profile.example(engine.dtype, engine.device, engine.memory_format)).cpu()


def _guarded(run: Program, profile: Profile) -> Program:
    """`run` behind a look at the batch: a compiled program takes any, and reads beyond one that is too small."""

    def guarded(batch: torch.Tensor) -> torch.Tensor:
        profile.require(batch)
        return run(batch)

    return guarded


def _free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


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
    """Everything that a program depends on, by name; of a network that is not compiled, what decides its pixels."""
    parts = {
        "weights": sha256(source.weights),
        "architecture": _text(source.architecture),
        "precision": precision,
        "device": device.type,
    }
    if backend.compiles:
        parts["shapes"] = str(profile)
        parts["settings"] = _text(backend.settings(inference, device, DTYPES[precision]))
        parts |= _machine(device)
        parts |= {package: provenance.version(package) or "not installed" for package in backend.packages}
    return parts


def _machine(device: torch.device) -> dict[str, str]:
    """What a compiled program is bound to: the GPU's model and driver, or the processor and its instruction set."""
    if device.type == "cuda":
        gpu = provenance.gpu() or {}
        return {
            "GPU": torch.cuda.get_device_name(device),
            "compute capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
            "driver": gpu.get("driver", "unknown"),
        }
    return {"processor": f"{provenance.processor()} {torch.backends.cpu.get_cpu_capability()}"}


def _prepare(network: nn.Module, backend: Backend, device: torch.device, precision: str) -> nn.Module:
    dtype = DTYPES[precision]
    if precision == "fp32":
        # TF32 keeps ten bits of a product's factors, which is not what fp32 says.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # A copy, since `to` changes the module itself, and the source is in fp32.
    prepared = copy.deepcopy(network).to(device, dtype).to(memory_format=backend.memory_format(device, dtype))
    for parameter in prepared.parameters():
        parameter.requires_grad_(False)
    return prepared


def _choose(
    source: Source,
    profile: Profile,
    program: Path,
    workload: Workload,
    inference: Mapping[str, Any],
    precision: str,
    device: torch.device,
) -> dict[str, Any]:
    """Backend and the reason for it; a compiled backend's program is written on the way."""
    requested = inference["backend"]
    if requested != "auto":
        backend = get_backend(requested, device)
        unsuited = backend.unsuited(source.network)
        if unsuited:
            return {"backend": "eager", "reason": unsuited}
        choice = {"backend": requested, "reason": "asked for in the configuration"}
        if backend.compiles:
            network = _prepare(source.network, backend, device, precision)
            choice["measured"] = _compile(backend, network, profile, program, inference)
        return choice
    if device.type == "cpu" and precision == "fp32":
        if source.exact_on_cpu:
            reason = "on a CPU it is the network itself: quick enough, and its labels are what is compared"
            return {"backend": "eager", "reason": reason}
        # Measured with x4plus at 160×120 on two cores with AVX2: eager 4.7 s, inductor 4.6 to 5.1 s.
        winograd = BACKENDS["winograd"]
        lacking = winograd.unavailable(device) or winograd.unsuited(source.network)
        if lacking:
            reason = f"{lacking}; inductor leaves convolutions as they are, where a CPU spends its time in fp32"
            return {"backend": "eager", "reason": reason}
        height, width = (min(side, TRIAL_SIDE) for side in profile.best)
        return _faster(source, winograd, Profile.fixed(1, height, width), program, inference, precision, device, {})
    eager = BACKENDS["eager"]
    network = _prepare(source.network, eager, device, precision)
    example = example_for(network, profile, eager)
    images = sum(workload.images.values())
    batches = sum(-(-count // profile.batch) for count in workload.images.values())
    _seconds(network, example)  # the first call chooses algorithms and allocates
    eager_seconds = _seconds(network, example)
    minutes = eager_seconds * batches / 60
    measured: dict[str, Any] = {"eager_seconds_per_batch": round(eager_seconds, 4), "images": images}
    limit = inference["compile_above_minutes"]
    limit = COMPILE_ABOVE_MINUTES[device.type] if limit == "auto" else limit
    if minutes <= limit:
        reason = f"{images} images take {minutes:.1f} minutes uncompiled, at most {limit:g}: compiling would not pay"
        return {"backend": "eager", "reason": reason, "measured": measured}
    unavailable = {name: BACKENDS[name].unavailable(device) for name in ("tensorrt", "inductor")}
    name = next((name for name, reason in unavailable.items() if reason is None), None)
    if name is None:
        return {"backend": "eager", "reason": "; ".join(map(str, unavailable.values())), "measured": measured}
    if name == "inductor":
        log.info("tensorrt is not taken: %s", unavailable["tensorrt"])
        measured["not_taken"] = unavailable["tensorrt"]
    return _faster(source, BACKENDS[name], profile, program, inference, precision, device, measured)


def _faster(
    source: Source,
    backend: Backend,
    profile: Profile,
    program: Path,
    inference: Mapping[str, Any],
    precision: str,
    device: torch.device,
    measured: dict[str, Any],
) -> dict[str, Any]:
    """`backend` or eager, whichever takes less time for a batch of `profile`; `measured` is what is known already."""
    name = backend.name
    network = _prepare(source.network, backend, device, precision)
    _free_memory(device)
    try:
        measured |= _compile(backend, network, profile, program, inference)
    except Exception as error:  # whatever a compiler lacks here, auto goes on without it, and says so
        if isinstance(error, torch.OutOfMemoryError | InputError) and not isinstance(error, UnloadableError):
            raise
        log.exception("%s cannot build this engine; auto takes eager", name)
        program.unlink(missing_ok=True)
        return {"backend": "eager", "reason": f"{name} failed: {first_line(error)}", "measured": measured}
    # Measured close to the other (on a GPU once more), so that a machine that drifts treats both alike.
    eager = BACKENDS["eager"]
    network = _prepare(source.network, eager, device, precision)
    example = example_for(network, profile, eager)
    _seconds(network, example)
    eager_seconds, compiled_seconds = _seconds(network, example), measured[f"{name}_seconds_per_batch"]
    measured["eager_seconds_per_batch"] = round(eager_seconds, 4)
    faster = name if compiled_seconds < eager_seconds else "eager"
    if faster == "eager":
        require_claim()
        program.unlink()
    reason = f"measured: eager {eager_seconds:.3f} s, {name} {compiled_seconds:.3f} s for {profile}"
    return {"backend": faster, "reason": reason, "measured": measured}


def _compile(
    backend: Backend, network: nn.Module, profile: Profile, program: Path, inference: Mapping[str, Any]
) -> dict[str, float]:
    """Compile, load and run, since a lack of memory may show at each; gives the seconds of compiling and of a batch."""
    example = example_for(network, profile, backend)
    started = time.perf_counter()
    backend.compile(network, profile, program, backend.settings(inference, example.device, example.dtype))
    compile_seconds = time.perf_counter() - started
    run = backend.load(network, program, profile)
    _seconds(run, example)
    return {
        "compile_seconds": round(compile_seconds, 1),
        f"{backend.name}_seconds_per_batch": round(_seconds(run, example), 4),
    }


def _seconds(run: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor) -> float:
    """Seconds for one batch."""
    with torch.inference_mode():
        started = time.perf_counter()
        run(example)
        if example.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def _precision(source: Source, inference: Mapping[str, Any], device: torch.device) -> str:
    """The precision that the settings mean here; InputError where it, or the backend, cannot be had."""
    only = None
    if inference["backend"] != "auto":
        only = get_backend(inference["backend"], device).precision
    if only and inference["precision"] not in ("auto", only):
        raise InputError(
            f"configuration: inference.backend {inference['backend']} computes in {only} alone, and not in "
            f"inference.precision {inference['precision']}; choose precision auto or {only}"
        )
    return only or inference_precision(inference["precision"], device, source.exact_on_cpu)


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(values.items()))
