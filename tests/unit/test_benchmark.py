"""The benchmark: right statistics, a row for everything that was asked for, and no figure that was not measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from originals import write_originals
from small_networks import inference, rrdbnet, write_weights
from wbcsr import imaging
from wbcsr.benchmark.engines import benchmark_engines, precisions
from wbcsr.benchmark.labels import label_files
from wbcsr.benchmark.measurements import Machine, Measurement, write_markdown, write_measurements
from wbcsr.benchmark.timing import MOST_REPEATS, measure
from wbcsr.classify import classifiers
from wbcsr.classify.networks import NETWORKS
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.engine import Engine
from wbcsr.engines.profile import Profile
from wbcsr.errors import InputError
from wbcsr.upscale.upscaler import SuperResolution
from wbcsr.weights.networks import describe

CPU = torch.device("cpu")
CLASSES = ["a", "b", "c"]
SIDE = 32
RESNET50 = NETWORKS["resnet50"]
TAKEN = ("resnet50", SIDE)
INFERENCE = inference(batch_size=2, tile=64, overlap=8)
LEAST = 3
SETTINGS = {"seconds": 0.01, "repeats": LEAST, "precisions": ["fp32", "fp16", "bf16"], "images": 3, "crop": "auto"}


class FakeClock:
    """Time goes on only while something runs, by the seconds that it is told to take."""

    def __init__(self, seconds: list[float]) -> None:
        self.now = 0.0
        self.seconds_of_runs = iter(seconds)
        self.runs = 0

    def run(self) -> None:
        self.now += next(self.seconds_of_runs)
        self.runs += 1

    def mark(self) -> float:
        return self.now

    def seconds(self, start: float, end: float) -> float:
        return end - start


@pytest.mark.parametrize(
    ("seconds", "budget", "warm_ups", "repeats"),
    [
        ([9, 1, 5, 1, 2, 3, 4], 5, 1, 3),  # a first run of more than the budget is warm-up enough
        ([3, 1, 5, 1, 2, 3, 4], 5, 2, 5),
        ([0.1, 0.1, 0.1, 0.1, 0.1, *[0.1] * 50], 5, 5, 50),  # a tenth of the budget, for a GPU's clock
        ([0.001] * 1000, 5, 500, MOST_REPEATS),
        ([20] * 10, 5, 1, LEAST),
    ],
)
def test_warm_up_is_not_counted_and_repeats_keep_to_the_budget(
    seconds: list[float], budget: float, warm_ups: int, repeats: int
) -> None:
    clock = FakeClock(seconds)
    timing = measure(clock.run, budget, LEAST, clock)
    counted = seconds[warm_ups : warm_ups + repeats]
    assert (timing.repeats, clock.runs) == (repeats, pytest.approx(warm_ups + repeats, abs=1))
    assert timing.median_seconds == pytest.approx(np.median(counted))
    assert (timing.min_seconds, timing.max_seconds) == pytest.approx((min(counted), max(counted)))


def benchmark(folder: Path, scale: int, sizes: list[tuple[int, int]], **settings: Any) -> pd.DataFrame:
    """The CSV file of a benchmark of small networks; the Markdown lies beside it."""
    manifests = [write_originals(folder / class_name, sizes) for class_name in CLASSES]
    weights, csv, markdown = write_weights(folder / "sr.safetensors", scale), folder / "out.csv", folder / "out.md"
    benchmark_engines([weights], manifests, CLASSES, *TAKEN, INFERENCE, {**SETTINGS, **settings}, 1, csv, markdown)
    return pd.read_csv(csv)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("measured")


@pytest.fixture(scope="module")
def measured(folder: Path) -> pd.DataFrame:
    """Two backends, of which one cannot run here; most images are larger than what a CPU is given."""
    return benchmark(folder, 4, [(70, 40), (70, 40), (16, 16)], backends=["eager", "tensorrt"])


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A backend that fails, and whole images larger than a tile.

    The failure is a stand-in for what a compiler does on a machine that nobody has tried.
    """

    def fail(*_arguments: object) -> None:
        raise RuntimeError("no kernel for this GPU\nmore lines")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BACKENDS["inductor"], "compile", fail)
        return benchmark(tmp_path_factory.mktemp("troubled"), 2, [(70, 66)], backends=["inductor", "eager"], crop=1000)


