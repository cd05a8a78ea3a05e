"""Running Snakemake as a user does, in a folder of the test's own."""

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

# The demo, made as small as it can be: two classes, tiny smears, one epoch.
SMALL = {
    "dataset": {"archive": "data/drawn.zip", "classes": CLASSES},
    "synthetic": {"image_size": [48, 48], "train_per_class": 5, "test_per_class": 2, "duplicates_per_source": 2},
    "variants": ["original", "bicubic_x2", "realesrgan_x4"],
    "cross_evaluate": False,
    "seeds": [0],
    "shards": 1,
    # Nothing that is measured, and may turn out otherwise in a run that is compared with this one.
    "inference": {"backend": "eager", "precision": "fp32"},
    "train": {"init": "random", "input_size": 32, "epochs": 2, "batch_size": 4, "precision": "fp32"},
}

# For a study whose results are held against no other's: they depend on the number of threads. One of several processes
# that run tests side by side has not all cores to itself, and threads that wait for each other cost time.
BY_ITSELF = ("--cores", "1") if "PYTEST_XDIST_WORKER" in os.environ else ()

Run = Callable[..., subprocess.CompletedProcess[str]]


def command(folder: Path, *arguments: str) -> list[str]:
    """Snakemake on the configuration in `folder`, with the results there too."""
    options = ["--cores", "2", "--configfile", str(folder / "config.yaml"), "--directory", str(folder)]
    return [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), *options, *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end; what it printed is in `stdout`."""
    return subprocess.run(
        command(folder, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


def copy_study(study: Path, folder: Path) -> None:
    """Have a study in another folder, too, to do some of its work again there."""
    # Results are put in place by renaming, so the files themselves can be shared; what is appended to cannot.
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("results"), dirs_exist_ok=True)
    shutil.copytree(study / "results", folder / "results", copy_function=os.link)


def write_config(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
