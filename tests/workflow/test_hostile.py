"""Bad input as a user sees it: the input, the last line of the run, which names the input, and the exit status.

A few inputs of each kind suffice here. Unit tests have all kinds: test_archive (bad_zips.py), test_ingest
(bad_images.py), test_tensors and test_weights, test_config and test_strict. test_study has a backend without a GPU.
"""

from __future__ import annotations

import pickle
import re
import shlex
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from studies import CLASSES, SMALL, command, run, write_config

from bad_images import BAD_IMAGES
from bad_zips import BAD_ZIPS
from wbcsr.files import sha256

IMAGES, WEIGHTS = "results/dataset/images.csv", "results/weights/custom.safetensors"


def dataset(**keys: Any) -> dict[str, Any]:
    return {"dataset": {**SMALL["dataset"], "archive": "mine.zip", **keys}}


def pack(folder: Path, packed_as: str = "mine.zip", **more: bytes) -> None:
    """An archive with two images of each class, and `more`."""
    with zipfile.ZipFile(folder / packed_as, "w", zipfile.ZIP_DEFLATED) as packed:
        for seed in range(8):
            pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
            name = f"{('TRAIN', 'TEST')[seed % 2]}/{CLASSES[seed // 2 % 2]}/{seed}.png"
            packed.writestr(name, cv2.imencode(".png", pixels)[1].tobytes())
        for name, content in more.items():
            packed.writestr(name, content)


