"""The whole workflow on other images than those of `small_study`: real ones, and a list of selected ones."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from studies import BY_ITSELF, CLASSES, SMALL, run, write_config


@pytest.mark.real
def test_a_few_real_cells_from_archive_to_report(real_archive: Path, tmp_path: Path) -> None:
    """Squares as in config/cells.yaml, which a CPU upscales three times as fast as whole images."""
    write_config(
        tmp_path,
        {
            "dataset": {"archive": str(real_archive), "classes": CLASSES, "limit_per_class": 2},
            "view": {"around": "cell", "side": 160},
            "variants": ["original", "realesrgan_x4"],
            "dual": False,
            "cross_evaluate": False,
            "validation_fraction": 0.5,
            "seeds": [0],
            "shards": 1,
            # Matching with all photographs of the archive takes minutes; test_sources covers it.
            "sources": {"method": "none"},
            "fidelity": {"per_class": 1},
            # The fp32 network, with which the engine is compared, takes ten seconds per image.
            "inference": {"tolerances": {"images": 1}},
            "train": {**SMALL["train"], "input_size": 64, "epochs": 1, "batch_size": 2},
        },
    )
    result = run(tmp_path, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    folder = tmp_path / "results" / "engines" / "any" / "RealESRGAN_x4plus"
    engine, quality = (json.loads((folder / name).read_text()) for name in ("engine.json", "quality.json"))
    assert engine["reasons"][0]["code"] == "measured"
    assert quality["passed"]
    table = pd.read_csv(tmp_path / "results" / "images" / "realesrgan_x4" / "TEST" / CLASSES[0] / "manifest_1of1.csv")
    assert list(zip(table["width"], table["height"], strict=True)) == [(640, 640)] * 2
    whole = pd.read_csv(tmp_path / "results" / "dataset" / "whole" / "images.csv")
    assert set(zip(whole["width"], whole["height"], strict=True)) == {(320, 240)}
    comparison = pd.read_csv(tmp_path / "results" / "tables" / "comparison.csv")
    assert set(comparison["tested_on"]) == {"original", "realesrgan_x4"}
    assert comparison["sources"].isna().all()
    fidelity = pd.read_csv(tmp_path / "results" / "fidelity" / "fidelity.csv")
    assert set(fidelity["class"]) == set(CLASSES)
    assert "realesrgan_x4" in set(fidelity["method"])
    assert "drawn by this project" not in (tmp_path / "results" / "report" / "index.html").read_text()


@pytest.mark.skipif("WBCSR_ARCHIVE" in os.environ, reason="the study of real cells above tests the choice of auto")
def test_the_backend_chosen_by_auto_upscales_a_study(tmp_path: Path) -> None:
    """The backend that was faster here, from the quality check to the images."""
    synthetic = {**SMALL["synthetic"], "train_per_class": 5, "test_per_class": 1}
    write_config(
        tmp_path, {**SMALL, "synthetic": synthetic, "inference": {}, "variants": ["original", "realesrgan_x4"]}
    )
    images = tmp_path / "results" / "images" / "realesrgan_x4" / "TRAIN" / CLASSES[0]
    result = run(tmp_path, *BY_ITSELF, "--", str((images / "manifest_1of1.csv").relative_to(tmp_path)))
    assert result.returncode == 0, result.stdout
    folder = tmp_path / "results" / "engines" / "any" / "RealESRGAN_x4plus"
    engine, quality = (json.loads((folder / name).read_text()) for name in ("engine.json", "quality.json"))
    assert engine["reasons"][0]["code"] == "measured"
    assert quality["passed"]
    manifest = pd.read_csv(images / "manifest_1of1.csv")
    assert list(zip(manifest["width"], manifest["height"], strict=True)) == [(192, 192)] * 5
    assert all((images / file).is_file() for file in manifest["file"])


def test_a_selected_list_gives_a_small_study_with_pooled_folds(tmp_path: Path) -> None:
    study = {
        **SMALL,
        "synthetic": {**SMALL["synthetic"], "train_per_class": 8, "test_per_class": 4},
        "sources": {"method": "pattern", "pattern": r"_\d+_(\d+)\.jpeg"},
        "splits": ["paper", "by_source"],
        "by_source": {"parts": 3, "folds": 2},
        "subsample": {"per_class": 5},
        "variants": ["original"],
        "dual": False,
        "train": {**SMALL["train"], "epochs": 1},
    }
    whole, small = tmp_path / "whole", tmp_path / "small"
    write_config(whole, study)
    result = run(whole, "--", "results/splits/leakage.csv", "results/dataset/chosen.csv")
    assert result.returncode == 0, result.stdout
    leakage = pd.read_csv(whole / "results" / "splits" / "leakage.csv", keep_default_na=False)
    together = leakage[leakage["class"] == ""].set_index(["split", "subset"])
    assert set(together.index.get_level_values("split")) == {"paper", "by_source", "by_source_fold2"}
    assert (together["unknown"] == 0).all()
    assert together.loc[["by_source", "by_source_fold2"], "shared"].eq(0).all()

    few = {"dataset": {**SMALL["dataset"], "images": "data/few.csv"}, "splits": ["by_source"]}
    write_config(small, {**study, **few})
    (small / "data").mkdir()
    shutil.copy(whole / "data" / "drawn.zip", small / "data")
    shutil.copy(whole / "results" / "dataset" / "chosen.csv", small / "data" / "few.csv")
    result = run(small, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    chosen = pd.read_csv(small / "data" / "few.csv")["image"]
    assert chosen.str.split("/").str[1].value_counts().to_dict() == dict.fromkeys(CLASSES, 5)
    split = pd.read_csv(small / "results" / "splits" / "by_source.csv")
    assert set(split["image"]) == set(chosen)
    assert set(split["subset"]) == {"train", "validation", "test"}
    tables = small / "results" / "tables"
    comparison = pd.read_csv(tables / "comparison.csv").set_index(["subset", "trained_on", "tested_on"])
    tested = {
        name: set(pd.read_csv(small / "results" / "splits" / f"{name}.csv").query("subset == 'test'")["image"])
        for name in ("by_source", "by_source_fold2")
    }
    assert not tested["by_source"] & tested["by_source_fold2"]
    row = comparison.loc[("test", "original", "original")]
    assert (row["split"], row["images"], row["shared"]) == ("by_source", sum(map(len, tested.values())), 0)
    page = (small / "results" / "report" / "index.html").read_text()
    assert re.search(r"0\.0\s% \(0 of \d+\) with a duplicate in training", page)


def test_a_study_of_crops_around_the_cell(tmp_path: Path) -> None:
    """From the images to the report, including fidelity: later stages use only the crops."""
    study = {
        **SMALL,
        "dataset": {**SMALL["dataset"], "photographs": "dataset-master/dataset-master/JPEGImages"},
        "view": {"around": "cell", "side": 32},
        "sources": {"method": "pattern", "pattern": r"_\d+_(\d+)\.jpeg"},
        "fidelity": {"per_class": 1},
        "variants": ["original", "realesrgan_x4"],
        "dual": False,
        "train": {**SMALL["train"], "epochs": 1},
    }
    # First the tables of whole images are made; then those of the crops replace them.
    write_config(tmp_path, {**study, "view": {"around": "image"}})
    result = run(tmp_path, *BY_ITSELF, "--", "results/dataset/sources.csv")
    assert result.returncode == 0, result.stdout
    write_config(tmp_path, study)
    result = run(tmp_path, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    results = tmp_path / "results"
    cells, whole = (pd.read_csv(results / "dataset" / name) for name in ("cells.csv", "whole/images.csv"))
    assert cells["image"].tolist() == whole["image"].tolist()
    assert set(whole["width"]) == {48}
    sizes = {"original": 32, "realesrgan_x4": 128}
    for variant, side in sizes.items():
        manifests = [pd.read_csv(path) for path in (results / "images" / variant).rglob("manifest*.csv")]
        assert {size for table in manifests for size in (*table["width"], *table["height"])} == {side}
        assert sum(map(len, manifests)) == cells["reason"].isna().sum() > 0
    fidelity = pd.read_csv(results / "fidelity" / "fidelity.csv")
    assert set(fidelity.loc[fidelity["region"] == "whole", "pixels"]) == {64 * 64}
    assert (results / "figures" / "cells.png").is_file()
    assert "32 × 32 pixels around the white cell" in (results / "report" / "index.html").read_text()
    # Whole images again: the same files as before replace those of the crops.
    write_config(tmp_path, {**study, "view": {"around": "image"}})
    result = run(tmp_path, *BY_ITSELF, "--", "results/dataset/sources.csv")
    assert result.returncode == 0, result.stdout
    assert (results / "dataset" / "images.csv").read_bytes() == (results / "dataset" / "whole/images.csv").read_bytes()
    assert {path.suffix for path in (results / "images" / "original").rglob("_*")} == {".jpeg"}
