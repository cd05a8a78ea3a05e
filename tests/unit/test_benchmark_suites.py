"""Packing, training, scaling, classification and the workflow, measured on a small scale: rows, figures, failures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from originals import write_originals
from small_networks import inference, write_weights
from two_colours import SETTINGS as TRAIN
from wbcsr.benchmark import batches, classifying, packing, peak_rate, scaling, training, workflow
from wbcsr.benchmark.images import gather
from wbcsr.benchmark.implementations import Case, Ours
from wbcsr.benchmark.machine import precisions
from wbcsr.classify import classifiers
from wbcsr.errors import InputError
from workloads import measure_here

SETTINGS = {"seconds": 0.001, "repeats": 1, "images": 1, "crop": 16}


@pytest.fixture
def manifests(tmp_path: Path) -> list[Path]:
    return [write_originals(tmp_path / name, [(24, 20)] * 4) for name in ("A", "B")]


def written(folder: Path, name: str, columns: list[str]) -> pd.DataFrame:
    """The rows of a benchmark; requires that all its files exist."""
    for suffix in ("md", "tex", "png", "svg"):
        assert (folder / f"{name}.{suffix}").stat().st_size > 300
    table = pd.read_csv(folder / f"{name}.csv")
    assert list(table.columns) == columns
    ran = table[table["repeats"].notna()]
    assert (ran["min_seconds"] <= ran["median_seconds"]).all()
    if "images" in columns:
        np.testing.assert_allclose(ran["images_per_second"], ran["images"] / ran["median_seconds"])
    return table


def test_packing_measures_all_images_of_both_variants(
    tmp_path: Path, manifests: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "measure_in_workers", measure_here)
    found = packing.benchmark_packing(manifests, 16, SETTINGS, 1, tmp_path / "out", count=6)
    table = written(tmp_path / "out", "packing", packing.COLUMNS)
    assert found["measurements"] == 4
    assert list(table[["variant", "system", "images"]].itertuples(index=False, name=None)) == [
        (variant, system, 6)  # three images of each class
        for variant in (packing.ORIGINAL, packing.ENLARGED)
        for system in (packing.OURS, packing.TORCHVISION)
    ]


def test_training_speed_is_a_fraction_of_the_speed_of_the_network_alone(
    tmp_path: Path, manifests: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "measure_in_workers", measure_here)
    train = {**TRAIN, "classifier": "efficientnet_lite0", "batch_size": 4, "input_size": 32}
    training.benchmark_training(manifests, train, SETTINGS, 1, tmp_path / "out", steps=1)
    table = written(tmp_path / "out", "training", training.COLUMNS).set_index("system")
    assert list(table.index) == [training.OURS, training.USUAL, training.NETWORK]
    assert table["batch_size"].tolist() == [3, 3, 3]  # one of four images is for validation
    assert table["images"].tolist() == [3, 4, 3]
    rates, shares = table["images_per_second"], table["share_of_network"]
    assert shares[training.OURS] == pytest.approx(rates[training.OURS] / rates[training.NETWORK])
    assert shares[training.USUAL] == pytest.approx(rates[training.USUAL] / rates[training.NETWORK])
    assert np.isnan(shares[training.NETWORK])
    assert "batches of 3 at 32×32" in (tmp_path / "out" / "training.md").read_text()


def test_too_few_training_images_are_an_error(tmp_path: Path) -> None:
    manifest = write_originals(tmp_path / "A", [(24, 20)] * 2)
    with pytest.raises(InputError, match=r"dataset\.limit_per_class"):
        training.benchmark_training([manifest], TRAIN, SETTINGS, 1, tmp_path, steps=1)


def test_scaling_has_a_row_for_each_shard_and_method(tmp_path: Path, manifests: list[Path]) -> None:
    weights = write_weights(tmp_path / "sr.safetensors")
    settings = inference(tile=64, overlap=8)
    scaling.benchmark_scaling(weights, manifests, settings, SETTINGS, 1, tmp_path / "out", factors=(2,))
    table = written(tmp_path / "out", "scaling", scaling.COLUMNS)
    assert list(table[["what", "images", "processes", "threads"]].itertuples(index=False, name=None)) == [
        (scaling.IMAGES, 2, 1, 1),
        (scaling.PROCESSES, 2, 1, 1),
        (scaling.PROCESSES, 2, 2, 1),
    ]
    assert (table["peak_memory_mib"] > 50).all()
    assert (table["note"] == "images are centre crops of 24×20 images").all()


def test_scaling_measures_each_number_of_images_once(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(5)]
    cases = [Case(tmp_path, 4, files[:count], (8, 8), 4, {}, tmp_path) for count in (1, 2, 4, 5, 5)]
    points = scaling.points_for(cases, 4)
    result = [(point.what, len(point.case.files), point.processes, point.case.threads) for point in points]
    assert result == [
        *((scaling.IMAGES, count, 1, 4) for count in (1, 2, 4, 5)),
        (scaling.PROCESSES, 2, 1, 1),
        (scaling.PROCESSES, 2, 1, 4),
        (scaling.PROCESSES, 2, 2, 2),
    ]


def test_classification_has_a_row_for_each_backend_with_reasons_for_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifying, "BATCHES", 1)
    settings = {**SETTINGS, "backends": ["eager", "tensorrt"], "precisions": ["fp32"]}
    classifying.benchmark_classifying("resnet50", 2, 32, inference(), settings, 1, tmp_path / "out")
    table = written(tmp_path / "out", "classifying", classifying.COLUMNS).set_index("backend")
    assert list(table.index) == settings["backends"]
    assert table["images"]["eager"] == classifiers.ENGINE_BATCH["cpu"]
    assert table["peak_memory_mib"]["eager"] > 50
    assert table["note"]["tensorrt"].startswith("cannot run here: ")
    assert np.isnan(table["repeats"]["tensorrt"])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_precisions_are_those_that_the_device_supports(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for fast, bf16 in ((True, ["bf16"]), (False, [])):
        monkeypatch.setattr("wbcsr.benchmark.machine.has_fast_bf16", lambda _, fast=fast: fast)
        expected = ["fp32", *(["fp16"] if device == "cuda" else []), *bf16]
        assert precisions(torch.device(device)) == expected


def test_a_benchmark_without_images_is_an_error(tmp_path: Path) -> None:
    manifest = write_originals(tmp_path / "A", [])
    with pytest.raises(InputError, match=r"manifest\.csv: lists no image .* dataset\.archive"):
        packing.benchmark_packing([manifest], 16, SETTINGS, 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_workflow_overhead_is_total_time_minus_job_time(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule all:\n    output: 'x'\n    shell: 'touch x'\n")
    snakefile = str(tmp_path / "Snakefile")
    workflow.benchmark_workflow(snakefile, SETTINGS, tmp_path / "out", counts=(2,), shards=(1,))
    jobs, plan = written(tmp_path / "out", "workflow", workflow.COLUMNS).itertuples()
    assert (jobs.what, jobs.count, plan.what, plan.count) == (workflow.JOBS, 2, workflow.PLAN, 1)
    assert 0 < jobs.job_seconds < jobs.median_seconds
    assert jobs.added_seconds_per_job == pytest.approx((jobs.median_seconds - jobs.job_seconds) / 2)
    assert plan.repeats == 1


def test_a_study_that_cannot_be_planned_is_explained(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("raise ValueError('no such key')\n")
    snakefile = str(tmp_path / "Snakefile")
    workflow.benchmark_workflow(snakefile, SETTINGS, tmp_path / "out", counts=(), shards=(1,))
    (row,) = pd.read_csv(tmp_path / "out" / "workflow.csv").itertuples()
    assert row.note.startswith("failed: RuntimeError: ")
    assert "no such key" in row.note
    assert np.isnan(row.median_seconds)


BATCHES = {
    **SETTINGS,
    "images": 3,
    "backends": ["eager", "tensorrt"],
    "precisions": ["fp32"],
    "batch_sizes": [2, 1],
    "limit_seconds": None,
}


def test_each_batch_size_is_measured_and_the_first_also_from_file_to_file(
    tmp_path: Path, manifests: list[Path]
) -> None:
    weights = write_weights(tmp_path / "sr.safetensors")
    batches.benchmark_batches(weights, manifests, inference(tile=64, overlap=8), BATCHES, 1, tmp_path / "out")
    table = written(tmp_path / "out", "batches", batches.COLUMNS)
    done = [("network alone", 1, 1), ("network alone", 2, 2), ("file to file", 2, 3)]
    eager = table[table["backend"] == "eager"]
    assert list(eager[["what", "batch_size", "images"]].itertuples(index=False, name=None)) == done
    alone = eager[eager["what"] == "network alone"].set_index("batch_size")
    assert (alone[["share_of_peak", "share_of_copy_rate", "tflop_per_second"]] > 0).all(axis=None)
    # The weights are read once for each batch, whatever its size.
    assert 1 < alone["gigabytes_moved"][2] / alone["gigabytes_moved"][1] < 2
    assert eager["network_share"].dropna().between(0, 1, inclusive="neither").tolist() == [True]
    assert table[table["backend"] == "tensorrt"]["note"].str.startswith("cannot run here: ").tolist() == [True] * 3


def test_cases_after_the_time_limit_have_a_row_that_says_so(tmp_path: Path, manifests: list[Path]) -> None:
    weights = write_weights(tmp_path / "sr.safetensors")
    settings = {**BATCHES, "backends": ["eager", "inductor"], "limit_seconds": 0.001}
    batches.benchmark_batches(weights, manifests, inference(), settings, 1, tmp_path / "out")
    table = written(tmp_path / "out", "batches", batches.COLUMNS)
    assert len(table) == 6
    assert table["note"].str.contains("limit_seconds").all()


def test_rows_are_written_as_soon_as_they_exist(
    tmp_path: Path, manifests: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_weights(tmp_path / "sr.safetensors")

    def until_the_second(group: Any, *_: Any) -> Iterator[Any]:
        yield group[0], {"note": None, "repeats": 1, "median_seconds": 1.0, "images": 2, "images_per_second": 2.0}
        raise KeyboardInterrupt

    monkeypatch.setattr(batches, "measure", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        batches.benchmark_batches(weights, manifests, inference(), BATCHES, 1, tmp_path / "out")
    rows = pd.read_csv(tmp_path / "out" / "batches.csv")
    assert rows[["backend", "batch_size"]].to_numpy().tolist() == [["eager", 1]]


@pytest.mark.parametrize(
    ("limit_seconds", "measured"),
    [(None, [1, 32, 4, 8, 2]), (400, [1, 4, 8, 2]), (200, [1, 4, 2]), (10, [1])],
)
def test_a_slow_machine_measures_what_fits(
    limit_seconds: float | None, measured: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 s for each image: two batches of 32 images take 320 s, and four images from file to file 25 s."""

    class Process(contextlib.nullcontext[Any]):
        def __enter__(self) -> Any:
            return self

        def start(self, _: Any, entry: batches.Entry, *__: Any) -> None:
            self.row = {"images_per_second": 0.2, "note": None}

        def result(self, _: Any) -> dict[str, Any]:
            return self.row

    monkeypatch.setattr(batches, "IsolatedProcess", Process)
    files = [tmp_path / str(number) for number in range(4)]
    case = Case(tmp_path, 4, files, (16, 16), 1, inference(), tmp_path)
    group = batches.entries_for(Ours("eager", "fp32", "cpu"), case, (16, 16), [32, 8, 1, 2])
    limit = time.monotonic() + (limit_seconds or float("inf"))
    rows = list(batches.measure(group, {}, {**BATCHES, "limit_seconds": limit_seconds}, limit))
    assert [entry.batch_size for entry, row in rows if "images_per_second" in row] == measured
    assert all("limit_seconds" in row["note"] for _, row in rows if "images_per_second" not in row)


def test_a_measurement_of_a_slow_network_ends_after_one_run(tmp_path: Path, manifests: list[Path]) -> None:
    weights = write_weights(tmp_path / "sr.safetensors")
    images = gather(manifests, 3, None, tmp_path)
    case = Case(weights, 4, images.files, images.size, 1, inference(batch_size=2), tmp_path)
    entry = batches.Entry(Ours("eager", "fp32", "cpu"), case, batches.NETWORK, images.size)
    assert batches.measure_network(entry, seconds=60, repeats=3, allowed=0.0)["repeats"] == 1
    assert batches.measure_files(entry, seconds=60, repeats=3, allowed=0.0)["repeats"] == 1
    assert batches.measure_network(entry, seconds=0.0, repeats=3, allowed=60)["repeats"] == 3


def test_moved_bytes_are_those_of_all_operations() -> None:
    """A 1×1 convolution of 3 to 5 channels, ReLU in place, and a view, for two images of 4×6 in half precision."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    pixels = 2 * 4 * 6
    elements = (3 + 5) * pixels + (5 * 3 + 5) + 2 * 5 * pixels
    assert peak_rate.bytes_of(network, (2, 3, 4, 6), torch.float16) == 2 * elements