def torn(folder: Path) -> None:
    """Truncate all files of a class."""
    pack(folder)
    with zipfile.ZipFile(folder / "mine.zip") as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(folder / "mine.zip", "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content[:-40] if CLASSES[0] in name else content)


class Injected:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path("injected").touch, ()


def weights(content: Any) -> Callable[[Path], dict[str, Any]]:
    """Write mine.pth (bytes unchanged), and return a configuration that uses it."""

    def make(folder: Path) -> dict[str, Any]:
        path = folder / "mine.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path, pickle_module=pickle)
        return {"weights": {"source": "path", "path": "mine.pth", "sha256": sha256(path)}}

    return make


def archive(make: Callable[[Path], Any], **keys: Any) -> Callable[[Path], dict[str, Any]]:
    """Have `make` write mine.zip, and return a configuration that uses it."""

    def given(folder: Path) -> dict[str, Any]:
        make(folder)
        return dataset(**keys)

    return given


def configured(**keys: Any) -> Callable[[Path], dict[str, Any]]:
    """A valid archive, and a configuration with these keys."""
    return lambda folder: (pack(folder), {**dataset(), **keys})[1]


@dataclass(frozen=True)
class Case:
    """The input of a study (files and keys of its configuration), its target, and the expected messages."""

    given: Callable[[Path], dict[str, Any]]
    message: str
    target: str = IMAGES


CASES: dict[str, Case] = {
    "archive: a name that points outside": Case(
        archive(lambda folder: BAD_ZIPS["parent"][0](folder / "mine.zip")), BAD_ZIPS["parent"][1]
    ),
    "archive: a web page instead": Case(
        archive(lambda folder: (folder / "mine.zip").write_text("<html>Sign in</html>")),
        "error: mine.zip: is not a zip file, or is incomplete (File is not a zip file); download or copy it again",
    ),
    "archive: more files than its limit": Case(
        archive(pack, limits={"files": 7}),
        "error: mine.zip: has 8 entries, more than the limit of 7; if this is intended, raise dataset.limits.files",
    ),
    "archive: all images of a class truncated": Case(archive(torn), "or remove it from dataset.classes"),
    "archive: missing": Case(lambda folder: dataset(), "mine.zip does not exist; create it or correct the key"),
    "weights: with code": Case(
        weights({"params_ema": Injected()}), "error: mine.pth: holds Python objects (getattr)", WEIGHTS
    ),
    "configuration: a command as seed": Case(
        configured(seeds=["0; touch injected"]),
        "error: configuration: key 'seeds.0': must be integer, not '0; touch injected'",
    ),
    "configuration: a path as class": Case(
        configured(**dataset(classes=["../injected", "b"])), "error: configuration: key 'dataset.classes.0'"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_last_line_names_the_bad_input(case: Case, tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, **case.given(tmp_path)})
    result = run(tmp_path, "--", case.target)
    assert result.returncode == 1
    *above, last = result.stdout.splitlines()
    assert last.startswith("error: "), result.stdout
    assert case.message in last, result.stdout
    assert not any(line.startswith("error: ") for line in above), result.stdout
    assert "\x1b" not in result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / case.target).exists()
    assert not list(tmp_path.rglob("injected"))


def test_files_that_are_not_images_are_listed_and_the_others_used(tmp_path: Path) -> None:
    """One bad file does not stop a run: rejected.csv gives its name and the reason, and the log the number."""
    bad = {f"TRAIN/{CLASSES[0]}/{name}.png": content for name, (content, _) in BAD_IMAGES.items()}
    pixels = np.random.default_rng(9).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    misnamed = cv2.imencode(".bmp", pixels)[1].tobytes()
    pack(tmp_path, **bad, **{f"TRAIN/{CLASSES[0]}/a BMP.jpg": misnamed})
    write_config(tmp_path, {**SMALL, **dataset()})
    result = run(tmp_path, "--", IMAGES)
    assert result.returncode == 0, result.stdout
    assert f"{len(bad)} files rejected" in result.stdout
    rejected = pd.read_csv(tmp_path / "results" / "dataset" / "rejected.csv").set_index("image")["reason"]
    assert set(rejected.index) == set(bad)
    for name, (_, message) in BAD_IMAGES.items():
        assert re.search(message, rejected[f"TRAIN/{CLASSES[0]}/{name}.png"])
    images = pd.read_csv(tmp_path / IMAGES)
    assert len(images) == 9
    assert f"TRAIN/{CLASSES[0]}/a BMP.jpg" in set(images["image"])


def test_a_path_is_not_executed_as_a_command(tmp_path: Path) -> None:
    pack(tmp_path, "$(touch injected); touch injected.zip")
    write_config(tmp_path, {**SMALL, **dataset(archive="$(touch injected); touch injected.zip")})
    result = run(tmp_path, "--", IMAGES)
    assert result.returncode == 0, result.stdout
    assert not (tmp_path / "injected").exists()


# Runs DO (Python code) in a job when it is about to import the module AT.
HOOK = """
import os, sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            exec(os.environ["DO"])
sys.meta_path.insert(0, Hook())
"""
KILL = "os.kill(os.getpid(), 9)"
# Code for the first attempt only, or for all later ones.
FIRST = "first = not os.path.exists('begun'); open('begun', 'w'); "
PAGE = "error: mine.zip: is not a zip file"


@pytest.mark.parametrize(
    ("given", "module", "action", "retries", "messages"),
    [
        (
            archive(pack),
            "wbcsr.dataset.ingest",
            KILL,
            0,
            ["error: rule ingest_dataset ended without a message (killed?"],
        ),
        (
            archive(pack),
            "wbcsr.job",
            f"{KILL} if 'ingest' in sys.argv[0] else 0",
            0,
            ["rule ingest_dataset did not begin"],
        ),
        (archive(pack), "wbcsr.dataset.ingest", "1 / 0", 0, ["error: rule ingest_dataset failed because of a bug"]),
        (archive(pack), "wbcsr.dataset.ingest", f"{FIRST}{KILL} if first else 0", 1, []),
        (CASES["archive: a web page instead"].given, "wbcsr.dataset.ingest", "0", 2, [PAGE]),
        (
            CASES["archive: a web page instead"].given,
            "wbcsr.dataset.ingest",
            f"{FIRST}0 if first else {KILL}",
            1,
            ["error: rule ingest_dataset ended without a message (killed?"],
        ),
    ],
    ids=["killed", "killed at once", "a defect", "killed once", "wrong each time", "wrong, then killed"],
)
def test_the_last_line_is_the_error_of_the_last_attempt(
    given: Callable[[Path], dict[str, Any]],
    module: str,
    action: str,
    retries: int,
    messages: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    for name, value in {"PYTHONPATH": str(tmp_path / "hook"), "AT": module, "DO": action}.items():
        monkeypatch.setenv(name, value)
    write_config(tmp_path, {**SMALL, **given(tmp_path)})
    result = run(tmp_path, "--retries", str(retries), "--", IMAGES)
    assert result.returncode == len(messages)
    lines = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert len(lines) == len(messages)
    for line, words in zip(lines, messages, strict=True):
        assert words in line
        assert "logs/ingest_dataset/ingest.log" in line
        assert result.stdout.splitlines()[-1] == line
    assert "versions: " not in result.stdout


def test_each_failed_job_has_a_line_at_the_end(tmp_path: Path) -> None:
    """This also holds on a terminal, where Snakemake colours its own lines."""
    page = CASES["archive: a web page instead"].given(tmp_path)
    write_config(tmp_path, {**SMALL, **page, **weights(b"<html>404</html>")(tmp_path)})
    terminal = shlex.join(command(tmp_path, "--", IMAGES, WEIGHTS))
    result = subprocess.run(
        ["script", "--quiet", "--return", "--command", terminal, "/dev/null"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "\x1b[31m" in result.stdout
    *_, above, first, second = result.stdout.splitlines()
    assert "At least one job did not complete" in above
    messages = ["error: mine.pth: is a web page", PAGE]
    for line, words in zip(sorted([first, second]), messages, strict=True):
        assert line.startswith(words)
