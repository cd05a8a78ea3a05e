"""The whole workflow on synthetic smears: its results, and what it does when it is run again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from studies import CLASSES, SMALL, command, copy_study, run, write_config

from wbcsr.files import sha256


def test_all_documented_result_files_exist(small_study: Path) -> None:
    results = small_study / "results"
    for name in ["dataset/images.csv", "dataset/rejected.csv", "splits/paper.csv", "report/index.html"]:
        assert (results / name).is_file(), name
    for table in [
        "table2",
        "table3",
        "table4",
        "table5",
        "table6",
        "comparison",
        "differences",
        "recalls",
        "misclassified",
        "cost",
    ]:
        for suffix in ["csv", "md", "tex"]:
            assert (results / "tables" / f"{table}.{suffix}").stat().st_size > 0
    for figure in [
        "fig1",
        "fig2",
        "fig3",
        "fig9",
        "fig10",
        "fig11",
        "fig12",
        "enlargements",
        "accuracy",
        "differences",
        "curves_paper",
        "reliability_paper",
    ]:
        for suffix in ["png", "svg"]:
            assert (results / "figures" / f"{figure}.{suffix}").stat().st_size > 1000
    for kind in ["gained", "lost"]:
        for suffix in ["png", "svg"]:
            assert (results / "figures" / f"changes_{kind}.{suffix}").stat().st_size > 0
    for training in ["original", "realesrgan_x4", "dual"]:
        folder = results / "runs" / "paper" / training / "seed0"
        names = {"model.safetensors", "history.csv", "provenance.json", "engine"}
        assert names == {path.name for path in folder.iterdir()}


def test_each_image_is_listed_split_and_predicted_once(small_study: Path) -> None:
    results = small_study / "results"
    images = pd.read_csv(results / "dataset" / "images.csv")
    assert images.groupby(["partition", "class"]).size().to_dict() == {
        **{("TRAIN", name): 5 for name in CLASSES},
        **{("TEST", name): 2 for name in CLASSES},
    }
    subsets = pd.read_csv(results / "splits" / "paper.csv").merge(images, on="image")
    assert subsets.groupby("subset").size().to_dict() == {"train": 8, "validation": 2, "test": 4}
    predicted = pd.read_csv(results / "predictions" / "paper" / "dual" / "seed0" / "realesrgan_x4.csv")
    assert set(predicted["image"]) == set(subsets.loc[subsets["subset"] != "train", "image"])
    assert predicted[CLASSES].sum(axis=1).round(4).eq(1).all()


@pytest.mark.parametrize(("variant", "scale"), [("realesrgan_x4", 4), ("original", 1)])
def test_manifests_agree_with_their_files(small_study: Path, variant: str, scale: int) -> None:
    manifests = sorted((small_study / "results" / "images" / variant).glob("*/*/manifest*.csv"))
    assert len(manifests) == 4
    for manifest in manifests:
        for row in pd.read_csv(manifest).itertuples():
            assert sha256(manifest.with_name(row.file)) == row.sha256
            assert (row.width, row.height) == (48 * scale, 48 * scale)


def test_the_crate_contains_the_results_and_a_working_workflow(small_study: Path, tmp_path: Path) -> None:
    study, unpacked = tmp_path / "study", tmp_path / "unpacked"
    copy_study(small_study, study)
    result = run(study, "--", "crate")
    assert result.returncode == 0, result.stdout
    with zipfile.ZipFile(study / "results" / "study.crate.zip") as packed:
        packed.extractall(unpacked)
    for folder in ("tables", "figures", "predictions", "report", "splits"):
        kept = {path.relative_to(study) for path in (study / "results" / folder).rglob("*") if path.is_file()}
        assert {path for path in kept if not (unpacked / path).is_file()} == set()
    # The crate has the provenance of the images, but not the images.
    assert {path.suffix for path in (unpacked / "results" / "images").rglob("*.*")} == {".json"}
    options = ["--configfile", "config/study.yaml", "--directory", str(tmp_path / "again")]
    planning = [sys.executable, "-m", "snakemake", "-n", "--cores", "1", *options]
    again = subprocess.run(planning, cwd=unpacked, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "make_report" in again.stdout + again.stderr


def test_the_published_answer_has_the_numbers_and_no_cells(small_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    copy_study(small_study, study)
    result = run(study, "--", "publish")
    assert result.returncode == 0, result.stdout
    answer, results = study / "results" / "answer", study / "results"
    for table in (results / "tables").glob("*.csv"):
        assert (answer / "tables" / table.name).read_bytes() == table.read_bytes()
    charts = {path.name for path in (answer / "figures").iterdir()}
    assert {"differences.png", "accuracy.png"} < charts
    assert charts.isdisjoint(
        {"fig1.png", "fig2.png", "fig3.png", "enlargements.png", "changes_lost.png", "fidelity.png"}
    )
    page = (answer / "README.md").read_text()
    assert [link for link in re.findall(r"\]\(([^)]+)\)", page) if not (answer / link).is_file()] == []
    planned = run(study, "-n", "--configfile", str(answer / "config.yaml"))
    assert "Nothing to be done" in planned.stdout, planned.stdout


def test_provenance_describes_how_a_model_was_made(small_study: Path) -> None:
    results = small_study / "results"
    record = json.loads((results / "runs" / "paper" / "dual" / "seed0" / "provenance.json").read_text())
    assert record["parameters"]["train"]["epochs"] == 3
    assert record["wildcards"] == {"split": "paper", "training": "dual", "seed": "0"}
    assert record["inputs_sha256"]["results/splits/paper.csv"] == sha256(results / "splits" / "paper.csv")
    assert record["versions"]["torch"]
    assert record["device"] in {"cpu", "cuda"}
    weights = {
        results / "engines" / "any" / "RealESRGAN_x4plus": results / "weights" / "RealESRGAN_x4plus.safetensors",
        results / "runs/paper/dual/seed0/engine/any": results / "runs/paper/dual/seed0/model.safetensors",
    }
    for folder, file in weights.items():
        engine, quality = (json.loads((folder / name).read_text()) for name in ("engine.json", "quality.json"))
        assert engine["reasons"]
        assert engine["device"] == record["device"].split(":")[0]
        assert engine["fingerprint"]["weights"] == sha256(file)
        assert quality["passed"]
    for path in results.rglob("*provenance.json"):
        assert str(Path.home()) not in path.read_text()
        assert str(small_study) not in path.read_text()


def test_changed_predictions_agree_with_the_predictions(small_study: Path) -> None:
    results = small_study / "results"
    original, enhanced = (
        pd.read_csv(results / "predictions" / "paper" / name / "seed0" / f"{name}.csv").set_index("image")
        for name in ("original", "realesrgan_x4")
    )
    changes = pd.read_csv(results / "changes" / "changes.csv")
    differ = original["predicted"] != enhanced["predicted"].reindex(original.index)
    assert set(changes["image"]) == set(original.index[differ])
    counts = pd.read_csv(results / "changes" / "counts.csv")
    assert counts[["images", "changed"]].values.tolist() == [[6, differ.sum()]]
    assert '<section id="changes">' in (results / "report" / "index.html").read_text()


def test_a_second_run_does_nothing(small_study: Path) -> None:
    assert "Nothing to be done" in run(small_study, "-n").stdout


PICTURE = re.compile(r"results/images/.*\.(png|jpeg)")


def test_every_deleted_file_is_made_again(small_study: Path, tmp_path: Path) -> None:
    """Images in a manifest are the exception: the next job that reads them reports it. No table causes new training."""
    copy_study(small_study, tmp_path)
    results = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    last = [path for path in results if path.parent.name in ("tables", "figures", "changes", "report")]
    assert len(last) > 60
    for path in last:
        path.unlink()
    output = run(tmp_path, "-n").stdout
    rules = set(re.findall(r"^(\w+) +\d+$", output, re.MULTILINE))
    made = {"make_tables", "make_figures", "make_report", "make_fidelity_table", "make_fidelity_figure"}
    assert rules == {*made, "explain_changes", "all", "total"}
    # The inputs of the rule `all` are the files that are made if they are missing.
    asked = re.search(r"^rule all:\n    input: (.*)$", output, re.MULTILINE)
    assert asked is not None
    names = {path.relative_to(tmp_path).as_posix() for path in results}
    undeclared = {name for name in names if PICTURE.fullmatch(name) or name.endswith(".ledger")}
    assert names - undeclared == set(asked[1].split(", "))


@pytest.mark.parametrize(
    ("deleted", "rule"),
    [
        ("results/dataset/rejected.csv", "ingest_dataset"),
        ("results/dataset/sources.csv", "find_sources"),
        ("results/splits/leakage.csv", "audit_leakage"),
        ("results/weights/RealESRGAN_x4plus.json", "fetch_weights"),
        ("results/packed/original_32px.csv", "pack_images"),
        ("results/runs/paper/dual/seed0/history.csv", "train_classifier"),
        ("results/runs/paper/dual/seed0/engine/any/quality.json", "check_classifier"),
        ("results/predictions/paper/dual/seed0/original.csv", "predict"),
        ("results/fidelity/crops.npz", "measure_fidelity"),
    ],
)
def test_one_deleted_file_is_made_again(small_study: Path, tmp_path: Path, deleted: str, rule: str) -> None:
    copy_study(small_study, tmp_path)
    (tmp_path / deleted).unlink()
    assert re.search(rf"^{rule} +1$", run(tmp_path, "-n").stdout, re.MULTILINE)


@pytest.mark.skipif(
    shutil.which("nvidia-smi") is not None, reason="errors without a GPU were not tested: this machine has one"
)
def test_tensorrt_without_a_gpu_gives_one_clear_line(small_study: Path, tmp_path: Path) -> None:
    copy_study(small_study, tmp_path)
    shutil.rmtree(tmp_path / "results" / "engines")
    write_config(tmp_path, {**SMALL, "inference": {"backend": "tensorrt"}})
    result = run(tmp_path, "--", "results/engines/any/RealESRGAN_x4plus/engine.json")
    assert result.returncode == 1
    last = result.stdout.splitlines()[-1]
    assert re.match(r"error: configuration: inference\.backend tensorrt .* needs an NVIDIA GPU .* choose auto", last)
    assert "Traceback" not in result.stdout
    assert not list((tmp_path / "results" / "engines").rglob("engine.json"))


def test_only_one_class_is_upscaled_again(small_study: Path, tmp_path: Path) -> None:
    """With --force alone, its images are checked and kept; without their folder, all are made again."""
    copy_study(small_study, tmp_path)
    target = f"results/images/realesrgan_x4/TEST/{CLASSES[0]}/manifest_1of1.csv"
    before = (tmp_path / target).read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "results" / "images").rglob("*.png")}
    shutil.rmtree((tmp_path / target).parent)
    result = run(tmp_path, "--forcerun", "upscale", "--", target)
    assert result.returncode == 0, result.stdout
    assert "1 of 1 steps" in result.stdout
    changed = {path.parent.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {CLASSES[0]}
    assert (tmp_path / target).read_bytes() == before


@pytest.mark.parametrize("setting", ["tile: 256", "overlap: 32", "precision: bf16", "backend: inductor"])
def test_another_engine_setting_remakes_everything_that_depends_on_it(small_study: Path, setting: str) -> None:
    result = run(small_study, "-n", "--config", f"inference={{{setting}}}")
    planned = {line.split()[0] for line in result.stdout.splitlines() if re.fullmatch(r"[a-z_]+ +[0-9]+", line)}
    assert {"compile_upscaler", "upscale", "pack_images", "compile_classifier", "predict", "make_report"} <= planned


def test_another_threshold_only_repeats_the_quality_check(small_study: Path) -> None:
    result = run(small_study, "-n", "--config", "inference={tolerances: {psnr_db: 50}}")
    planned = {line.split()[0] for line in result.stdout.splitlines() if re.fullmatch(r"[a-z_]+ +[0-9]+", line)}
    assert planned == {"check_upscaler", "check_classifier", "make_report", "all", "total"}


def test_another_scale_needs_no_new_weights(small_study: Path) -> None:
    config = "variants=[original, realesrgan_x2]"
    result = run(small_study, "-n", "enhanced", "--config", config)
    assert re.search(r"upscale +4\n", result.stdout)
    assert "fetch_weights" not in result.stdout


def test_a_changed_store_makes_rows_of_the_files_and_trains_nothing_again(small_study: Path, tmp_path: Path) -> None:
    copy_study(small_study, tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "results" / "packed").glob("*px.[cn]*")}
    # As in a large study, arrays are too large to be compared by Snakemake.
    options = ("--config", "store=sample", "--max-checksum-file-size", "20000", "--")
    result = run(tmp_path, *options, *(f"results/packed/{name}" for name in before))
    assert result.returncode == 0, result.stdout
    for name, content in before.items():
        assert (tmp_path / "results" / "packed" / name).read_bytes() == content, name
    folder = tmp_path / "results/images/realesrgan_x4"
    assert {path.parent.parent.name for path in folder.rglob("*.png")} == {"TRAIN"}
    record = json.loads((folder / "TRAIN" / CLASSES[0] / "manifest_1of1.provenance.json").read_text())
    assert record["upscaling"]["images_kept"] == 0  # what is recorded is the first run, which upscaled all of them
    assert "Nothing to be done" in run(tmp_path, "-n", *options, "models").stdout


def test_a_failed_upscaling_leaves_no_image_that_looks_current(small_study: Path, tmp_path: Path) -> None:
    copy_study(small_study, tmp_path)
    target = f"results/images/realesrgan_x4/TEST/{CLASSES[0]}/manifest_1of1.csv"
    listed = tmp_path / f"results/images/original/TEST/{CLASSES[0]}/manifest.csv"
    original = listed.with_name(pd.read_csv(listed)["file"][0])
    content, times = original.read_bytes(), original.stat()
    original.unlink()
    options = ("--config", "inference={backend: eager, precision: fp32, overlap: 12}", "--", target)
    assert run(tmp_path, *options).returncode != 0
    original.write_bytes(content)
    os.utime(original, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert re.search(r"^upscale +1$", run(tmp_path, "-n", *options).stdout, re.MULTILINE)


def test_a_smaller_scale_is_shrunk_from_existing_images(small_study: Path, tmp_path: Path) -> None:
    copy_study(small_study, tmp_path)
    larger, target = (f"results/images/realesrgan_x{n}/TEST/{CLASSES[0]}/manifest_1of1.csv" for n in (4, 2))
    result = run(tmp_path, "--config", "variants=[original, realesrgan_x4, realesrgan_x2]", "--", target)
    assert result.returncode == 0, result.stdout
    assert re.search(r"^shrink +1\ntotal +1$", result.stdout, re.MULTILINE), result.stdout
    record = json.loads((tmp_path / target).with_suffix(".provenance.json").read_text())
    assert record["inputs_sha256"] == {larger: sha256(tmp_path / larger)}
    for row in pd.read_csv(tmp_path / target).itertuples():
        assert sha256((tmp_path / target).with_name(row.file)) == row.sha256
        assert (row.width, row.height) == (96, 96)


def test_snakemakes_own_report_can_be_written(small_study: Path) -> None:
    result = run(small_study, "--report", "report.zip")
    assert result.returncode == 0, result.stdout
    assert (small_study / "report.zip").stat().st_size > 10_000


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="the page was not tested in a browser: no Chromium on this machine")
def test_the_page_is_laid_out_correctly_in_a_browser(small_study: Path, tmp_path: Path) -> None:
    """A browser without a network renders the page: every image has a size, and the page is as wide as a telephone."""
    page = (small_study / "results" / "report" / "index.html").read_text()
    probe = """<script>addEventListener("load", () => {
        const broken = [...document.images].filter(image => !image.naturalWidth).length;
        const wide = document.body.scrollWidth > innerWidth;
        document.title = `images=${document.images.length} broken=${broken} wide=${wide}`;
    })</script></body>"""
    (tmp_path / "probed.html").write_text(page.replace("</body>", probe))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=390,800",
        "--dump-dom",
    ]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    dom = subprocess.run(
        [str(CHROMIUM), *options, profile, (tmp_path / "probed.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    title = re.search(r"images=(\d+) broken=(\d+) wide=(\w+)", dom)
    assert title is not None
    assert int(title[1]) > 5
    assert title[2] == "0"
    assert title[3] == "false"


def kill_when(folder: Path, sign: str, *arguments: str) -> None:
    """Start Snakemake, and SIGKILL it with all its jobs as soon as files matching `sign` exist."""
    process = subprocess.Popen(
        command(folder, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while not list(folder.glob(sign)):
        assert process.poll() is None, f"ended before {sign} existed"
        assert time.monotonic() < deadline, f"{sign} did not come"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_study_resumes_and_gives_the_same_results(small_study: Path, tmp_path: Path) -> None:
    """Killed once while upscaling and once while training; `small_study` is the undisturbed study."""
    copy_study(small_study, tmp_path)
    upscaled, trained = f"results/images/realesrgan_x4/TRAIN/{CLASSES[0]}", "results/runs/paper/original/seed0"
    for made in (upscaled, trained):
        shutil.rmtree(tmp_path / made)
    kill_when(tmp_path, f"{upscaled}/_*.png", f"{upscaled}/manifest_1of1.csv")
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / upscaled).glob("_*.png")}
    assert not (tmp_path / upscaled / "manifest_1of1.csv").exists()
    assert len(finished) < 5
    assert run(tmp_path, "--unlock").returncode == 0
    targets = [f"{trained}/model.safetensors", f"{upscaled}/manifest_1of1.csv"]
    kill_when(tmp_path, f"{trained}/checkpoint.pt", "--", *targets)
    assert not (tmp_path / trained / "model.safetensors").exists()
    assert run(tmp_path, "--unlock").returncode == 0
    result = run(tmp_path, "--", *targets)
    assert result.returncode == 0, result.stdout
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in list(finished.items())[:-1])
    log = (tmp_path / "logs/train_classifier/paper/original/seed0.log").read_text()
    assert "after epoch" in log
    for name in targets:
        assert sha256(tmp_path / name) == sha256(small_study / name), name
    for path in (tmp_path / upscaled).glob("_*.png"):
        assert sha256(path) == sha256(small_study / upscaled / path.name)
