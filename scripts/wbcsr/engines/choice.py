"""Choose the backend and precision of an engine: as configured, or by a measurement on this machine."""

from __future__ import annotations

import gc
import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
            choice = _fastest(replace(order, profile=Profile.fixed(1, height, width)), [winograd], {}, [])
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
        try:
            choice["measured"] = _compile(order, backend)
        except (torch.OutOfMemoryError, InputError):
            raise
        except Exception as error:  # compilers fail in many ways
            log.exception("%s cannot compile this network", requested)
            raise InputError(
                f"configuration: inference.backend {requested} cannot compile this network ({first_line(error)}); set "
                "it to auto, which then uses another backend"
            ) from error
    return choice


def _why_unusable(backend: Backend, order: Order) -> str | None:
    """Why `backend` cannot build this engine, or None."""
    if order.precision not in (backend.precisions or (order.precision,)):
        return f"{backend.name} does not compute in {order.precision} here"
    return backend.unavailable(order.device) or backend.unsuited(order.source.network)


def _eager_or_compiled(order: Order, rejected: list[Reason]) -> dict[str, Any]:
    """Choose eager if it finishes soon; otherwise compile with others and choose the fastest."""
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
    compilers, rejected = _compilers(order, rejected)
    if not compilers:
        return {"backend": "eager", "reasons": rejected, "measured": measured}
    return _fastest(order, compilers, measured, rejected)


def _compilers(order: Order, rejected: list[Reason]) -> tuple[list[Backend], list[Reason]]:
    """Return the backends to compare with eager, and the reasons against others, `rejected` included."""
    found = []
    choices = [("tensorrt", "inductor")] if order.device.type == "cpu" else [("triton",), ("tensorrt", "inductor")]
    for names in choices:
        for name in names:
            unusable = _why_unusable(BACKENDS[name], order)
            if unusable is None:
                found.append(BACKENDS[name])
                break
            log.info("%s is not used: %s", name, unusable)
            rejected = [*rejected, reason(Code.UNUSABLE, detail=unusable)]
    return found, rejected


def _fastest(
    order: Order, backends: Sequence[Backend], measured: dict[str, Any], rejected: list[Reason]
) -> dict[str, Any]:
    """Compile `backends` and return the fastest of them and eager, measured with one batch of the profile.

    `measured` holds earlier measurements; `rejected` holds the reasons why other backends are not used.
    """
    programs, compiling = {}, 0.0
    order.program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=order.program.parent) as folder:
        for backend in backends:
            name = backend.name
            free_memory(order.device)
            program = Path(folder) / f"{name}{order.program.suffix}"
            try:
                measured |= _compile(replace(order, program=program), backend)
            except Exception as error:  # compilers fail in many ways; auto then uses another backend and logs it
                if isinstance(error, torch.OutOfMemoryError | InputError) and not isinstance(error, UnloadableError):
                    raise
                log.exception("%s cannot build this engine; auto uses eager or another backend", name)
                rejected = [reason(Code.FAILED, backend=name, detail=first_line(error)), *rejected]
                continue
            programs[name] = program
            compiling += measured["compile_seconds"]
        if not programs:
            return {"backend": "eager", "reasons": rejected, "measured": measured}
        # Eager is measured (on a GPU: again) right after the others, so that drift of the machine affects all equally.
        eager = BACKENDS["eager"]
        network = order.network(eager)
        example = example_for(network, order.profile, eager)
        run = eager.load(network, order.program, order.profile)
        _seconds(run, example)
        seconds = {"eager": round(_seconds(run, example), 4)}
        seconds |= {name: measured[f"{name}_seconds_per_batch"] for name in programs}
        fastest = min(seconds, key=lambda name: seconds[name])
        if fastest != "eager":
            require_claim()
            programs[fastest].replace(order.program)
    measured |= {"compile_seconds": round(compiling, 1), "eager_seconds_per_batch": seconds["eager"]}
    shown = {name: round(value, 3) for name, value in seconds.items()}
    facts = {"eager_seconds": shown.pop("eager"), "shape": str(order.profile)}
    why = [reason(Code.MEASURED, backend=name, seconds=value, **facts) for name, value in shown.items()]
    return {"backend": fastest, "reasons": [*why, *rejected], "measured": measured}


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
