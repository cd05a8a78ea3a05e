"""A shard: names, order, manifests, and resuming after an interruption."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from originals import originals
from wbcsr import imaging
from wbcsr.errors import InputError
from wbcsr.files import read_csv, sha256, write_json
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import shard_rows, upscale_shard
from wbcsr.upscale.store import ALL, MANIFEST_COLUMNS, Storing


class Counting(Interpolation):
    """An enlarger that records its inputs."""

    seen: list[np.ndarray]

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        self.seen.extend(images)
        return super().__call__(images)


def counting(batch_size: int = 2) -> Counting:
    enlarger = Counting("bicubic", 4, batch_size)
    object.__setattr__(enlarger, "seen", [])
    return enlarger


def test_the_manifest_agrees_with_the_files(tmp_path: Path) -> None:
    source = originals(tmp_path / "original")
    manifest = tmp_path / "bicubic_x4" / "manifest_1of1.csv"
    summary = upscale_shard(source, manifest, 1, 1, counting(), 2)["upscaling"]
    table = read_csv(manifest, MANIFEST_COLUMNS)
    assert list(table["image"]) == list(read_csv(source, ["image"])["image"])
    for row in table.itertuples():
        path = manifest.with_name(row.file)
        assert sha256(path) == row.sha256
        assert row.input_sha256 == sha256(source.with_name(Path(row.image).name))
        enlarged, image = imaging.read_image(path), imaging.read_image(source.with_name(Path(row.image).name))
        np.testing.assert_array_equal(enlarged, Interpolation("bicubic", 4)([image])[0])
        assert (row.height, row.width) == enlarged.shape[:2]
    names = sorted(path.name for path in manifest.parent.iterdir() if path.suffix != ".ledger")
    assert names == sorted([manifest.name, *table["file"]])
    assert (summary["images"], summary["images_kept"]) == (6, 0)


def test_images_are_decoded_while_every_encoder_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding waits here until enough later images are decoded; a shared pool would be blocked."""
    source = originals(tmp_path / "original", 12)
    decoded, waited = [], []
    enough = Event()
    read, encode = imaging.read_listed, imaging.encode_png

    def counted(*arguments: Any) -> np.ndarray:
        decoded.append(arguments)
        if len(decoded) == 9:
            enough.set()
        return read(*arguments)

    def waiting(pixels: np.ndarray) -> bytes:
        waited.append(enough.wait(20))
        return encode(pixels)

    monkeypatch.setattr(imaging, "read_listed", counted)
    monkeypatch.setattr(imaging, "encode_png", waiting)
    upscale_shard(source, tmp_path / "x" / "manifest_1of1.csv", 1, 1, counting(1), 2)
    assert waited == [True] * 12


def test_shards_divide_the_images(tmp_path: Path) -> None:
    table = read_csv(originals(tmp_path / "original", 7), MANIFEST_COLUMNS)
    parts = [shard_rows(table, shard, 3) for shard in (1, 2, 3)]
    assert list(pd.concat(parts)["image"]) == list(table["image"])
    assert sorted(map(len, parts)) == [2, 2, 3]
    assert [len(shard_rows(table.head(1), shard, 3)) for shard in (1, 2, 3)].count(1) == 1


def test_an_empty_shard_has_an_empty_manifest(tmp_path: Path) -> None:
    source = originals(tmp_path / "original", 1)
    manifest = tmp_path / "x" / "manifest_1of2.csv"
    upscale_shard(source, manifest, 1, 2, counting(), 1)
    assert len(read_csv(manifest, MANIFEST_COLUMNS)) == 0


def test_two_images_with_the_same_stem_get_different_files(tmp_path: Path) -> None:
    table = pd.DataFrame({"file": ["a.jpeg", "b.jpeg", "a.png"]})
    assert list(shard_rows(table, 1, 1)["target"]) == ["a.jpeg.png", "b.png", "a.png.png"]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_an_original_that_changed_since_it_was_ingested_is_an_error(tmp_path: Path, damage: str) -> None:
    source = originals(tmp_path / "original")
    victim = source.with_name("_3_7.png")
    victim.unlink() if damage == "gone" else victim.write_bytes(imaging.encode_png(np.zeros((8, 12, 3), np.uint8)))
    with pytest.raises(
        InputError, match=r"_3_7\.png.*original/manifest\.csv.*; run once with --force -- .*manifest\.csv"
    ):
        upscale_shard(source, tmp_path / "x" / "manifest_1of1.csv", 1, 1, counting(), 1)
    assert not (tmp_path / "x" / "manifest_1of1.csv").exists()


# Enlarges slowly and kills itself after the third batch, like a failing machine.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import upscale_shard
from wbcsr.upscale.store import Storing
import time

class Killed(Interpolation):
    calls = 0
    def __call__(self, images):
        Killed.calls += 1
        if Killed.calls == 6:
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(images)

storing = Storing(*json.loads(sys.argv[3]))
upscale_shard(Path(sys.argv[1]), Path(sys.argv[2]), 1, 1, Killed("bicubic", 4, 2), 2, storing)
"""


def kill(folder: Path, storing: Storing) -> tuple[Path, Path]:
    """The manifest of the originals, and that of a shard which was killed half-way."""
    source, manifest = originals(folder / "original", 16), folder / "killed" / "manifest_1of1.csv"
    command = [sys.executable, "-c", KILLED, str(source), str(manifest), json.dumps([storing.pngs, storing.sizes])]
    process = subprocess.run(command, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL
    assert not manifest.exists()
    return source, manifest


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a shard that was killed half-way."""
    folder = tmp_path_factory.mktemp("killed")
    kill(folder, ALL)
    return folder


