"""Benchmark of class prediction with the classifier's engine, for each backend and precision of this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from wbcsr.benchmark.figures import Rates, draw
from wbcsr.benchmark.machine import Machine, among, describe_machine, precisions
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured, measured_number, memory, seconds
from wbcsr.benchmark.workers import Run, measure_in_workers, warmed
from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.capability import pick_device
from wbcsr.engines.engine import build, load
from wbcsr.engines.source import Workload
from wbcsr.errors import InputError
from wbcsr.files import scratch_folder
from wbcsr.job import keep_large_blocks
from wbcsr.present.table import Table, text
from wbcsr.study.labels import CLASSIFIERS
from wbcsr.text import counted

COLUMNS = [
    *("machine", "classifier", "backend", "device", "precision", "input_size", "threads", "images"),
    *TIMES,
    *("images_per_second", "peak_memory_mib", "note"),
]
# Number of batches in one run.
BATCHES = 4
NOTE = (
    "All were measured once per round; medians, with minimum and maximum. A run normalises batches of bytes in memory, "
    "classifies them and returns the logits, as a job does. Weights and images are random, which does not affect the "
    "speed. Memory is that of the process."
)


@dataclass(frozen=True, eq=False)
class Case:
    """A classifier file, and the backend and precision of its engine, which is built into `folder`."""

    model: Path
    classifier: str
    backend: str
    precision: str
    side: int
    images: int
    inference: Mapping[str, Any]
    threads: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.backend}, {self.precision}"

    @property
    def engine(self) -> Path:
        return self.folder / f"{self.backend}_{self.precision}" / "engine.json"


def benchmark_classifying(
    classifier: str,
    classes: int,
    input_size: int,
    inference: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    folder: Path,
) -> dict[str, Any]:
    """Measure a classifier on images of side `input_size`, and write table and figure to `folder`.

    `classifier` is a name in `NETWORKS`; `classes` is the number of classes. `inference` and `settings` are the
    sections inference and benchmark of the configuration; backend and precision of the former are replaced. A case that
    fails or cannot run here gets a row with the reason. Returns the machine and the number of measurements.
    """
    device = pick_device()
    machine = describe_machine(device, threads)
    images = BATCHES * classifiers.ENGINE_BATCH[device.type]
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        model = Path(scratch) / "classifier.safetensors"
        write_classifier(classifier, classes, input_size, model)
        cases = [
            Case(model, classifier, backend, precision, input_size, images, inference, threads, Path(scratch))
            for backend in settings["backends"]
            for precision in among(precisions(device, backend), settings["precisions"])
        ]
        outcomes = measure_in_workers(
            {case: partial(make_classifying, case) for case in cases},
            settings["seconds"],
            settings["repeats"],
            {case: partial(build_engine, case) for case in cases},
        )
    rows = [
        {"classifier": classifier, "backend": case.backend, "device": device.type, "precision": case.precision}
        | {"input_size": input_size, "threads": threads}
        | measured(outcome, images)
        for case, outcome in outcomes.items()
    ]
    return SUITE.write(rows, machine, folder)


def write_classifier(architecture: str, classes: int, side: int, path: Path) -> None:
    """Write a network of `NETWORKS` with random weights to `path`."""
    model = classifiers.build(classes, 0, None, architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
            # The last norm of a new ResNet-50 block has zero weights; with zeros, a GPU would need less power than
            # after training.
            nn.init.ones_(module.weight)
    names = tuple(f"class {number}" for number in range(classes))
    classifiers.save(model.state_dict(), classifiers.Description(names, side, architecture), path)


def build_engine(case: Case) -> None:
    """Build the engine of the case. Raises InputError if its backend cannot run here."""
    torch.set_num_threads(case.threads)
    network, _ = classifiers.source(case.model)
    backend = BACKENDS[case.backend]
    if reason := backend.unavailable(pick_device()) or backend.unsuited(network.network):
        raise InputError(reason)
    workload = Workload({(case.side, case.side): case.images}, classifiers.ENGINE_BATCH)
    build(network, case.engine, workload, {**case.inference, "backend": case.backend, "precision": case.precision})


def make_classifying(case: Case) -> Callable[[], Run]:
    """In a worker: return a function that classifies the case's images with the engine from `build_engine`."""
    keep_large_blocks()
    torch.set_num_threads(case.threads)
    engine = load(classifiers.source(case.model)[0], case.engine)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (case.images, case.side, case.side, 3), dtype=torch.uint8, generator=generator)
    return warmed(classifiers.engine_logits, engine, NETWORKS[case.classifier], images.split(engine.batch))


def classifying_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    first = data.iloc[0]
    name, side = CLASSIFIERS[first["classifier"]], first["input_size"]
    ran = data["images"].dropna()
    count = f", {counted(ran.iloc[0], 'image')} a run" if len(ran) else ""
    return Table(
        name="classifying",
        title="Classifying",
        caption=f"{machine.sentence()} {name} at {side}×{side}{count}.",
        data=data,
        columns=[
            text("backend", "Backend"),
            text("precision", "Precision"),
            measured_number("images_per_second", "Images/s"),
            seconds(),
            memory(),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/classifying.csv",
    )


def draw_classifying(data: pd.DataFrame) -> Figure:
    """Draw images per second for each backend and precision."""
    done = data[data["repeats"].notna()]
    labels = [f"{row.backend}, {row.precision}" for row in done.itertuples()]
    return draw([Rates.of("", labels, done)] if len(done) else [])


SUITE = Suite(COLUMNS, classifying_table, draw_classifying)
