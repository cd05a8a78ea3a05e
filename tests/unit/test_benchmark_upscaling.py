"""The upscaling benchmark: a row for each implementation, reasons for missing or failed ones, consistent numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from originals import write_originals
from small_networks import inference, write_weights
from wbcsr.benchmark import implementations, upscaling
from wbcsr.benchmark.implementations import Case, Extra
from wbcsr.benchmark.machine import Machine
from wbcsr.benchmark.peak_rate import flops_of
from wbcsr.benchmark.upscaling import COLUMNS, FILES, ONE, SHARD, Entry, benchmark_upscaling, measure_entries, psnr_to
from wbcsr.benchmark.workers import Outcome, Run
from workloads import Fake, measure_here

INFERENCE = inference(tile=64, overlap=8)
SETTINGS = {
    "seconds": 0.001,
    "repeats": 3,
    "images": 2,
    "crop": 16,
    "backends": ["eager", "tensorrt"],
    "precisions": ["fp32", "fp16", "bf16"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upscaling")


@pytest.fixture(scope="module")
def table(folder: Path) -> pd.DataFrame:
    """A small network run by this workflow and by Real-ESRGAN's tool; ncnn is missing, the others are not selected."""
    manifest = write_originals(folder / "A", [(24, 20), (24, 20), (24, 20)])
    weights = write_weights(folder / "RealESRGAN_x4plus.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        # A test below checks which formats a machine supports.
        patch.setattr(upscaling, "precisions", lambda *_: ["fp32"])
        patch.setattr(upscaling, "measure_in_workers", measure_here)
        patch.setattr(implementations, "missing", lambda module: f"{module} is missing" if module == "ncnn" else None)
        settings = {**SETTINGS, "others": ["realesrganer", "ncnn"]}
        found = benchmark_upscaling(weights, [manifest], INFERENCE, settings, 1, folder / "out")
    table = pd.read_csv(folder / "out" / "upscaling.csv")
    assert found["measurements"] == table["repeats"].notna().sum()
    return table


def test_every_implementation_has_a_row_for_one_image_and_for_a_shard(table: pd.DataFrame) -> None:
    assert list(table.columns) == COLUMNS
    ours = [("ours, eager", "fp32"), ("ours, tensorrt", "fp32")]
    others = [("RealESRGANer", "fp32"), ("ncnn", "fp32")]
    for what, names in ((ONE, ours + others), (SHARD, ours + others), (FILES, ours)):
        rows = table[table["what"] == what]
        assert list(rows[["system", "precision"]].itertuples(index=False, name=None)) == names
    ran = table[table["repeats"].notna()]
    assert set(ran["system"]) == {"ours, eager", "RealESRGANer"}
    assert ran.groupby("what")["images"].unique().map(list).to_dict() == {ONE: [1], SHARD: [2], FILES: [2]}
    assert set(ran[["height", "width"]].itertuples(index=False, name=None)) == {(16, 16)}
    assert (ran["note"] == "images are centre crops of 24×20 images").all()


def test_an_implementation_that_cannot_run_has_a_reason(table: pd.DataFrame) -> None:
    notes = table[table["repeats"].isna()].set_index("system")["note"]
    assert notes["ncnn"].str.startswith("cannot run here: ncnn is missing").all()
    assert notes["ours, tensorrt"].str.startswith("cannot run here: tensorrt needs an NVIDIA GPU").all()


def test_measured_values_are_consistent(table: pd.DataFrame) -> None:
    ran = table[table["repeats"].notna()]
    np.testing.assert_allclose(ran["images_per_second"], ran["images"] / ran["median_seconds"])
    assert (ran["peak_memory_mib"] > 50).all()
    assert ran["gpu_memory_mib"].isna().all()
    assert (ran["share_of_peak"] > 0).all()
    fp32 = ran[ran["precision"] == "fp32"]
    # The share of peak divided by images per second is constant: the network's operations over the machine's peak rate.
    one = fp32[fp32["what"] == ONE]
    ratios = one["share_of_peak"] / one["images_per_second"]
    np.testing.assert_allclose(ratios, ratios.iloc[0])
    shares = ran.set_index("what")["network_share"]
    assert shares[[ONE, SHARD]].isna().all()
    assert shares[[FILES]].between(0, 1, inclusive="neither").all()


def test_the_reference_is_exact_and_real_esrgans_tool_gives_the_same_pixels(table: pd.DataFrame) -> None:
    fp32 = table[(table["precision"] == "fp32") & table["repeats"].notna() & (table["what"] != FILES)]
    assert len(fp32) == 4
    assert (fp32["psnr_db"] == math.inf).all()


def test_table_and_figure_are_written(table: pd.DataFrame, folder: Path) -> None:
    text = (folder / "out" / "upscaling.md").read_text()
    assert "Measured on 20" in text
    assert "A shard has 2 images of 16×16." in text
    assert text.count(" exact |") == 4
    for suffix in ("png", "svg", "tex"):
        assert (folder / "out" / f"upscaling.{suffix}").stat().st_size > 500


def test_a_failing_implementation_does_not_affect_the_others(tmp_path: Path) -> None:
    manifest = write_originals(tmp_path / "A", [(8, 8)])
    case = Case(tmp_path / "x", 4, [manifest.with_name("0.png")], (8, 8), 1, INFERENCE, tmp_path)
    fails = ["", "unavailable", "build", "load", "run"]
    entries = [Entry(Fake(f"fails: {fail}", fails=fail), case, ONE) for fail in fails]
    outcomes, peaks = measure_entries(entries, 1, 0.001, 3)
    assert list(outcomes) == entries
    assert [outcome.note for outcome in outcomes.values()] == [
        None,
        "cannot run here: it is not installed",
        "failed: RuntimeError: cannot be exported",
        "failed: RuntimeError: no kernel for this processor",
        "failed: MemoryError: not enough",
    ]
    runs = outcomes[entries[0]].runs
    assert runs[0].found.images[0].shape == (32, 32, 3)
    assert runs[1].found.images is None  # the images are requested only once
    assert set(peaks) == {("cpu", "fp32")}
    assert peaks["cpu", "fp32"] > 1e8


def test_psnr_covers_all_pixels_and_is_infinite_for_equal_images() -> None:
    black = [np.zeros((4, 4, 3), np.uint8)] * 2
    assert psnr_to(black, black) == math.inf
    off = [black[0], black[0] + np.uint8(1)]
    assert psnr_to(off, black) == pytest.approx(10 * math.log10(255**2 / 0.5))


def test_the_number_of_operations_follows_its_definition() -> None:
    network = torch.nn.Conv2d(3, 8, 3, padding=1)
    assert flops_of(network, (10, 12)) == 2 * 3 * 8 * 9 * 10 * 12


def test_implementations_follow_the_settings(tmp_path: Path) -> None:
    weights = tmp_path / "custom.safetensors"
    settings = {**SETTINGS, "backends": ["inductor"], "others": ["openvino", "ncnn"]}
    found = upscaling.implementations_for(weights, "cpu", settings)
    names = [each.name for each in found if each.precision == "fp32"]
    assert names == ["ours, eager", "ours, inductor", "OpenVINO", "ncnn"]
    ncnn = next(each for each in found if each.name == "ncnn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implementations, "missing", lambda _: None)
        assert "x4plus" in str(ncnn.unavailable())


def test_precisions_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling, "precisions", lambda *_: ["fp32", "bf16"])
    settings = {**SETTINGS, "precisions": ["bf16"], "others": ["realesrganer", "openvino"], "backends": ["inductor"]}
    found = upscaling.implementations_for(Path("custom.safetensors"), "cpu", settings)
    assert [(each.name, each.precision) for each in found] == [
        ("ours, eager", "fp32"),  # the reference for the others
        ("ours, inductor", "bf16"),
        ("RealESRGANer", "fp32"),  # has no bf16
        ("OpenVINO", "bf16"),
    ]


def test_an_unselected_reference_has_no_row_but_is_still_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured: each entry returns its case's images; all but the reference are brighter by one level."""
    took_part: list[tuple[str, str, int]] = []

    def measure(
        entries: Sequence[Entry], threads: int, seconds: float, repeats: int
    ) -> tuple[dict[Entry, Outcome], dict[Any, float]]:
        took_part.extend((entry.implementation.name, entry.what, len(entry.case.files)) for entry in entries)
        shades = [np.uint8(entry.implementation.name != "ours, eager") for entry in entries]
        images = [
            [image // 2 + shade for image in entry.case.images()] for entry, shade in zip(entries, shades, strict=True)
        ]
        runs = [[Run(2.0, Extra(found[:8]))] * repeats for found in images]
        return {entry: Outcome(found, 100.0) for entry, found in zip(entries, runs, strict=True)}, {
            ("cpu", "fp32"): 1e12
        }

    manifest = write_originals(tmp_path / "A", [(24, 20)] * 12)
    weights = write_weights(tmp_path / "RealESRGAN_x4plus.safetensors")
    monkeypatch.setattr(upscaling, "measure_entries", measure)
    monkeypatch.setattr(upscaling, "precisions", lambda *_: ["fp32"])
    settings = {**SETTINGS, "repeats": 2, "images": 12, "backends": ["inductor"], "others": ["realesrganer"]}
    benchmark_upscaling(weights, [manifest], INFERENCE, settings, 1, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "upscaling.csv")
    ours, other = "ours, inductor", "RealESRGANer"
    assert took_part == [
        *((name, ONE, 1) for name in ("ours, eager", ours, other)),
        *(("ours, eager", SHARD, 8), (ours, SHARD, 12), (other, SHARD, 12), (ours, FILES, 12)),
    ]
    rows = [(row.system, row.what, row.images, row.repeats) for row in table.itertuples()]
    assert rows == [(name, what, count, 2) for name, what, count in took_part if name != "ours, eager"]
    np.testing.assert_allclose(table["psnr_db"], 20 * math.log10(255))


def test_an_empty_figure_says_so() -> None:
    row = {"system": "ours", "what": ONE, "note": "cannot run here", "height": 8, "width": 8}
    data = upscaling.SUITE.frame([row])
    assert "Nothing could be measured" in upscaling.draw_upscaling(data).texts[0].get_text()
    table = upscaling.upscaling_table(data, Machine("CPU", "torch 2", "2030-01-02"))
    assert "images_per_second" not in table.cells
