"""Running Snakemake as a user does, in a folder of the test's own."""

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

# The demo, made as small as it can be: two classes, tiny smears, few epochs.
SMALL = {
    "dataset": {"archive": "data/drawn.zip", "classes": CLASSES},
    "synthetic": {"image_size": [48, 48], "train_per_class": 5, "test_per_class": 2, "duplicates_per_source": 2},
    "variants": ["original", "bicubic_x2", "realesrgan_x4"],
    "cross_evaluate": False,
    "seeds": [0],
    "shards": 1,
    # Nothing that is measured, and may turn out otherwise in a run that is compared with this one.
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

# For a study whose results are held against no other's: they depend on the number of threads. One of several processes
# that run tests side by side has not all cores to itself, and threads that wait for each other cost time.
BY_ITSELF = ("--cores", "1") if "PYTEST_XDIST_WORKER" in os.environ else ()

Run = Callable[..., subprocess.CompletedProcess[str]]


def options(folder: Path, *arguments: str) -> list[str]:
    """Options of Snakemake for the configuration in `folder`, with the results there too."""
    paths = ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(folder)]
    return [*paths, "--cores", "2", "--configfile", str(folder / "config.yaml"), *arguments]


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
    """Have a study in another folder, too, to do some of its work again there."""
    # Results are put in place by renaming, so the files themselves can be shared; what is appended to cannot.
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("results"), dirs_exist_ok=True)
    shutil.copytree(study / "results", folder / "results", copy_function=os.link)


def write_config(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
