"""Run Snakemake as a user does, in a folder of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
CLASSES = ["EOSINOPHIL", "NEUTROPHIL"]

# The smallest version of the demo: two classes, tiny smears, one epoch.
SMALL = {
    "dataset": {"archive": "data/drawn.zip", "classes": CLASSES},
    "synthetic": {"image_size": [48, 48], "train_per_class": 5, "test_per_class": 2, "duplicates_per_source": 2},
    "variants": ["original", "bicubic_x2", "realesrgan_x4"],
    "cross_evaluate": False,
    "seeds": [0],
    "shards": 1,
    # No choice by measurement, because it may differ between two runs that are compared.
    "inference": {"backend": "eager", "precision": "fp32"},
    "train": {"init": "random", "input_size": 32, "epochs": 2, "batch_size": 4, "precision": "fp32"},
}

# Options for studies that are not compared with others, because results depend on the number of threads. Parallel test
# processes share the cores, and threads that wait for each other take time.
BY_ITSELF = ("--cores", "1") if "PYTEST_XDIST_WORKER" in os.environ else ()

Run = Callable[..., subprocess.CompletedProcess[str]]


def command(folder: Path, *arguments: str) -> list[str]:
    """The Snakemake command for the configuration in `folder`, with the results in the same folder."""
    options = ["--cores", "2", "--configfile", str(folder / "config.yaml"), "--directory", str(folder)]
    return [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *options, *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end; `stdout` has its complete output."""
    return subprocess.run(
        command(folder, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def copy_study(study: Path, folder: Path) -> None:
    """Copy a study to another folder, in which parts of its work can be repeated."""
    # Results are renamed into place, so the files can be shared by hard links; files that jobs append to cannot.
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("results"), dirs_exist_ok=True)
    shutil.copytree(study / "results", folder / "results", copy_function=os.link)


def write_config(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
