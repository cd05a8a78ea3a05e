"""The quality check: an engine that differs from the fp32 network by more than the thresholds is not used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from small_networks import inference, without_gpu, workload, write_cells, write_weights
from wbcsr.checks.compare import compare_classifier, compare_upscaler
from wbcsr.checks.gate import pass_gate
from wbcsr.classify import classifiers
from wbcsr.engines import engine as engines
from wbcsr.engines.profile import Profile
from wbcsr.engines.pytorch import Eager
from wbcsr.engines.source import Source
from wbcsr.errors import InputError
from wbcsr.upscale import upscaler


def thresholds(**changes: Any) -> dict[str, Any]:
    return inference(tolerances=changes)["tolerances"]


def never() -> Mapping[str, Any]:
    raise AssertionError("there is nothing to compare")


@without_gpu
def test_the_fp32_network_is_not_compared_with_itself(tmp_path: Path) -> None:
    source, _ = upscaler.source(write_weights(tmp_path / "w.safetensors"))
    engines.build(source, tmp_path / "engine.json", workload(), inference(backend="eager", precision="fp32"))
    quality = pass_gate(tmp_path / "engine.json", never, thresholds(), tmp_path / "quality.json")
    assert (quality["passed"], quality["reference"]) == (True, True)
    assert json.loads((tmp_path / "quality.json").read_text()) == quality


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an uncompiled bf16 engine, and three images of another size than the engine was made for."""
    folder = tmp_path_factory.mktemp("rough")
    source, _ = upscaler.source(write_weights(folder / "w.safetensors"))
    engines.build(source, folder / "engine.json", workload(), inference(backend="eager", precision="bf16"))
    write_cells(folder, (30, 40))
    return folder


def compare(folder: Path, count: int = 1) -> Callable[[], dict[str, Any]]:
    files = folder / "engine.json", folder / "w.safetensors", [folder / "manifest.csv"]
    return partial(compare_upscaler, *files, count)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"psnr_db": 99}, r"PSNR of \d\d\.\d dB .* below psnr_db 99 of inference\.tolerances; choose another"),
        ({"psnr_db": 10, "max_difference": 0}, r"a pixel differs by \d+ of 255 .* above max_difference 0 "),
    ],
)
def test_a_missed_threshold_is_named(rough: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pass_gate(rough / "engine.json", compare(rough), thresholds(**changes), tmp_path / "quality.json")
    assert not (tmp_path / "quality.json").exists()


def test_bf16_passes_the_default_thresholds(rough: Path, tmp_path: Path) -> None:
    quality = pass_gate(rough / "engine.json", compare(rough, 2), thresholds(), tmp_path / "quality.json")
    assert quality["images"] == 2
    assert 45 <= quality["psnr_db"] < 80
    assert 1 <= quality["max_difference"] <= 32


@pytest.mark.parametrize(
    ("value", "message"), [(float("nan"), "NaN or infinite"), (float("inf"), "NaN or infinite"), (0.0, "black images")]
)
def test_a_broken_engine_fails_the_quality_check(
    rough: Path, value: float, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(batch: torch.Tensor) -> torch.Tensor:
        return batch.new_full((len(batch), 3, 4 * batch.shape[2], 4 * batch.shape[3]), value)

    monkeypatch.setattr(Eager, "load", lambda self, network, program, profile: broken)
    with pytest.raises(InputError, match=rf"engine\.json: produces {message}"):
        compare(rough)()


def test_an_engine_for_a_range_of_sizes_is_also_compared_at_its_ends(
    rough: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The range belongs to an uncompiled network, which accepts any size."""
    load, seen = engines.load, []

    def ranged(source: Source, path: Path) -> engines.Engine:
        engine = load(source, path)
        given = vars(engine) | {"profile": Profile(2, (16, 24), (24, 32), (32, 48)), "batch": 2}

        def run(batch: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(batch.shape))
            return engine.run(batch)

        return engines.Engine(**given | {"run": run})

    monkeypatch.setattr("wbcsr.checks.compare.load", ranged)
    assert compare(rough, 3)()["images"] == 3
    assert seen == [(2, 3, 24, 32), (2, 3, 16, 24), (2, 3, 32, 48)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier, its bf16 engine, and twelve validation images."""
    folder = tmp_path_factory.mktemp("run")
    names = [f"TRAIN/{'ab'[number % 2]}/{number}.png" for number in range(12)]
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8))
    index = pd.DataFrame({"image": names, "partition": "TRAIN", "class": ["a", "b"] * 6, "sha256": ""})
    index.to_csv(folder / "a.csv", index=False)
    pd.DataFrame({"image": names, "subset": "validation"}).to_csv(folder / "split.csv", index=False)
    model = classifiers.build(2, 0, None)
    with torch.no_grad():
        model.fc.weight *= 20
    classifiers.save(model.state_dict(), classifiers.Description(("a", "b"), 32), folder / "model.safetensors")
    source, _ = classifiers.source(folder / "model.safetensors")
    settings = inference(backend="eager", precision="bf16")
    engines.build(source, folder / "engine.json", workload(12, (32, 32)), settings)
    return folder


def compare_labels(folder: Path, most: int) -> Callable[[], dict[str, Any]]:
    files = (folder / name for name in ("engine.json", "model.safetensors", "a.npy", "a.csv", "split.csv"))
    return partial(compare_classifier, *files, ["a", "b"], most)


def test_a_bf16_classifier_is_compared_by_its_predicted_classes(run: Path, tmp_path: Path) -> None:
    gate = thresholds(changed_labels=0.5)
    quality = pass_gate(run / "engine.json", compare_labels(run, 7), gate, tmp_path / "quality.json")
    assert quality["images"] == 7
    assert 0 <= quality["changed_labels"] <= 0.5
    assert 0 < quality["max_probability_difference"] < 0.5


def test_changed_classes_fail_the_quality_check(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine swaps the classes."""
    monkeypatch.setattr(Eager, "load", lambda self, network, program, profile: lambda batch: -network(batch))
    with pytest.raises(InputError, match=r"100\.0% of 12 labels differ .* above changed_labels 0\.01 "):
        pass_gate(run / "engine.json", compare_labels(run, 100), thresholds(), tmp_path / "quality.json")
