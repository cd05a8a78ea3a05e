"""Run Snakemake as a user does, in a folder of the test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
CLASSES = ["EOSINOPHIL", "NEUTROPHIL"]

# The smallest version of the demo: two classes, tiny smears, few epochs.
SMALL = {
    "dataset": {"archive": "data/drawn.zip", "classes": CLASSES},
    "synthetic": {"image_size": [48, 48], "train_per_class": 5, "test_per_class": 2, "duplicates_per_source": 2},
    # Interpolated variants are in the studies of test_new_data.py.
    "variants": ["original", "realesrgan_x4"],
    "cross_evaluate": False,
    "seeds": [0],
    "shards": 1,
    # No choice by measurement, because it may differ between two runs that are compared.
    "inference": {"backend": "eager", "precision": "fp32"},
    "fidelity": {"per_class": 1},
    # A tenth of the size of resnet50, which the study of twelve classes trains.
    "train": {
        "classifier": "efficientnet_lite0",
        "init": "random",
        "input_size": 32,
        "epochs": 3,
        "batch_size": 4,
        "precision": "fp32",
    },
}

# Options for studies that are not compared with others, because results depend on the number of threads. Parallel test
# processes share the cores, and threads that wait for each other take time.
BY_ITSELF = ("--cores", "1") if "PYTEST_XDIST_WORKER" in os.environ else ()

Run = Callable[..., subprocess.CompletedProcess[str]]


def options(folder: Path, *arguments: str) -> list[str]:
    """Options of Snakemake for the configuration in `folder`, with the results there too."""
    paths = ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    return [*paths, "--configfile", str(folder / "config.yaml"), "--cores", "2", *arguments]


def command(folder: Path, *arguments: str) -> list[str]:
    """Snakemake on the configuration in `folder`, started as by a user."""
    return [sys.executable, "-m", "snakemake", *options(folder, *arguments)]


@cache
def fork_server() -> subprocess.Popen[str]:
    """Start forked.py, which ends when this process does."""
    program = [sys.executable, str(Path(__file__).with_name("forked.py"))]
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end, as `command` does but without importing it again; `stdout` has all that it printed."""
    server = fork_server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.NamedTemporaryFile("r") as output:
        request = {"arguments": options(folder, *arguments), "environment": dict(os.environ), "output": output.name}
        try:
            print(json.dumps(request), file=server.stdin, flush=True)
            status = int(server.stdout.readline())
        except BaseException:  # such as the time limit of a test
            os.killpg(server.pid, signal.SIGKILL)  # with Snakemake and its jobs
            fork_server.cache_clear()
            raise
        return subprocess.CompletedProcess(request["arguments"], status, output.read())


def copy_study(study: Path, folder: Path) -> None:
    """Copy a study to another folder, in which parts of its work can be repeated."""
    # Results are renamed into place, so the files can be shared by hard links; files that jobs append to cannot.
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("results"), dirs_exist_ok=True)
    shutil.copytree(study / "results", folder / "results", copy_function=os.link)


def write_config(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
