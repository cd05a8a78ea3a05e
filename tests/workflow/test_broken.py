"""Changes to a finished study: damaged files, a moved folder, a wrong clock, the same run started twice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from compared import differences
from studies import CLASSES, SMALL, command, copy_study, run, write_config

from wbcsr.files import sha256

# The rules that run after a file was made again with the same content: only its time and cost are new.
RULES_AFTER_REMAKING = {"make_tables", "make_figures", "make_report", "all", "total"}


@pytest.fixture
def study(small_study: Path, tmp_path: Path) -> Path:
    copy_study(small_study, tmp_path)
    return tmp_path


def planned(result: subprocess.CompletedProcess[str]) -> set[str]:
    return set(re.findall(r"^([a-z_]+) +\d+$", result.stdout, re.MULTILINE))


def error(result: subprocess.CompletedProcess[str]) -> str:
    """The one error line with which a failed run ends, although several jobs may have the same error."""
    assert result.returncode == 1
    assert "Traceback" not in result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert lines == result.stdout.splitlines()[-len(lines) :], result.stdout
    (message,) = {re.sub(r" \(logs/[^ ]*\.log\)$", "", line) for line in lines}
    return message.removeprefix("error: ")


def replace(path: Path, content: bytes) -> None:
    path.unlink()  # shared with the other study
    path.write_bytes(content)


def files(study: Path) -> dict[str, str]:
    return {str(path.relative_to(study)): sha256(path) for path in (study / "results").rglob("*") if path.is_file()}


def test_a_study_may_be_moved(study: Path) -> None:
    assert "Nothing to be done" in run(study, "--dry-run").stdout


@pytest.mark.parametrize(
    ("variant", "manifest", "damage"),
    [("original", "manifest.csv", "changed"), ("realesrgan_x4", "manifest_1of1.csv", "deleted")],
)
def test_only_a_damaged_image_is_made_again(study: Path, variant: str, manifest: str, damage: str) -> None:
    folder = study / "results" / "images" / variant / "TRAIN" / CLASSES[0]
    image, other, *_ = sorted(path for path in folder.iterdir() if path.suffix in (".jpeg", ".png"))
    whole, stamp = image.read_bytes(), other.stat().st_mtime_ns
    if damage == "changed":
        replace(image, whole[:-5] + b"12345")
    else:
        image.unlink()
    target = f"results/packed/{variant}_32px.npy"
    (study / target).unlink()
    message = error(run(study, "--", target))
    listed = (folder / manifest).relative_to(study)
    assert message.startswith(str(image.relative_to(study)))
    assert f"run once with --force -- {listed} to regenerate it" in message

    result = run(study, "--force", "--", str(listed))
    assert result.returncode == 0, result.stdout
    assert image.read_bytes() == whole
    assert other.stat().st_mtime_ns == stamp
    result = run(study, "--", target)
    assert planned(result) == {"pack_images", "total"}, result.stdout


def test_restoring_a_rejected_archive_reruns_nothing_else(study: Path) -> None:
    archive = study / "data" / "drawn.zip"
    whole, before = archive.read_bytes(), files(study)
    replace(archive, b"<html>Sign in</html>")
    assert error(run(study)).startswith("data/drawn.zip: ")
    kept = files(study)
    assert kept.items() <= before.items()
    assert all(re.search(r"dataset/|original/.*manifest", name) for name in before.keys() - kept.keys())
    replace(archive, whole)
    assert run(study, "--", "results/dataset/images.csv").returncode == 0
    assert planned(run(study, "--dry-run")) <= RULES_AFTER_REMAKING


def test_results_changed_by_hand_are_not_used(study: Path) -> None:
    """A split with changed subsets: no training uses it, and when it is made again it has its old content."""
    split, before = study / "results" / "splits" / "paper.csv", files(study)
    whole = split.read_bytes()
    replace(split, whole.replace(b"validation", b"train"))
    message = error(run(study))
    assert message.startswith("results/splits/paper.csv: changed since it was written; run once with --force -- ")
    assert files(study).items() - before.items() == {("results/splits/paper.csv", sha256(split))}
    assert run(study, "--force", "--", "results/splits/paper.csv").returncode == 0
    assert split.read_bytes() == whole


def test_a_clock_that_was_set_back_is_named_and_results_are_kept(study: Path) -> None:
    target = "results/packed/original_32px.npy"
    source, before = study / f"results/images/original/TRAIN/{CLASSES[0]}/manifest.csv", files(study)
    stamp = source.stat().st_mtime
    os.utime(source, (time.time() + 86_400,) * 2)
    result = run(study, "--force", "--", target)
    assert result.returncode == 1
    assert "clock skew" in "\n".join(result.stdout.splitlines()[-12:])
    assert files(study).keys() == before.keys()
    os.utime(source, (stamp,) * 2)
    result = run(study, "--", target)
    assert result.returncode == 0, result.stdout
    assert sha256(study / target) == before[target]


def test_the_same_run_started_twice(small_study: Path, study: Path) -> None:
    """The second run reports this and ends; after unlocking by hand, both runs end with the results of a single run."""
    target = f"results/images/realesrgan_x4/TRAIN/{CLASSES[0]}/manifest_1of1.csv"
    shutil.rmtree((study / target).parent)
    first = subprocess.Popen(command(study, "--", target), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not list((study / target).parent.glob(".*")):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = run(study, "--", target)
    assert second.returncode == 1
    assert "cannot be locked" in second.stdout
    second = run(study, "--nolock", "--rerun-incomplete", "--", target)
    message, _ = first.communicate()
    assert 0 in (first.returncode, second.returncode)
    for status, text in ((first.returncode, message), (second.returncode, second.stdout)):
        assert status == 0 or "a newer job has taken over these files" in text, text
    assert differences(study, small_study, f"results/images/realesrgan_x4/TRAIN/{CLASSES[0]}") == []


def test_a_read_only_disk_is_named(study: Path) -> None:
    folder = study / "results" / "packed"
    mount = subprocess.run(["mount", "--bind", "-o", "ro", folder, folder], capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"a read-only disk was not tested: nothing could be mounted ({mount.stderr.strip()})")
    try:
        result = run(study, "--force", "--", "results/packed/original_32px.npy")
        assert result.returncode == 1
        assert "Write-protected output files for rule pack_images" in "\n".join(result.stdout.splitlines()[-8:])
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_results_of_a_removed_variant_are_kept(study: Path) -> None:
    """Results of a variant that the configuration no longer contains remain, and nothing is trained again."""
    write_config(study, {**SMALL, "variants": ["original"], "dual": False})
    before = files(study)
    plan = planned(run(study, "--dry-run"))
    assert not plan & {"train_classifier", "upscale", "ingest_dataset"}, plan
    assert files(study) == before