@pytest.fixture
def killed_run(killed: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the killed shard: the manifest of its originals and the path of its own manifest."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "original" / "manifest.csv", tmp_path / "killed" / "manifest_1of1.csv"


@pytest.mark.parametrize("storing", [ALL, Storing(3, (24, 40))], ids=["all", "sample"])
def test_a_killed_shard_resumes_and_equals_an_undisturbed_one(tmp_path: Path, storing: Storing) -> None:
    source, manifest = kill(tmp_path, storing)
    files = {path: path.stat().st_mtime_ns for path in manifest.parent.glob("_*.png")}
    enlarger = counting()
    summary = upscale_shard(source, manifest, 1, 1, enlarger, 2, storing)["upscaling"]
    assert 0 < summary["images_kept"] < 16
    assert len(enlarger.seen) == 16 - summary["images_kept"]
    assert files
    assert {path: path.stat().st_mtime_ns for path in files} == files
    undisturbed = tmp_path / "undisturbed" / "manifest_1of1.csv"
    upscale_shard(source, undisturbed, 1, 1, counting(), 2, storing)
    assert {path.name for path in manifest.parent.iterdir()} == {path.name for path in undisturbed.parent.iterdir()}
    for path in undisturbed.parent.iterdir():
        assert path.read_bytes() == manifest.with_name(path.name).read_bytes(), path.name


@pytest.mark.parametrize("change", ["file damaged", "file deleted", "other enlarger", "ledger cut", "ledger foreign"])
def test_images_that_are_no_longer_valid_are_made_again(killed_run: tuple[Path, Path], change: str) -> None:
    source, manifest = killed_run
    ledger = manifest.with_name(".manifest_1of1.ledger")
    some = next(manifest.parent.glob("_*.png"))
    enlarger = counting()
    if change == "file damaged":
        some.write_bytes(some.read_bytes()[:-9])
    elif change == "file deleted":
        some.unlink()
    elif change == "other enlarger":
        object.__setattr__(enlarger, "method", "lanczos")
    elif change == "ledger cut":
        ledger.write_bytes(ledger.read_bytes()[:-20])
    else:
        ledger.write_text('nonsense\n{"identity": 3}\n')
    upscale_shard(source, manifest, 1, 1, enlarger, 2)
    for row in read_csv(manifest, MANIFEST_COLUMNS).itertuples():
        image = imaging.read_image(source.with_name(Path(row.image).name))
        expected = Interpolation(enlarger.method, 4)([image])[0]
        np.testing.assert_array_equal(imaging.read_image(manifest.with_name(row.file)), expected)
        assert sha256(manifest.with_name(row.file)) == row.sha256


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, Path]:
    """The manifest of the originals and that of a finished shard, with its provenance as a job writes it."""
    source, manifest = originals(tmp_path / "original"), tmp_path / "x" / "manifest_1of1.csv"
    made = upscale_shard(source, manifest, 1, 1, counting(), 2)
    noted = {"outputs_sha256": {"x/manifest_1of1.csv": sha256(manifest)}, "cost": {"wall_seconds": 7}, **made}
    write_json(manifest.with_suffix(".provenance.json"), noted)
    return source, manifest


def test_remaking_a_finished_shard_enlarges_nothing_and_keeps_its_cost(
    finished: tuple[Path, Path],
) -> None:
    source, manifest = finished
    before, enlarger = manifest.read_bytes(), counting()
    manifest.unlink()  # as Snakemake does before each job
    made = upscale_shard(source, manifest, 1, 1, enlarger, 2)
    assert enlarger.seen == []
    assert manifest.read_bytes() == before
    assert made["cost"] == {"wall_seconds": 7}
    assert (made["upscaling"]["images"], made["upscaling"]["images_kept"]) == (6, 0)


@pytest.mark.parametrize(
    ("change", "again"),
    [("image damaged", 1), ("image deleted", 1), ("no ledger", 6), ("other enlarger", 6), ("no provenance", 0)],
)
def test_remaking_a_finished_shard_makes_only_invalid_images(
    finished: tuple[Path, Path], change: str, again: int
) -> None:
    source, manifest = finished
    before, enlarger = manifest.read_bytes(), counting(batch_size=1)
    victim = manifest.with_name(read_csv(manifest, ["file"])["file"][0])
    whole = victim.read_bytes()
    if change == "image damaged":
        victim.write_bytes(whole[:-9])
    elif change == "image deleted":
        victim.unlink()
    elif change == "no ledger":
        manifest.with_name(".manifest_1of1.ledger").unlink()
    elif change == "other enlarger":
        object.__setattr__(enlarger, "method", "lanczos")
    else:
        manifest.with_suffix(".provenance.json").write_text("[]")
    made = upscale_shard(source, manifest, 1, 1, enlarger, 2)
    assert len(enlarger.seen) == 6 - made["upscaling"]["images_kept"] == again
    if change != "other enlarger":
        assert victim.read_bytes() == whole
        assert manifest.read_bytes() == before


NAMES = st.text("ab.", min_size=1, max_size=4).map(lambda stem: f"{stem}x") | st.just("a")
FILES = st.lists(st.builds("".join, st.tuples(NAMES, st.sampled_from([".jpg", ".png", ".jpg.png"]))), unique=True)


@given(FILES, st.integers(1, 7))
def test_shards_contain_each_image_once_with_a_unique_name(files: list[str], shards: int) -> None:
    table = pd.DataFrame({"file": pd.Series(files, dtype=str)})
    parts = [shard_rows(table, shard, shards) for shard in range(1, shards + 1)]
    assert [file for part in parts for file in part["file"]] == files
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    targets = [target for part in parts for target in part["target"]]
    assert len(set(targets)) == len(files)
    assert all(target.endswith(".png") for target in targets)
