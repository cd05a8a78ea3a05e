"""Benchmark of packing images for the classifier, compared with one pass of torchvision over the same files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from wbcsr.benchmark.figures import Rates, draw
from wbcsr.benchmark.folders import METHOD, SCALE, copy_images, enlarge_images, list_images
from wbcsr.benchmark.machine import Machine, describe_machine
from wbcsr.benchmark.suite import REASON, TIMES, Suite, measured, measured_number, seconds
from wbcsr.benchmark.workers import Run, measure_in_workers, warmed
from wbcsr.files import scratch_folder
from wbcsr.present.table import Table, text
from wbcsr.text import counted

OURS, TORCHVISION = "ours, packing", "torchvision, ImageFolder"
ORIGINAL, ENLARGED = "original", f"{METHOD}_x{SCALE}"
# Images per run.
COUNT = 256
COLUMNS = ["machine", "system", "variant", "input_size", "threads", "images", *TIMES, "images_per_second", "note"]
NOTE = (
    "Both were measured once per round; medians, with minimum and maximum. Ours decodes, compares each file's "
    "SHA-256 with its manifest, resizes and writes one array. ImageFolder with Resize and ToTensor is read once by a "
    "DataLoader with as many workers as ours has threads and batches of 32; nothing is written. Upscaled images are "
    "PNG files made with Lanczos, which decode like those of a network. All files are in the system's cache."
)


def benchmark_packing(
    manifests: Sequence[Path],
    input_size: int,
    settings: Mapping[str, Any],
    threads: int,
    folder: Path,
    count: int = COUNT,
) -> dict[str, Any]:
    """Measure packing about `count` images of `manifests`, original and upscaled; writes table and figure to `folder`.

    Returns the machine and the number of measurements. Raises InputError if there are no images.
    """
    machine = describe_machine(torch.device("cpu"), threads)
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as scratch:
        aside = Path(scratch)
        originals = copy_images(manifests, count, aside / ORIGINAL)
        variants = {ORIGINAL: originals, ENLARGED: enlarge_images(originals, aside / ENLARGED, threads)}
        images = len(list_images(originals, aside / "images.csv"))
        makes: dict[tuple[str, str], Callable[[], Callable[[], Run]]] = {}
        for variant, paths in variants.items():
            stem = aside / f"packed_{variant}"
            makes[OURS, variant] = partial(make_packing, paths, aside / "images.csv", input_size, stem, threads)
            makes[TORCHVISION, variant] = partial(make_pass, aside / variant, input_size, threads)
        outcomes = measure_in_workers(makes, settings["seconds"], settings["repeats"])
    rows = [
        {"system": system, "variant": variant, "input_size": input_size, "threads": threads} | measured(outcome, images)
        for (system, variant), outcome in outcomes.items()
    ]
    return SUITE.write(rows, machine, folder)


def make_packing(
    manifests: Sequence[Path], images_csv: Path, input_size: int, stem: Path, threads: int
) -> Callable[[], Run]:
    """In a worker: return a function that packs the images as a job does."""
    from wbcsr.classify.pack import pack

    array, index = (stem.with_suffix(suffix) for suffix in (".npy", ".csv"))
    return warmed(pack, manifests, images_csv, input_size, array, index, threads)


def make_pass(folder: Path, input_size: int, threads: int) -> Callable[[], Run]:
    """In a worker: return a function that reads all images below `folder` once with torchvision."""
    from torch.utils.data import DataLoader

    from wbcsr.vision import torchvision

    steps = [torchvision.transforms.Resize((input_size, input_size)), torchvision.transforms.ToTensor()]
    images = torchvision.datasets.ImageFolder(folder, torchvision.transforms.Compose(steps))
    # "fork" is the default on Linux, but in a spawned process the default would be "spawn".
    loader = DataLoader(images, batch_size=32, num_workers=threads, multiprocessing_context="fork")

    def read() -> None:
        seen = sum(len(batch) for batch, _ in loader)
        if seen != len(images):
            raise RuntimeError(f"ImageFolder gave {seen} of {len(images)} images")

    return warmed(read)


def packing_table(data: pd.DataFrame, machine: Machine) -> Table:
    """Return the table of the benchmark; `data` has `COLUMNS`."""
    first = data.iloc[0]
    count = data["images"].max()
    sizes = f"{counted(first['threads'], 'thread')}, to {first['input_size']}×{first['input_size']}"
    return Table(
        name="packing",
        title="Packing",
        caption=f"{machine.sentence()} {counted(count, 'image')}, {sizes}.",
        data=data,
        columns=[
            text("system", "Implementation"),
            text("variant", "Images"),
            measured_number("images_per_second", "Images/s"),
            seconds(),
            REASON,
        ],
        note=NOTE,
        source="results/benchmark/packing.csv",
    )


def draw_packing(data: pd.DataFrame) -> Figure:
    """Draw images per second for the original and for the upscaled files."""
    done = data[data["repeats"].notna()]
    titles = {ORIGINAL: "Original images, JPEG", ENLARGED: f"Upscaled images (×{SCALE}), PNG"}
    panels = [
        Rates.of(title, list(rows["system"]), rows)
        for key, title in titles.items()
        if len(rows := done[done["variant"] == key])
    ]
    return draw(panels)


SUITE = Suite(COLUMNS, packing_table, draw_packing)
