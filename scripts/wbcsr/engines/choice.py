"""Choose the backend and precision of an engine: as configured, or by a measurement on this machine."""

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
from wbcsr.engines.capability import has_fast_bf16, inference_precision
from wbcsr.engines.profile import Profile
from wbcsr.engines.reasons import Code, Reason, in_words, reason
from wbcsr.engines.source import Source, Workload, prepare
from wbcsr.errors import InputError, first_line

log = logging.getLogger(__name__)

# For `auto`. Building an engine takes tens of minutes on a CPU. On a GPU it takes minutes, and the engine saves about a
# quarter of the time (estimated, not measured).
COMPILE_ABOVE_MINUTES = {"cpu": 30.0, "cuda": 15.0}
# Maximum height and width (pixels) of the batch that compares winograd with eager; a CPU needs about a second for it.
TRIAL_SIDE = 64
# A measurement is repeated only if it takes less than this many seconds.
SOON = 3.0


@dataclass(frozen=True)
class Order:
    """An engine to build: network, input shapes, file of the compiled program, images to process, and settings.

    `inference` is the section of the configuration; `precision` is its precision resolved for `device`.
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
    """Return `backend`, the `reasons` for it and the `measured` times; writes the program if a backend compiles."""
    if order.inference["backend"] != "auto":
        return _as_configured(order)
    if order.device.type == "cpu" and order.precision == "fp32" and order.source.exact_on_cpu:
        return {"backend": "eager", "reasons": [reason(Code.EXACT_ON_CPU)]}
    rejected: list[Reason] = []
    if order.device.type == "cpu":
        winograd = BACKENDS["winograd"]
        unusable = _why_unusable(winograd, order)
        if unusable:
            rejected = [reason(Code.UNUSABLE, detail=unusable)]
            # Measured with x4plus at 160×120 on two cores with AVX2: eager 4.7 s, inductor 4.6 to 5.1 s.
            if order.precision == "fp32":
                return {"backend": "eager", "reasons": [*rejected, reason(Code.NOT_FASTER, backend="inductor")]}
        else:
            height, width = (min(side, TRIAL_SIDE) for side in order.profile.opt)
            choice = _faster(replace(order, profile=Profile.fixed(1, height, width)), winograd, {}, [])
            if choice["backend"] == "winograd" or order.precision == "fp32":
                return choice
            rejected = choice["reasons"]
        log.info("winograd is not used: %s", in_words([rejected]))
    return _eager_or_compiled(order, rejected)


def _as_configured(order: Order) -> dict[str, Any]:
    requested = order.inference["backend"]
    backend = get_backend(requested, order.device)
    unsuited = backend.unsuited(order.source.network)
    if unsuited and order.source.exact_on_cpu:
        return {"backend": "eager", "reasons": [reason(Code.UNUSABLE, detail=unsuited)]}
    if unsuited:
        raise InputError(f"configuration: inference.backend {requested} cannot run this network: {unsuited}")
    choice: dict[str, Any] = {"backend": requested, "reasons": [reason(Code.CONFIGURED)]}
    if backend.compiles:
        choice["measured"] = _compile(order, backend)
    return choice


def _why_unusable(backend: Backend, order: Order) -> str | None:
    """Why `backend` cannot build this engine, or None."""
    if order.precision not in (backend.precisions or (order.precision,)):
        return f"{backend.name} does not compute in {order.precision} here"
    return backend.unavailable(order.device) or backend.unsuited(order.source.network)


def _eager_or_compiled(order: Order, rejected: list[Reason]) -> dict[str, Any]:
    """Choose eager if it finishes soon; otherwise compile with TensorRT or Inductor and choose the faster one."""
    eager, profile, images = BACKENDS["eager"], order.profile, order.workload.images
    network = order.network(eager)
    example = example_for(network, profile, eager)
    run = eager.load(network, order.program, profile)
    batches = sum(-(-count // profile.batch) for count in images.values())
    _seconds(run, example)  # the first call chooses algorithms and allocates
    eager_seconds = _seconds(run, example)
    minutes = eager_seconds * batches / 60
    measured: dict[str, Any] = {"eager_seconds_per_batch": round(eager_seconds, 4), "images": sum(images.values())}
    limit = order.inference["compile_above_minutes"]
    limit = COMPILE_ABOVE_MINUTES[order.device.type] if limit == "auto" else limit
    if minutes <= limit:
        why = reason(Code.FEW_IMAGES, images=sum(images.values()), minutes=round(minutes, 1), limit=limit)
        return {"backend": "eager", "reasons": [why, *rejected], "measured": measured}
    for name in ("tensorrt", "inductor"):
        unavailable = BACKENDS[name].unavailable(order.device)
        if unavailable is None:
            return _faster(order, BACKENDS[name], measured, rejected)
        log.info("%s is not used: %s", name, unavailable)
        rejected = [*rejected, reason(Code.UNUSABLE, detail=unavailable)]
    return {"backend": "eager", "reasons": rejected, "measured": measured}


def _faster(order: Order, backend: Backend, measured: dict[str, Any], rejected: list[Reason]) -> dict[str, Any]:
    """Compile `backend` and return the faster of it and eager, measured with one batch of the profile.

    `measured` holds earlier measurements; `rejected` holds the reasons why other backends are not used.
    """
    name = backend.name
    free_memory(order.device)
    try:
        measured |= _compile(order, backend)
    except Exception as error:  # compilers fail in many ways; auto then uses eager and logs it
        if isinstance(error, torch.OutOfMemoryError | InputError) and not isinstance(error, UnloadableError):
            raise
        log.exception("%s cannot build this engine; auto uses eager", name)
        order.program.unlink(missing_ok=True)
        why = reason(Code.FAILED, backend=name, detail=first_line(error))
        return {"backend": "eager", "reasons": [why, *rejected], "measured": measured}
    # Eager is measured (on a GPU: again) right after the other, so that drift of the machine affects both equally.
    eager = BACKENDS["eager"]
    network = order.network(eager)
    example = example_for(network, order.profile, eager)
    run = eager.load(network, order.program, order.profile)
    _seconds(run, example)
    eager_seconds, compiled_seconds = _seconds(run, example), measured[f"{name}_seconds_per_batch"]
    measured["eager_seconds_per_batch"] = round(eager_seconds, 4)
    faster = name if compiled_seconds < eager_seconds else "eager"
    if faster == "eager":
        require_claim()
        order.program.unlink()
    seconds = {"eager_seconds": round(eager_seconds, 3), "seconds": round(compiled_seconds, 3)}
    why = reason(Code.MEASURED, backend=name, shape=str(order.profile), **seconds)
    return {"backend": faster, "reasons": [why, *rejected], "measured": measured}


def _compile(order: Order, backend: Backend) -> dict[str, float]:
    """Compile, load and run (each step may run out of memory); return the seconds for compiling and for one batch."""
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
    """Return the seconds for one batch; the minimum of three runs if one is short, as other load only adds time."""

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
    """Return the precision for these settings. Raises InputError if it, or the backend, is not supported here."""
    precision = inference_precision(inference["precision"], device, source.exact_on_cpu)
    if precision not in source.precisions:
        if inference["precision"] != "auto":
            raise InputError(
                f"configuration: inference.precision is {precision}, but this network ({source.weights.name}) works "
                f"only in {' and '.join(source.precisions)}; choose precision auto"
            )
        precision = "bf16" if "bf16" in source.precisions and has_fast_bf16(device) else "fp32"
    if inference["backend"] == "auto":
        return precision
    only = get_backend(inference["backend"], device).precisions
    if only is None or precision in only:
        return precision
    if inference["precision"] != "auto":
        raise InputError(
            f"configuration: inference.backend {inference['backend']} supports only {' and '.join(only)} here, not "
            f"inference.precision {precision}; choose precision auto or {only[0]}"
        )
    return only[0]


def free_memory(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
