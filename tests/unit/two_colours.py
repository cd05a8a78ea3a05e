"""A data set that can be learnt in seconds, and trainings on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from wbcsr.classify.train import TrainJob, TrainSummary, train

CLASSES = ["blue", "red"]
SIDE = 32
CPU = torch.device("cpu")
SETTINGS = {
    "classifier": "resnet50",
    "init": "random",
    "frozen_stages": 0,
    "input_size": SIDE,
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.001,
    "weight_decay": 0.05,
    "warmup": 0.1,
    "label_smoothing": 0.05,
    "augment": True,
    "precision": "fp32",
    "compile": "auto",
    "gpus": 1,
}


class Small(nn.Module):
    """A small network that learns within milliseconds."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 4, 4), nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.fc = nn.Linear(32, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images.permute(0, 3, 1, 2) / 255))


def build_small(classes: int, seed: int, init: Path | None, architecture: str, network: type[Small] = Small) -> Small:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(classes)


def pack_two_colours(folder: Path, variant: str, train_images: int = 13, brightness: int = 0) -> tuple[Path, Path]:
    """Noise that is bluish or reddish in turn; the last eight images are for validation."""
    numbers = np.arange(train_images + 8)
    pixels = np.random.default_rng(brightness).integers(60, 120, (len(numbers), SIDE, SIDE, 3)) + brightness
    pixels[numbers, :, :, np.where(numbers % 2, 0, 2)] += 60
    array, index = folder / f"{variant}.npy", folder / f"{variant}.csv"
    np.save(array, pixels.astype(np.uint8))
    names = [f"TRAIN/{CLASSES[number % 2]}/{number}.png" for number in numbers]
    table = pd.DataFrame({"image": names, "partition": "TRAIN", "class": [CLASSES[n % 2] for n in numbers]})
    table.assign(sha256=f"of {variant}").to_csv(index, index=False)
    subsets = np.where(numbers < train_images, "train", "validation")
    pd.DataFrame({"image": names, "subset": subsets}).to_csv(folder / "split.csv", index=False)
    return array, index


@dataclass
class Bench:
    """A folder with packed images, and `train` to train on them."""

    folder: Path
    arrays: list[Path]
    indexes: list[Path]

    def train(self, name: str, seed: int = 0, init: Path | None = None, **changes: Any) -> TrainSummary:
        return train(self.job(name, seed, init, **changes))

    def job(self, name: str, seed: int = 0, init: Path | None = None, **changes: Any) -> TrainJob:
        return TrainJob(
            arrays=self.arrays,
            indexes=self.indexes,
            split=self.folder / "split.csv",
            classes=CLASSES,
            settings=SETTINGS | changes,
            seed=seed,
            init=init,
            model=self.model(name),
            history=self.folder / name / "history.csv",
            checkpoint=self.checkpoint(name),
            threads=1,
        )

    def model(self, name: str) -> Path:
        return self.folder / name / "model.safetensors"

    def checkpoint(self, name: str) -> Path:
        return self.folder / name / "checkpoint.pt"

    def history(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / name / "history.csv")


def make_bench(folder: Path, **pack: int) -> Iterator[Bench]:
    array, index = pack_two_colours(folder, "original", **pack)
    yield Bench(folder, [array], [index])
    shutil.rmtree(folder)  # checkpoints are large
