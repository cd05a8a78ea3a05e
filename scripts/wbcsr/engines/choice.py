"""Which backend and precision an engine is built with: as the configuration asks, or by what is measured here."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr.claim import require_claim
from wbcsr.engines.backend import Backend, UnloadableError, example_for
from wbcsr.engines.backends import BACKENDS, get_backend
from wbcsr.engines.capability import inference_precision
from wbcsr.engines.profile import Profile
from wbcsr.engines.source import Source, Workload, prepare
from wbcsr.errors import InputError, first_line

log = logging.getLogger(__name__)

# For `auto`: a GPU's engine is built in minutes, and a CPU's in tens of them.
COMPILE_ABOVE_MINUTES = {"cpu": 30.0, "cuda": 3.0}
# Sides in pixels that Winograd's way and eager are compared with, which a CPU takes a second for.
TRIAL_SIDE = 64
# Seconds for which a measurement is worth repeating.
SOON = 3.0


def choose(
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
        if unsuited and source.exact_on_cpu:
            return {"backend": "eager", "reason": unsuited}
        if unsuited:
            raise InputError(f"configuration: inference.backend {requested} cannot run this network: {unsuited}")
        choice = {"backend": requested, "reason": "asked for in the configuration"}
        if backend.compiles:
            network = prepare(source.network, backend, device, precision)
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
    network = prepare(source.network, eager, device, precision)
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
    network = prepare(source.network, backend, device, precision)
    free_memory(device)
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
    network = prepare(source.network, eager, device, precision)
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
    """Seconds for one batch; the least of three where that is soon done, since other work only ever adds to it."""

    def once() -> float:
        started = time.perf_counter()
        run(example)
        if example.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    with torch.inference_mode():
        first = once()
        return first if first > SOON else min(first, once(), once())


def precision_for(source: Source, inference: Mapping[str, Any], device: torch.device) -> str:
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


def free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
