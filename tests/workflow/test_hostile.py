"""What is wrong with what was given is one of the last lines of the run: what is wrong, and what mends it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from studies import CLASSES, SMALL, copy_study, run, write_config

from wbcsr.files import sha256

IMAGES, WEIGHTS = "results/dataset/images.csv", "results/weights/custom.safetensors"
ARCHIVE = {"dataset": {**SMALL["dataset"], "archive": "mine.zip"}}


def pack(folder: Path, **more: bytes) -> None:
    """mine.zip: two images of each class, and `more`."""
    with zipfile.ZipFile(folder / "mine.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for seed in range(8):
            pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
            name = f"{('TRAIN', 'TEST')[seed % 2]}/{CLASSES[seed // 2 % 2]}/{seed}.png"
            packed.writestr(name, cv2.imencode(".png", pixels)[1].tobytes())
        for name, content in more.items():
            packed.writestr(name, content)


def torn(folder: Path) -> None:
    """Each file of a class ends too early."""
    pack(folder)
    with zipfile.ZipFile(folder / "mine.zip") as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(folder / "mine.zip", "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content[:-40] if CLASSES[0] in name else content)


class Injected:
    """What runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path("injected").touch, ()


def infected(folder: Path) -> None:
    torch.save({"params_ema": Injected()}, folder / "mine.pth", pickle_module=pickle)


def weights(folder: Path, right: bool) -> dict[str, Any]:
    digest = sha256(folder / "mine.pth") if right else "0" * 64
    return {"weights": {"source": "path", "path": "mine.pth", "sha256": digest}}


# What is wrong → how it comes about, what the configuration says of it, what is asked for, and what is said.
CASES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], dict[str, Any]], str, str]] = {
    "a path out of the archive": (
        lambda folder: pack(folder, **{"TRAIN/../../injected": b"x"}),
        lambda folder: ARCHIVE,
        IMAGES,
        "error: mine.zip: entry 'TRAIN/../../injected' leads out of the archive; pack it again without '..'",
    ),
    "a page instead of an archive": (
        lambda folder: (folder / "mine.zip").write_text("<html>Sign in</html>"),
        lambda folder: ARCHIVE,
        IMAGES,
        "error: mine.zip: is no zip file or only a part of one (File is not a zip file); download or copy it again",
    ),
    "a bomb": (
        lambda folder: pack(folder, bomb=bytes(3_000_000)),
        lambda folder: ARCHIVE,
        IMAGES,
        "times when unpacked, more than the limit of 200",
    ),
    "torn images": (
        torn,
        lambda folder: ARCHIVE,
        IMAGES,
        "a class without images cannot be trained, mend it or take it from dataset.classes",
    ),
    "an archive that is not there": (
        lambda folder: None,
        lambda folder: ARCHIVE,
        IMAGES,
        "mine.zip is not there; put it there or correct the key",
    ),
    "an unknown key": (
        pack,
        lambda folder: {"shard": 2},
        IMAGES,
        "error: configuration: unknown key 'shard'; the nearest known key is 'shards'",
    ),
    "a command for a seed": (
        pack,
        lambda folder: {"seeds": ["0; touch injected"]},
        IMAGES,
        "error: configuration: key 'seeds.0': must be integer, not '0; touch injected'",
    ),
    "weights that run code": (
        infected,
        lambda folder: weights(folder, right=True),
        WEIGHTS,
        "error: mine.pth: ",
    ),
    "weights of another hash": (
        infected,
        lambda folder: weights(folder, right=False),
        WEIGHTS,
        "error: mine.pth: ",
    ),
}


@pytest.mark.parametrize(("make", "configured", "target", "says"), CASES.values(), ids=CASES.keys())
def test_it_is_one_of_the_last_lines(
    make: Callable[[Path], Any], configured: Callable[[Path], dict[str, Any]], target: str, says: str, tmp_path: Path
) -> None:
    make(tmp_path)
    write_config(tmp_path, {**SMALL, **configured(tmp_path)})
    result = run(tmp_path, "--", target)
    last = result.stdout.splitlines()[-25:]
    assert result.returncode == 1
    assert any(says in line for line in last), result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / target).exists()
    assert not list(tmp_path.rglob("injected"))


def test_results_that_were_changed_by_hand_are_not_used(small_study: Path, tmp_path: Path) -> None:
    copy_study(small_study, tmp_path)
    split, model = (tmp_path / "results" / name for name in ("splits/paper.csv", "runs/paper/original/seed0"))
    text = split.read_text()
    split.unlink()  # it is shared with the other study
    split.write_text(text.replace("validation", "train"))
    result = run(tmp_path, "--forcerun", "train_classifier", "--", f"{model.relative_to(tmp_path)}/model.safetensors")
    assert result.returncode == 1
    assert any("error: results/splits/paper.csv" in line for line in result.stdout.splitlines()[-25:]), result.stdout
