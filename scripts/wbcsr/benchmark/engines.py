"""Both networks by each backend and precision that the machine has: alone, from files to files, and to labels."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from wbcsr.benchmark.images import Images, count_of, crop_of, gather
from wbcsr.benchmark.labels import label_files, read_rgb8
from wbcsr.benchmark.measurements import (
    FILES,
    LABELS,
    NETWORK,
    Measurement,
    describe_machine,
    write_markdown,
    write_measurements,
)
from wbcsr.benchmark.memory import PeakMemory
from wbcsr.benchmark.timing import Clock, WallClock, device_clock, measure
from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.capability import has_fast_bf16, pick_device
from wbcsr.engines.engine import Engine, build, load
from wbcsr.engines.profile import Profile, Size
from wbcsr.engines.source import Source, Workload
from wbcsr.errors import InputError, first_line
from wbcsr.files import scratch_folder
from wbcsr.pixels import to_network, to_square
from wbcsr.upscale import upscaler
from wbcsr.upscale.shard import upscale_shard
from wbcsr.weights.networks import Architecture

log = logging.getLogger(__name__)

REMARKS = (
    f"Time and memory are those of the network alone, on images that are on the device already. “{FILES}” decodes, "
    f"enlarges, encodes as PNG and writes to a temporary folder; “{LABELS}” decodes, enlarges and classifies by "
    "the classifier of the same backend and precision without leaving the device. Medians; an empty cell was not "
    "measured."
)


@dataclass(frozen=True)
class Network:
    """A network to measure: how to read it anew, the (height, width) it takes, and its batch by device."""

    name: str
    read: Callable[[], Source]
    shape: Size
    scale: int | None
    batch: Mapping[str, int]


@dataclass(frozen=True)
class Bench:
    """What all measurements of a run share; `folder` holds the engines, and is gone afterwards."""

    machine: str
    device: torch.device
    images: Images
    inference: Mapping[str, Any]
    seconds: float
    repeats: int
    precisions: Sequence[str]
    threads: int
    folder: Path


def benchmark_engines(
    weights: Sequence[Path],
    manifests: Sequence[Path],
    classes: Sequence[str],
    classifier: str,
    input_size: int,
    inference: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    csv: Path,
    markdown: Path,
) -> dict[str, Any]:
    """Measure Real-ESRGAN of each of `weights` and a classifier by each backend and precision, and write the tables.

    `classifier` is one of `NETWORKS`. Images are those of the `manifests` that have the most common size. `inference`
    and `settings` are the configuration's sections inference and benchmark; backend and precision of the former are
    replaced. Engines are built, loaded and used as the workflow does. What cannot run here, or fails, has a row that
    says why.
    Returns the machine and the number of measurements. InputError where there are no images.
    """
    device = pick_device()
    machine = describe_machine(device, threads)
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        folder = Path(scratch)
        images = gather(manifests, count_of(settings, device.type), crop_of(settings, device.type), folder / "images")
        seconds, repeats, asked = (settings[key] for key in ("seconds", "repeats", "precisions"))
        bench = Bench(machine.hardware, device, images, inference, seconds, repeats, asked, threads, folder)
        network = _classifier(classifier, classes, input_size, folder / "classifier.safetensors")
        # First, since its engines are used again on the way from files to labels.
        measured = list(_measure_all(bench, network, settings["backends"], _measure_classifier))
        upscaling: list[Measurement] = []
        for path in weights:
            enlarging, architecture = _upscaler(path, images, inference)
            way = partial(_measure_upscaler, architecture, network)
            upscaling += _measure_all(bench, enlarging, settings["backends"], way)
        measured = [*upscaling, *measured]
    write_measurements(measured, csv)
    write_markdown(measured, machine, REMARKS, markdown)
    return {"measured_on": asdict(machine), "measurements": sum(row.repeats is not None for row in measured)}


def precisions(device: torch.device, backend: str = "eager") -> list[str]:
    """The number formats that make sense on a device by a backend: those that they compute in, and do not emulate."""
    only = BACKENDS[backend].precisions
    if only:
        return list(only)
    native = ["fp32", "fp16"] if device.type == "cuda" else ["fp32"]
    return [*native, "bf16"] if has_fast_bf16(device) else native


def among(available: Sequence[str], asked: Container[str]) -> Sequence[str]:
    """The available precisions that are asked for; all of them where none is."""
    return [precision for precision in available if precision in asked] or available


def _measure_all(
    bench: Bench,
    network: Network,
    backends: Sequence[str],
    way: Callable[[Bench, Network, Mapping[str, Any], Measurement], Iterator[Measurement]],
) -> Iterator[Measurement]:
    """The rows of one network; `way` gives those of one backend and precision."""
    for name in backends:
        reason = BACKENDS[name].unavailable(bench.device)
        if reason:
            yield Measurement(bench.machine, network.name, name, note=f"cannot run here: {reason}")
            continue
        for precision in among(precisions(bench.device, name), bench.precisions):
            inference = {**bench.inference, "backend": name, "precision": precision}
            height, width = network.shape
            row = Measurement(
                bench.machine, network.name, name, precision, height=height, width=width, scale=network.scale
            )
            log.info("measuring %s, %s, %s", network.name, name, precision)
            try:
                started = time.perf_counter()
                description = build(
                    network.read(),
                    _engine_path(bench, network, inference),
                    Workload({network.shape: max(network.batch.values())}, network.batch),
                    inference,
                )
                seconds = time.perf_counter() - started if BACKENDS[name].compiles else None
                row = replace(row, build_seconds=seconds, batch=description["batch_size"])
                if description["backend"] != name:
                    yield replace(row, note=f"cannot run here: {description['reason']}")
                else:
                    yield from way(bench, network, inference, row)
            except Exception as error:
                yield replace(row, note=_explain(error, bench))


def _measure_classifier(
    bench: Bench, network: Network, inference: Mapping[str, Any], row: Measurement
) -> Iterator[Measurement]:
    row = replace(row, note="random weights, on which speed does not depend")
    memory = PeakMemory(bench.device)
    engine = _load(bench, network, inference)
    squares = to_square(_first_images(bench, engine), network.shape[0])
    batch = to_network(
        squares, network.shape, *NETWORKS[network.name].normalisation, engine.dtype, engine.memory_format
    )
    del squares
    yield _measure(bench, row, NETWORK, memory, len(batch), device_clock(bench.device), partial(engine.run, batch))


def _measure_upscaler(
    architecture: Architecture,
    classifier: Network,
    bench: Bench,
    network: Network,
    inference: Mapping[str, Any],
    row: Measurement,
) -> Iterator[Measurement]:
    row = replace(row, note=bench.images.note)
    memory = PeakMemory(bench.device)
    engine = _load(bench, network, inference)
    files, clock = bench.images.files, WallClock()

    images = _first_images(bench, engine)[:, : network.shape[0], : network.shape[1]]
    batch = to_network(images, network.shape, *upscaler.RANGE, engine.dtype, engine.memory_format)
    yield _measure(bench, row, NETWORK, memory, len(batch), device_clock(bench.device), partial(engine.run, batch))
    del images, batch

    enlarger = upscaler.SuperResolution(
        engine, architecture, architecture.scale, inference["tile"], inference["overlap"]
    )
    manifest = bench.folder / "enlarged" / "manifest.csv"
    enlarge = partial(upscale_shard, bench.images.manifest, manifest, 1, 1, enlarger, bench.threads)
    yield _measure(bench, row, FILES, memory, len(files), clock, enlarge)

    if any(side < length for side, length in zip(network.shape, bench.images.size, strict=True)):
        why = "images larger than inference.tile are enlarged in tiles, which go through the CPU's memory"
        yield replace(row, what=LABELS, note=f"not measured: {why}")
    elif not _engine_path(bench, classifier, inference).is_file():
        yield replace(row, what=LABELS, note=f"not measured: {classifier.name} could not be built")
    else:
        label = partial(
            label_files,
            files,
            engine,
            network.shape,
            architecture.scale,
            _load(bench, classifier, inference),
            classifier.shape[0],
            NETWORKS[classifier.name].normalisation,
            bench.threads,
        )
        yield _measure(bench, row, LABELS, memory, len(files), clock, label)


def _measure(
    bench: Bench,
    row: Measurement,
    what: str,
    memory: PeakMemory,
    images: int,
    clock: Clock,
    run: Callable[[], object],
) -> Measurement:
    """`row` with the times of `run`, or with the reason why there are none."""
    row = replace(row, what=what)
    memory.restart()
    try:
        with torch.inference_mode():
            timing = measure(run, bench.seconds, bench.repeats, clock)
    except Exception as error:
        return replace(row, note=_explain(error, bench))
    return replace(
        row,
        images=images,
        images_per_second=images / timing.median_seconds,
        peak_memory_mib=memory.mib(),
        **asdict(timing),
    )


def _explain(error: Exception, bench: Bench) -> str:
    """Why there is no figure. What breaks once must not cost the hours of the others, so the traceback is logged."""
    message = first_line(error).replace(f"{bench.folder}/", "")
    if isinstance(error, InputError):
        log.warning("cannot run here: %s", message)
        return f"cannot run here: {message}"
    if isinstance(error, torch.OutOfMemoryError):
        log.warning("out of memory: %s", message)
        return f"out of memory: {message}"
    log.exception("a measurement failed")
    return f"failed: {type(error).__name__}: {message}"


def _classifier(architecture: str, classes: Sequence[str], side: int, path: Path) -> Network:
    """A classifier with random weights, written to `path`."""
    model = classifiers.build(len(classes), 0, None, architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            # A new block of ResNet-50 ends in zeros, which would cost a GPU less power than a trained one.
            nn.init.ones_(module.weight)
    classifiers.save(model.state_dict(), classifiers.Description(tuple(classes), side, architecture), path)
    return Network(architecture, lambda: classifiers.source(path)[0], (side, side), None, classifiers.ENGINE_BATCH)


def _upscaler(weights: Path, images: Images, inference: Mapping[str, Any]) -> tuple[Network, Architecture]:
    _, architecture = upscaler.source(weights)
    shape = Profile.covering(1, {images.size: 1}, architecture.multiple, inference["tile"], True).opt
    batch = upscaler.batches(inference)
    network = Network(weights.stem, lambda: upscaler.source(weights)[0], shape, architecture.scale, batch)
    return network, architecture


def _engine_path(bench: Bench, network: Network, inference: Mapping[str, Any]) -> Path:
    return bench.folder / network.name / f"{inference['backend']}_{inference['precision']}" / "engine.json"


def _load(bench: Bench, network: Network, inference: Mapping[str, Any]) -> Engine:
    return load(network.read(), _engine_path(bench, network, inference))


def _first_images(bench: Bench, engine: Engine) -> torch.Tensor:
    """As many images as the engine takes at once, again from the first where there are fewer; on its device, uint8."""
    images = [read_rgb8(path) for path in islice(cycle(bench.images.files), engine.batch)]
    return torch.from_numpy(np.stack(images)).to(bench.device)
