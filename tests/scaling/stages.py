"""How time and memory grow with the number of images: `python tests/scaling/stages.py FOLDER IMAGES [IMAGES …]`.

For each number of images, a data set of tiny images is drawn, and every stage that depends on this number is run on it
by one process with one thread: from the zip file to predictions. The images are noise that was smoothed, turned and
mirrored; four of them have one source in the table of sources, and forty are made from one photograph. Training and
Real-ESRGAN are left out, because each image or step takes them the same time. The table has the processor time of each
stage in seconds, without imports, the largest memory of its process in MiB, and the exponent of growth: the time grows
with the number of images to this power. Choose a FOLDER in memory (/dev/shm), or the disk is measured.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml
from PIL import Image

from wbcsr.config import stored_images
from wbcsr.config.schema import complete

REPOSITORY = Path(__file__).parents[2]
CLASSES, PARTITIONS = ["A", "B"], ["TRAIN", "TEST"]
PLACES = list(product(PARTITIONS, CLASSES))
WIDTH, HEIGHT, SIDE = 32, 24, 32
OF_A_SOURCE, OF_A_PHOTOGRAPH = 4, 40
CONFIG = {
    "dataset": {"archive": "archive.zip", "classes": CLASSES, "photographs": "photographs", "limits": {"files": 10**7}},
    "variants": ["original", "bicubic_x2"],
    "dual": False,
    "sources": {"method": "table", "table": "table.csv"},
    "splits": ["paper", "by_source"],
    "store": "none",
    "train": {"classifier": "efficientnet_lite0", "init": "random", "input_size": SIDE},
}
Stage = Callable[[Path, dict[str, Any]], Callable[[], object]]
STAGES: dict[str, Stage] = {}


def stage(function: Stage) -> Stage:
    """Register a stage: a function that imports and prepares what is not measured, and returns what is measured."""
    STAGES[function.__name__] = function
    return function


def draw(folder: Path, number: int) -> None:
    """Write a zip file with `number` images and their photographs, and a table of sources."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:

        def add(name: str, pixels: np.ndarray) -> None:
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "png", compress_level=0)
            archive.writestr(name, content.getvalue())

        for place, (partition, name) in enumerate(PLACES):
            for image in range(number // len(PLACES)):
                if image % OF_A_PHOTOGRAPH == 0:
                    noise = random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
                    photograph = cv2.GaussianBlur(noise, (0, 0), 1)
                    add(f"photographs/{place}_{image}.png", photograph)
                pixels = photograph[:: (-1) ** image, :: (-1) ** (image // 2)] ^ random.integers(
                    0, 8, photograph.shape, np.uint8
                )
                add(f"{partition}/{name}/{image}.png", pixels)
                rows.append((f"{partition}/{name}/{image}.png", f"{place}_{image // OF_A_SOURCE}"))
    pd.DataFrame(rows, columns=["image", "source"]).to_csv(folder / "table.csv", index=False)


def manifest(folder: Path, variant: str, place: tuple[str, str]) -> Path:
    return folder / "images" / variant / "/".join(place) / "manifest.csv"


@stage
def ingest(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    from wbcsr.dataset.ingest import ingest

    manifests = {place: manifest(folder, "original", place) for place in PLACES}
    tables = [folder / "images.csv", folder / "rejected.csv"]
    return lambda: ingest(
        folder / "archive.zip", config["dataset"], *tables, folder / "images" / "original", manifests, threads=1
    )


@stage
def state_of_a_folder(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    """What each start of Snakemake computes if the data set is a folder."""
    from wbcsr.dataset.state import archive_state, note, write_record

    images = folder / "images" / "original"
    write_record(folder / "record.csv", note(images, None, 10**8, folder / "none", threads=1))
    return lambda: archive_state(images, None, 10**8, folder / "record.csv")


def sources(method: str, table: str, folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    from wbcsr.dataset.sources import find_sources

    settings = {**config["sources"], "method": method, "table": folder / "table.csv"}
    inputs = (folder / "images.csv", [manifest(folder, "original", place) for place in PLACES], folder / "archive.zip")
    return lambda: find_sources(*inputs, settings, config["dataset"], folder / table, threads=1)


@stage
def sources_by_photographs(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    return sources("photographs", "found.csv", folder, config)


@stage
def sources_from_table(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    """The later stages use these sources."""
    return sources("table", "sources.csv", folder, config)


def split(rule: str, folder: Path, settings: dict[str, Any]) -> Callable[[], object]:
    from sklearn.model_selection import StratifiedGroupKFold  # noqa: F401, imported here so that it is not measured

    from wbcsr.dataset.split import split_images
    from wbcsr.files import read_csv, write_csv

    def run() -> None:
        images = read_csv(folder / "images.csv", ["image", "partition", "class"])
        write_csv(folder / f"{rule}.csv", split_images(images, rule, settings, folder / "sources.csv", ""))

    return run


@stage
def split_paper(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    names = {"train": PARTITIONS[0], "test": PARTITIONS[1]}
    return split("paper", folder, {"extra_tests": {}, "partitions": names, "validation_fraction": 0.2})


@stage
def split_by_source(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    return split("by_source", folder, {"extra_tests": {}, "parts": 10})


@stage
def leakage(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    from wbcsr.dataset.split import leakage
    from wbcsr.files import read_csv

    return lambda: leakage("paper", *(read_csv(folder / f"{name}.csv", []) for name in ("images", "sources", "paper")))


@stage
def interpolate(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    from wbcsr.upscale.interpolation import Interpolation
    from wbcsr.upscale.shard import upscale_shard
    from wbcsr.upscale.store import Storing

    def run() -> None:
        for place in PLACES:
            source, target = (manifest(folder, variant, place) for variant in ("original", "bicubic_x2"))
            storing = Storing(**stored_images("bicubic_x2", place[0], config))
            upscale_shard(source, target, 1, 1, Interpolation("bicubic", 2), 1, storing)

    return run


@stage
def interpolate_again(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    """A job that was repeated: everything is kept."""
    return interpolate(folder, config)


def packing(variant: str, folder: Path) -> Callable[[], object]:
    from wbcsr.classify.pack import pack

    manifests = [manifest(folder, variant, place) for place in PLACES]
    array, index = (folder / f"{variant}.{suffix}" for suffix in ("npy", "csv"))
    return lambda: pack(manifests, folder / "images.csv", SIDE, array, index, 1)


@stage
def pack_original(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    return packing("original", folder)


@stage
def pack_upscaled(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    return packing("bicubic_x2", folder)


@stage
def predict(folder: Path, config: dict[str, Any]) -> Callable[[], object]:
    """A fifth of the images."""
    from wbcsr.classify import classifiers
    from wbcsr.classify.predict import predict
    from wbcsr.engines.engine import build
    from wbcsr.engines.source import Workload

    name, model, engine = "efficientnet_lite0", folder / "model.safetensors", folder / "engine.json"
    network = classifiers.build(len(CLASSES), 0, None, name)
    classifiers.save(network.state_dict(), classifiers.Description(tuple(CLASSES), SIDE, name), model)
    inference = {**config["inference"], "backend": "eager", "precision": "fp32"}
    build(classifiers.source(model)[0], engine, Workload({(SIDE, SIDE): 32}, {"cpu": 32, "cuda": 32}), inference)
    inputs = [folder / f"{file}" for file in ("bicubic_x2.npy", "bicubic_x2.csv", "by_source.csv")]
    return lambda: predict(model, engine, *inputs, CLASSES, folder / "predictions.csv", 1)


def measured(folder: Path, name: str) -> tuple[float, float]:
    """Run a stage in a process of its own; returns its seconds and MiB."""
    process = subprocess.Popen([sys.executable, __file__, "--stage", name, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    seconds = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the stage {name} failed")
    return float(seconds), usage.ru_maxrss / 1024


def run(folder: Path, name: str) -> None:
    base = yaml.safe_load((REPOSITORY / "config" / "config.yaml").read_text())
    config = complete({**base, **CONFIG}, REPOSITORY / "config" / "schema.yaml")
    do = STAGES[name](folder, config)
    started = time.process_time()
    do()
    print(time.process_time() - started)


def main(folder: Path, numbers: list[int]) -> None:
    """Measure all stages for all numbers of images, and print a line for each stage as soon as it is known."""
    print("images,stage,seconds,MiB,exponent", flush=True)
    before: dict[str, float] = {}
    for place, number in enumerate(numbers):
        here = folder / str(number)
        draw(here, number)
        for name in STAGES:
            seconds, memory = measured(here, name)
            power = math.log(seconds / before[name]) / math.log(number / numbers[place - 1]) if before.get(name) else ""
            print(f"{number},{name},{seconds:.2f},{memory:.0f},{power and f'{power:.2f}'}", flush=True)
            before[name] = seconds
        shutil.rmtree(here)


if __name__ == "__main__":
    if sys.argv[1] == "--stage":
        run(Path(sys.argv[3]), sys.argv[2])
    else:
        main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
