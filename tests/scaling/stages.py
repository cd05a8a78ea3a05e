"""How time and memory grow with the number of images: `python tests/scaling/stages.py FOLDER IMAGES [IMAGES …]`.

For each number of images, a data set of tiny noise images is drawn, four images of each source, and every stage that
depends on this number is run on it by one process with one thread: from the zip file to predictions. Training and
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

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from wbcsr.config import stored_images
from wbcsr.config.schema import complete

REPOSITORY = Path(__file__).parents[2]
CLASSES, PARTITIONS = ["A", "B"], ["TRAIN", "TEST"]
SIDE, DUPLICATES = 32, 4
CONFIG = {
    "dataset": {"archive": "archive.zip", "classes": CLASSES, "photographs": None},
    "variants": ["original", "bicubic_x2"],
    "dual": False,
    "sources": {"method": "table", "table": "sources.csv"},
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
    """Write a zip file with `number` images, and the table of their sources."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for place, (partition, name) in enumerate(product(PARTITIONS, CLASSES)):
            for image in range(number // 4):
                content = io.BytesIO()
                pixels = random.integers(0, 256, (SIDE // 2, SIDE // 2, 3), np.uint8)
                Image.fromarray(pixels).save(content, "png", compress_level=0)
                archive.writestr(f"{partition}/{name}/{image}.png", content.getvalue())
                rows.append((f"{partition}/{name}/{image}.png", f"{place}_{image // DUPLICATES}"))
    pd.DataFrame(rows, columns=["image", "source"]).to_csv(folder / "sources.csv", index=False)


def manifest(folder: Path, variant: str, place: tuple[str, str]) -> Path:
    return folder / "images" / variant / "/".join(place) / "manifest.csv"


PLACES = list(product(PARTITIONS, CLASSES))


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
