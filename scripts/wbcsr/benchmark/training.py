"""Benchmark of training the classifier, compared with a typical script and with the network alone."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from wbcsr.benchmark.figures import Rates, draw
from wbcsr.benchmark.folders import copy_images, list_images
from wbcsr.benchmark.machine import Machine, describe_machine
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured, measured_number, memory, seconds
from wbcsr.benchmark.workers import Run, measure_in_workers, warmed
from wbcsr.classify.networks import NETWORKS
from wbcsr.classify.pack import pack
from wbcsr.classify.train import Training, TrainJob, begin
from wbcsr.engines.capability import pick_device
from wbcsr.errors import InputError
from wbcsr.files import scratch_folder, write_csv
from wbcsr.present.table import Table, number, text
from wbcsr.present.text import number_texts
from wbcsr.study.labels import CLASSIFIERS
from wbcsr.text import counted
from wbcsr.training.precision import autocast, choose_precision
from wbcsr.training.ranks import Ranks
from wbcsr.vision import torchvision

OURS, USUAL, NETWORK = "ours", "the usual script", "ours, network alone"
# Optimizer steps per run, by device, if there are enough images.
STEPS = {"cpu": 4, "cuda": 32}
COLUMNS = [
    *("machine", "system", "classifier", "device", "precision", "batch_size", "input_size", "threads", "images"),
    *TIMES,
    *("images_per_second", "share_of_network", "peak_memory_mib", "note"),
]
NOTE = (
    "All were measured once per round; a run is one epoch, after a warm-up epoch. Medians, with minimum and maximum. "
    "The usual script: torchvision's ImageFolder with Resize, flips, ToTensor and Normalize, a DataLoader with "
    "persistent workers (as many as ours has threads), fp32, contiguous, Adam. Network alone: forward and backward "
    "passes of one batch that stays on the device, as in ours. fp32 is without TF32. Memory is that of the main "
    "process, without a DataLoader's workers. Share of network: speed relative to the network alone."
)


@dataclass(frozen=True)
class Task:
    """The training data: packed images for ours, one folder per class for others; `settings` is the section train."""

    array: Path
    index: Path
    split: Path
    folder: Path
    classes: Sequence[str]
    settings: Mapping[str, Any]
    threads: int


def benchmark_training(
    manifests: Sequence[Path],
    train: Mapping[str, Any],
    settings: Mapping[str, Any],
    threads: int,
    folder: Path,
    steps: int | None = None,
) -> dict[str, Any]:
    """Measure epochs of `steps` on original images; writes table and figure. `train` is the section of that name.

    Returns the machine and the number of measurements. Raises InputError if there are fewer than three images.
    """
    device = pick_device()
    machine = describe_machine(device, threads)
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        aside = Path(scratch)
        wanted = train["batch_size"] * (steps or STEPS[device.type]) + 1
        copied = copy_images(manifests, wanted, aside / "original")
        task = _prepare(copied, train, threads, aside)
        images = len(pd.read_csv(task.split))
        precision = choose_precision(train["precision"], device)
        systems: dict[str, tuple[Callable[[Task], Callable[[], Run]], str, int]] = {
            OURS: (make_ours, precision, images - 1),
            USUAL: (make_usual, "fp32", images),
            NETWORK: (make_network, precision, images - 1),
        }
        makes = {name: partial(make, task) for name, (make, _, _) in systems.items()}
        outcomes = measure_in_workers(makes, settings["seconds"], settings["repeats"])
    rows: list[dict[str, Any]] = [
        {"system": name, "classifier": train["classifier"], "device": device.type, "precision": systems[name][1]}
        | {"batch_size": task.settings["batch_size"], "input_size": train["input_size"], "threads": threads}
        | measured(outcome, systems[name][2])
        for name, outcome in outcomes.items()
    ]
    alone = rows[-1].get("images_per_second")
    for row in rows[:-1]:
        if alone and "images_per_second" in row:
            row["share_of_network"] = row["images_per_second"] / alone
    return SUITE.write(rows, machine, folder)


def _prepare(copied: Sequence[Path], train: Mapping[str, Any], threads: int, aside: Path) -> Task:
    """Pack the images; the last one is the validation image that training needs."""
    listed = list_images(copied, aside / "images.csv")
    if len(listed) < 3:
        raise InputError(f"{copied[0]}: the training benchmark needs three images; raise dataset.limit_per_class")
    task = Task(
        array=aside / "packed.npy",
        index=aside / "packed.csv",
        split=aside / "split.csv",
        folder=aside / "original",
        classes=sorted(set(listed["class"])),
        settings={**train, "batch_size": min(train["batch_size"], len(listed) - 1), "epochs": 1, "gpus": 1},
        threads=threads,
    )
    pack(copied, aside / "images.csv", train["input_size"], task.array, task.index, threads)
    subsets = ["train"] * (len(listed) - 1) + ["validation"]
    write_csv(task.split, pd.DataFrame({"image": listed["image"], "subset": subsets}))
    return task


def make_ours(task: Task) -> Callable[[], Run]:
    """In a worker: return a function that trains one epoch as a job of the workflow does."""
    training = _begin(task)
    return warmed(training.train_epoch, 1, tqdm(disable=True))


def make_network(task: Task) -> Callable[[], Run]:
    """In a worker: return a function that runs as many forward and backward passes on a single batch."""
    training = _begin(task)
    device, steps = training.ranks.device, training.steps
    ((images, labels),) = training.images.read([np.arange(training.usual_size)])
    training.model.train()

    def run() -> None:
        for _ in range(steps):
            with autocast(device, training.precision):
                logits = training.usual_step(images)
            training.optimizer.zero_grad()
            loss = cross_entropy(logits.float(), labels)
            loss.backward()
        loss.item()  # synchronises with a GPU

    # The last batch may be shorter; only its images count.
    share = training.used / (steps * training.usual_size)
    warm = warmed(run)
    return lambda: Run(warm().seconds * share)


def _begin(task: Task) -> Training:
    job = TrainJob(
        arrays=[task.array],
        indexes=[task.index],
        split=task.split,
        classes=task.classes,
        settings=task.settings,
        seed=0,
        init=None,
        model=task.folder / "model.safetensors",
        history=task.folder / "history.csv",
        checkpoint=task.folder / "checkpoint.pt",
        threads=task.threads,
    )
    return begin(job, Ranks(pick_device()))


def make_usual(task: Task) -> Callable[[], Run]:
    """In a worker: return a function that trains one epoch as a tutorial's script does."""
    from torch.utils.data import DataLoader

    transforms = torchvision.transforms
    device, side = pick_device(), task.settings["input_size"]
    torch.set_num_threads(task.threads)
    steps = [
        transforms.Resize((side, side)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomVerticalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    loader = DataLoader(
        torchvision.datasets.ImageFolder(task.folder, transforms.Compose(steps)),
        batch_size=task.settings["batch_size"],
        shuffle=True,
        num_workers=task.threads,
        persistent_workers=True,
        multiprocessing_context="fork",  # Linux's default, except in a spawned process
        pin_memory=device.type == "cuda",
    )
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    model = NETWORKS[task.settings["classifier"]].make(len(task.classes)).to(device).train()
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=1e-3), nn.CrossEntropyLoss()

    def run() -> None:
        loss = Tensor()
        for images, labels in loader:
            if len(images) == 1:
                continue  # batch norm fails on one image; ours skips it as well
            optimizer.zero_grad()
            loss = criterion(model(images.to(device, non_blocking=True)), labels.to(device, non_blocking=True))
            loss.backward()
            optimizer.step()
        loss.item()  # synchronises with a GPU

    return warmed(run)


def training_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    first = data.iloc[0]
    count, side = data["images"].min(), first["input_size"]
    name = CLASSIFIERS[first["classifier"]]
    what = f"{name}, batches of {first['batch_size']} at {side}×{side}, {counted(count, 'image')} per epoch."
    return Table(
        name="training",
        title="Training",
        caption=f"{machine.sentence()} {what}",
        data=data,
        columns=[
            text("system", "Implementation"),
            text("precision", "Precision"),
            measured_number("images_per_second", "Images/s"),
            seconds("s per epoch (min to max)"),
            number("share_of_network", "Share of network", ".0%"),
            memory(),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/training.csv",
    )


def draw_training(data: pd.DataFrame) -> Figure:
    """Draw images per second of ours, the usual script, and the network alone."""
    done = data[data["repeats"].notna()]
    labels = [f"{row.system}, {row.precision}" for row in done.itertuples()]
    shares = number_texts(done["share_of_network"], ".0%")
    panels = [Rates.of("", labels, done, shares, "of network")] if len(done) else []
    return draw(panels)


SUITE = Suite(COLUMNS, training_table, draw_training)
