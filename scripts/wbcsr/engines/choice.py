"""Which backend and precision an engine is built with: as the configuration asks, or by what is measured here."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from wbcsr.text import counted

log = logging.getLogger(__name__)

# For `auto`: a GPU's engine is built in minutes, and a CPU's in tens of them.
COMPILE_ABOVE_MINUTES = {"cpu": 30.0, "cuda": 3.0}
# Sides in pixels that Winograd's way and eager are compared with, which a CPU takes a second for.
TRIAL_SIDE = 64
# Seconds for which a measurement is worth repeating.
SOON = 3.0


@dataclass(frozen=True)
class Order:
    """An engine to be built: of what, for which batches and images, to which file, and how.

    `inference` is the configuration's section, and `precision` what it means on `device`.
    """

    source: Source
    profile: Profile
    program: Path
    workload: Workload
    inference: Mapping[str, Any]
    precision: str
    device: torch.device

    def network(self, backend: Backend) -> nn.Module:
        return prepare(self.source.network, backend, self.device, self.precision)


def choose(order: Order) -> dict[str, Any]:
    """Backend and the reason for it; a compiled backend's program is written on the way."""
    if order.inference["backend"] != "auto":
        return _asked_for(order)
    if order.device.type == "cpu" and order.precision == "fp32" and order.source.exact_on_cpu:
        reason = "on a CPU it is the network itself: quick enough, and its labels are what is compared"
        return {"backend": "eager", "reason": reason}
    measured: dict[str, Any] = {}
    if order.device.type == "cpu":
        winograd = BACKENDS["winograd"]
        lacking = _lacking(winograd, order)
        if not lacking:
            height, width = (min(side, TRIAL_SIDE) for side in order.profile.opt)
            choice = _faster(replace(order, profile=Profile.fixed(1, height, width)), winograd, {})
            if choice["backend"] == "winograd" or order.precision == "fp32":
                return choice
            measured = {"not_taken": choice["reason"]}
        # Measured with x4plus at 160×120 on two cores with AVX2: eager 4.7 s, inductor 4.6 to 5.1 s.
        elif order.precision == "fp32":
            reason = f"{lacking}; inductor leaves convolutions as they are, where a CPU spends its time in fp32"
            return {"backend": "eager", "reason": reason}
        log.info("winograd is not taken: %s", lacking or measured["not_taken"])
    return _eager_or_compiled(order, measured)


def _asked_for(order: Order) -> dict[str, Any]:
    requested = order.inference["backend"]
    backend = get_backend(requested, order.device)
    unsuited = backend.unsuited(order.source.network)
    if unsuited and order.source.exact_on_cpu:
        return {"backend": "eager", "reason": unsuited}
    if unsuited:
        raise InputError(f"configuration: inference.backend {requested} cannot run this network: {unsuited}")
    choice = {"backend": requested, "reason": "asked for in the configuration"}
    if backend.compiles:
        choice["measured"] = _compile(order, backend)
    return choice


def _lacking(backend: Backend, order: Order) -> str | None:
    """Why `backend` cannot build this engine, or None."""
    if order.precision not in (backend.precisions or (order.precision,)):
        return f"{backend.name} does not compute in {order.precision} here"
    return backend.unavailable(order.device) or backend.unsuited(order.source.network)


def _eager_or_compiled(order: Order, measured: dict[str, Any]) -> dict[str, Any]:
    """Eager where that is soon done, else what TensorRT or Inductor makes of it if that is faster."""
    eager, profile, images = BACKENDS["eager"], order.profile, order.workload.images
    network = order.network(eager)
    example = example_for(network, profile, eager)
    batches = sum(-(-count // profile.batch) for count in images.values())
    _seconds(network, example)  # the first call chooses algorithms and allocates
    eager_seconds = _seconds(network, example)
    minutes = eager_seconds * batches / 60
    measured |= {"eager_seconds_per_batch": round(eager_seconds, 4), "images": sum(images.values())}
    limit = order.inference["compile_above_minutes"]
    limit = COMPILE_ABOVE_MINUTES[order.device.type] if limit == "auto" else limit
    if minutes <= limit:
        reason = (
            f"{counted(sum(images.values()), 'image')} in {minutes:.1f} minutes uncompiled, at most {limit:g}: "
            "compiling would not pay"
        )
        return {"backend": "eager", "reason": reason, "measured": measured}
    unavailable = {name: BACKENDS[name].unavailable(order.device) for name in ("tensorrt", "inductor")}
    name = next((name for name, reason in unavailable.items() if reason is None), None)
    if name is None:
        return {"backend": "eager", "reason": "; ".join(map(str, unavailable.values())), "measured": measured}
    if name == "inductor":
        log.info("tensorrt is not taken: %s", unavailable["tensorrt"])
        measured["not_taken"] = "; ".join(filter(None, [measured.get("not_taken"), unavailable["tensorrt"]]))
    return _faster(order, BACKENDS[name], measured)


def _faster(order: Order, backend: Backend, measured: dict[str, Any]) -> dict[str, Any]:
    """`backend` or eager, whichever takes less time for a batch of its profile; `measured` is what is known already."""
    name = backend.name
    free_memory(order.device)
    try:
        measured |= _compile(order, backend)
    except Exception as error:  # whatever a compiler lacks here, auto goes on without it, and says so
        if isinstance(error, torch.OutOfMemoryError | InputError) and not isinstance(error, UnloadableError):
            raise
        log.exception("%s cannot build this engine; auto takes eager", name)
        order.program.unlink(missing_ok=True)
        return {"backend": "eager", "reason": f"{name} failed: {first_line(error)}", "measured": measured}
    # Measured close to the other (on a GPU once more), so that a machine that drifts treats both alike.
    eager = BACKENDS["eager"]
    network = order.network(eager)
    example = example_for(network, order.profile, eager)
    _seconds(network, example)
    eager_seconds, compiled_seconds = _seconds(network, example), measured[f"{name}_seconds_per_batch"]
    measured["eager_seconds_per_batch"] = round(eager_seconds, 4)
    faster = name if compiled_seconds < eager_seconds else "eager"
    if faster == "eager":
        require_claim()
        order.program.unlink()
    reason = f"measured: eager {eager_seconds:.3f} s, {name} {compiled_seconds:.3f} s for {order.profile}"
    return {"backend": faster, "reason": reason, "measured": measured}


def _compile(order: Order, backend: Backend) -> dict[str, float]:
    """Compile, load and run, since a lack of memory may show at each; gives the seconds of compiling and of a batch."""
    network = order.network(backend)
    example = example_for(network, order.profile, backend)
    started = time.perf_counter()
    settings = backend.settings(order.inference, order.device, order.precision)
    backend.compile(network, order.profile, order.program, settings)
    compile_seconds = time.perf_counter() - started
    run = backend.load(network, order.program, order.profile)
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
    precision = inference_precision(inference["precision"], device, source.exact_on_cpu)
    if inference["backend"] == "auto":
        return precision
    only = get_backend(inference["backend"], device).precisions
    if only is None or precision in only:
        return precision
    if inference["precision"] != "auto":
        raise InputError(
            f"configuration: inference.backend {inference['backend']} computes here in {' and '.join(only)} alone, and "
            f"not in inference.precision {precision}; choose precision auto or {only[0]}"
        )
    return only[0]


def free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
