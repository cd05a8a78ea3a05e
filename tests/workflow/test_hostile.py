"""Bad input as its user sees it: what was given, the line near the end of the run that names it, the exit status.

Each kind of archive that is refused is in tests/unit/bad_zips.py, each kind of file that is no image in bad_images.py;
a backend that needs a GPU is in test_study.
"""

from __future__ import annotations

import pickle
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
from studies import CLASSES, SMALL, run, write_config

from bad_images import BAD_IMAGES
from bad_zips import BAD_ZIPS
from small_networks import rrdbnet
from wbcsr.files import sha256

IMAGES, WEIGHTS = "results/dataset/images.csv", "results/weights/custom.safetensors"


def dataset(**keys: Any) -> dict[str, Any]:
    return {"dataset": {**SMALL["dataset"], "archive": "mine.zip", **keys}}


def pack(folder: Path, packed_as: str = "mine.zip", **more: bytes) -> None:
    """An archive: two images of each class, and `more`."""
    with zipfile.ZipFile(folder / packed_as, "w", zipfile.ZIP_DEFLATED) as packed:
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


def weights(content: Any, cut: int = 0, digest: str | None = None) -> Callable[[Path], dict[str, Any]]:
    """mine.pth, of which the last bytes may be cut off, and the configuration that asks for it."""

    def make(folder: Path) -> dict[str, Any]:
        path = folder / "mine.pth"
        torch.save(content, path, pickle_module=pickle)
        path.write_bytes(path.read_bytes()[: -cut or None])
        return {"weights": {"source": "path", "path": "mine.pth", "sha256": digest or sha256(path)}}

    return make


def archive(make: Callable[[Path], Any], **keys: Any) -> Callable[[Path], dict[str, Any]]:
    """mine.zip as `make` writes it, and the configuration that asks for it."""

    def given(folder: Path) -> dict[str, Any]:
        make(folder)
        return dataset(**keys)

    return given


def configured(**keys: Any) -> Callable[[Path], dict[str, Any]]:
    """A good archive, and a configuration with these keys."""
    return lambda folder: (pack(folder), {**dataset(), **keys})[1]


@dataclass(frozen=True)
class Case:
    """What is given to a study (files, and keys of its configuration), what is said of it, and what was asked for."""

    given: Callable[[Path], dict[str, Any]]
    says: str
    target: str = IMAGES


RRDBNET = rrdbnet(scale=4, blocks=1).state_dict()
CASES: dict[str, Case] = {
    **{
        f"archive: {name}": Case(archive(lambda folder, make=make: make(folder / "mine.zip")), says)
        for name, (make, says) in BAD_ZIPS.items()
        if name in ("parent", "absolute", "link", "device", "encrypted", "twice", "bomb by ratio", "bomb by size")
    },
    "archive: a page instead of it": Case(
        archive(lambda folder: (folder / "mine.zip").write_text("<html>Sign in</html>")),
        "error: mine.zip: is no zip file or only a part of one (File is not a zip file); download or copy it again",
    ),
    "archive: cut in the middle": Case(
        archive(lambda folder: BAD_ZIPS["cut in the middle"][0](folder / "mine.zip")),
        "error: mine.zip: is no zip file or only a part of one",
    ),
    "archive: more files than its limit": Case(
        archive(pack, limits={"files": 7}),
        "error: mine.zip: has 8 entries, more than the limit of 7; if that is as it should be, raise "
        "dataset.limits.files",
    ),
    "archive: names that differ in case only": Case(
        archive(lambda folder: pack(folder, **{f"TRAIN/{CLASSES[0]}/X.png": b"", f"TRAIN/{CLASSES[0]}/x.png": b""})),
        f"mine.zip: TRAIN/{CLASSES[0]}/X.png and TRAIN/{CLASSES[0]}/x.png differ in case only; rename one of them",
    ),
    "archive: all images of a class torn": Case(
        archive(torn), "a class without images cannot be trained, mend it or take it from dataset.classes"
    ),
    "archive: not there": Case(lambda folder: dataset(), "mine.zip is not there; put it there or correct the key"),
    "archive: lacks a class": Case(
        archive(pack, classes=[*CLASSES, "BASOPHIL"]), "mine.zip: has no folder 'BASOPHIL' with files in 'TRAIN'"
    ),
    "weights: code in them": Case(
        weights({"params_ema": Injected()}), "error: mine.pth: not a file of weights, or not a safe one", WEIGHTS
    ),
    "weights: another hash": Case(
        weights({"params": RRDBNET}, digest="0" * 64), "correct weights.sha256 or give the right file", WEIGHTS
    ),
    "weights: cut off": Case(weights({"params": RRDBNET}, cut=1000), "error: mine.pth: not a file of weights", WEIGHTS),
    "weights: of another architecture": Case(
        weights({"params": {"layer1.0.conv1.weight": torch.zeros(1)}}), "neither RRDBNet nor SRVGGNetCompact", WEIGHTS
    ),
    "weights: beyond what fp16 holds": Case(
        weights({"params": {**RRDBNET, "conv_hr.bias": torch.full((64,), 1e5).half()}}), "not finite", WEIGHTS
    ),
    "configuration: an unknown key": Case(
        configured(shard=2), "error: configuration: unknown key 'shard'; the nearest known key is 'shards'"
    ),
    "configuration: a wrong type": Case(
        configured(shards="many"), "error: configuration: key 'shards': must be integer"
    ),
    "configuration: what cannot be together": Case(
        configured(splits=["by_source"], sources={"method": "none"}),
        "error: configuration: splits has by_source, but sources.method is none",
    ),
    "configuration: a command for a seed": Case(
        configured(seeds=["0; touch injected"]),
        "error: configuration: key 'seeds.0': must be integer, not '0; touch injected'",
    ),
    "configuration: a path for a class": Case(
        configured(**dataset(classes=["../injected", "b"])), "error: configuration: key 'dataset.classes.0'"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_one_of_the_last_lines(case: Case, tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, **case.given(tmp_path)})
    result = run(tmp_path, "--", case.target)
    assert result.returncode == 1
    assert any(case.says in line for line in result.stdout.splitlines()[-25:]), result.stdout
    assert "Traceback" not in result.stdout
    assert not (tmp_path / case.target).exists()
    assert not list(tmp_path.rglob("injected"))


def test_what_is_no_image_is_listed_and_the_others_are_taken(tmp_path: Path) -> None:
    """One bad file among good ones ends nothing: rejected.csv says which and why, and the run how many."""
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
    for name, (_, says) in BAD_IMAGES.items():
        assert says in rejected[f"TRAIN/{CLASSES[0]}/{name}.png"]
    images = pd.read_csv(tmp_path / IMAGES)
    assert len(images) == 9
    assert f"TRAIN/{CLASSES[0]}/a BMP.jpg" in set(images["image"])


def test_a_path_is_no_command(tmp_path: Path) -> None:
    pack(tmp_path, "$(touch injected); touch injected.zip")
    write_config(tmp_path, {**SMALL, **dataset(archive="$(touch injected); touch injected.zip")})
    result = run(tmp_path, "--", IMAGES)
    assert result.returncode == 0, result.stdout
    assert not (tmp_path / "injected").exists()