def test_every_network_backend_and_precision_has_its_rows(measured: pd.DataFrame) -> None:
    ran = measured[measured["repeats"].notna()]
    found = set(ran[["network", "backend", "precision", "what"]].itertuples(index=False, name=None))
    ways = {"sr": ["network alone", "files to enlarged files", "files to labels"], "resnet50": ["network alone"]}
    assert found == {
        (network, "eager", precision, what)
        for network, kinds in ways.items()
        for what in kinds
        for precision in precisions(CPU)
    }
    upscaling = ran[ran["network"] == "sr"].set_index(["precision", "what"]).loc["fp32"]
    assert list(upscaling["images"]) == [2, 3, 3]  # a batch, then the files
    assert set(upscaling[["batch", "height", "width", "scale"]].itertuples(index=False, name=None)) == {(2, 64, 40, 4)}
    classifier = ran[ran["network"] == "resnet50"].iloc[0]
    assert (classifier["height"], classifier["batch"]) == (32, classifiers.ENGINE_BATCH["cpu"])
    assert np.isnan(classifier["scale"])


def test_figures_agree_with_each_other(measured: pd.DataFrame) -> None:
    ran = measured[measured["repeats"].notna()]
    assert (ran["repeats"] >= LEAST).all()
    assert (ran["min_seconds"] > 0).all()
    assert ((ran["min_seconds"] <= ran["median_seconds"]) & (ran["median_seconds"] <= ran["max_seconds"])).all()
    np.testing.assert_allclose(ran["images_per_second"], ran["images"] / ran["median_seconds"])
    assert ran[["peak_memory_mib", "build_seconds"]].isna().all(axis=None)  # no GPU, and nothing was compiled


def test_the_table_says_what_was_measured_with(measured: pd.DataFrame) -> None:
    notes = measured[measured["repeats"].notna()].groupby("network")["note"].unique()
    assert list(notes["sr"]) == ["images are cut from 70×40 about their middle"]
    assert list(notes["resnet50"]) == ["random weights, on which speed does not depend"]


def test_what_cannot_run_here_says_why_and_has_no_figure(measured: pd.DataFrame) -> None:
    refused = measured[measured["repeats"].isna()]
    assert set(refused[["network", "backend"]].itertuples(index=False, name=None)) == {
        ("sr", "tensorrt"),
        ("resnet50", "tensorrt"),
    }
    assert refused["note"].str.startswith("cannot run here: tensorrt needs an NVIDIA GPU").all()
    assert refused.drop(columns=["machine", "network", "backend", "note"]).isna().all(axis=None)


def test_the_table_names_the_machine_and_every_row(measured: pd.DataFrame, folder: Path) -> None:
    head, table, _ = (folder / "out.md").read_text().split("\n\n", 2)
    assert head.startswith("Measured on 20")
    assert f"torch {torch.__version__.partition('+')[0]}" in head
    assert "1 of" in head
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    columns, rows = lines[0], [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]
    assert {"network", "backend", "precision", "files to labels, images/s"} <= set(columns)
    assert [(row["network"], row["backend"]) for row in rows] == [
        (network, backend)
        for network in ("sr", "resnet50")
        for backend in ["eager"] * len(precisions(CPU)) + ["tensorrt"]
    ]
    assert all(row["note"].startswith("cannot run here") and not row["images/s"] for row in rows if not row["batch"])


def test_what_fails_has_a_row_and_does_not_stop_the_others(troubled: pd.DataFrame) -> None:
    failed = troubled[troubled["backend"] == "inductor"]
    assert len(failed) == 2 * len(precisions(CPU))
    assert set(failed["note"]) == {"failed: RuntimeError: no kernel for this GPU"}
    assert failed[["repeats", "median_seconds", "images_per_second", "build_seconds"]].isna().all(axis=None)
    alone = troubled[(troubled["backend"] == "eager") & (troubled["what"] == "network alone")]
    assert len(alone) == len(failed)
    assert alone["repeats"].notna().all()


def test_images_larger_than_a_tile_are_measured_in_tiles(troubled: pd.DataFrame) -> None:
    upscaling = troubled[(troubled["network"] == "sr") & (troubled["backend"] == "eager")]
    upscaling = upscaling[upscaling["precision"] == "fp32"].set_index("what")
    assert set(upscaling[["height", "width"]].itertuples(index=False, name=None)) == {(64, 64)}
    assert upscaling["repeats"].notna().to_dict() == {
        "network alone": True,
        "files to enlarged files": True,
        "files to labels": False,
    }
    assert upscaling["note"]["files to labels"].startswith("not measured: images larger than inference.tile")


def test_no_images_is_an_error(tmp_path: Path) -> None:
    manifest = write_originals(tmp_path / "a", [])
    with pytest.raises(InputError, match=r"manifest\.csv: names no image .* dataset\.archive"):
        benchmark_engines(
            [], [manifest], CLASSES, *TAKEN, INFERENCE, SETTINGS, 1, tmp_path / "x.csv", tmp_path / "x.md"
        )
    assert not (tmp_path / "x.csv").exists()


def engine(network: torch.nn.Module, batch: int, profile: Profile | None) -> Engine:
    """What `load` makes of a network for the eager backend on a CPU; with a profile, it takes whole batches only."""

    def run(images: torch.Tensor) -> torch.Tensor:
        assert profile is None or images.shape == (batch, 3, *profile.opt)
        return network(images)

    return Engine(run, "eager", "fp32", batch, profile, CPU, torch.float32, torch.contiguous_format, "test")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    model = classifiers.build(len(CLASSES), 0, None)
    classifiers.save(model.state_dict(), classifiers.Description(tuple(CLASSES), SIDE), path)
    return classifiers.source(path)[0].network


@pytest.mark.parametrize(("scale", "whole"), [(4, False), (4, True), (2, True)])
def test_labels_are_those_of_enlarging_packing_and_predicting(
    tmp_path: Path, classifier: torch.nn.Module, scale: int, whole: bool
) -> None:
    size = (17, 23)
    shape = (18, 24) if whole else size
    generator, network = np.random.default_rng(0), rrdbnet(scale)
    enlarging = engine(network, 3, Profile.fixed(3, *shape) if whole else None)
    enlarge = SuperResolution(enlarging, describe(network.state_dict()), scale, 64, 8)
    files, squares = [], []
    for number in range(8):
        image = generator.integers(0, 256, (*size, 3), dtype=np.uint8) // (1 + number % 4)
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(imaging.encode_png(image))
        enlarged = Image.fromarray(enlarge([image])[0])
        squares.append(np.asarray(enlarged.resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    predicting = engine(classifier, 5, Profile.fixed(5, SIDE, SIDE) if whole else None)
    batches = torch.from_numpy(np.stack(squares)).split(5)
    with torch.no_grad():
        classifier.fc.bias -= classifiers.engine_logits(predicting, RESNET50, batches).mean(0)  # for labels that differ
    wanted = classifiers.engine_logits(predicting, RESNET50, batches).argmax(1)
    assert len(set(wanted.tolist())) > 1
    assert (
        label_files(files, enlarging, shape, scale, predicting, SIDE, RESNET50.normalisation, 2).tolist()
        == wanted.tolist()
    )


def test_nothing_measured_is_an_empty_cell(tmp_path: Path) -> None:
    refused = Measurement("m", "n", "eager", "fp32", note="out of memory: 1|2")
    ran = replace(
        refused,
        precision="fp16",
        note=None,
        batch=8,
        height=240,
        width=320,
        what="network alone",
        repeats=3,
        median_seconds=0.05,
        min_seconds=0.04951,
        max_seconds=1.5,
        images_per_second=160.0,
        peak_memory_mib=2048.6,
        build_seconds=75.25,
    )
    write_measurements([refused, ran], tmp_path / "t.csv")
    first, second = (tmp_path / "t.csv").read_text().splitlines()[1:]
    assert first == "m,n,eager,fp32,,,,,,,,,,,,,,out of memory: 1|2"
    assert second == "m,n,eager,fp16,8,240,320,,network alone,,3,0.05,0.04951,1.5,160.0,2048.6,75.25,"
    write_markdown([refused, ran], Machine("GPU", "torch 2", "2030-01-02"), "Remarks.", tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text()
    assert text.startswith("Measured on 2030-01-02: GPU; torch 2.\n\n")
    assert text.endswith("\n\nRemarks.\n")
    rows = [[cell.strip() for cell in line.split("| ")[1:]] for line in text.splitlines()[4:6]]
    assert rows[0][:3] == ["n", "eager", "fp32"]
    assert set(rows[0][3:-1]) == {""}
    assert rows[1][2:6] == ["fp16", "8 of 240×320", "50.0 (49.5 to 1500)", "160"]
    assert rows[1][-3:-1] == ["2049", "75.2"]
