"""The report's section on fine-tuning follows from the tables, and says what was not measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from answers import OWN, results_of
from defaults import config_of
from wbcsr.report.finetuning import fidelity_text, section
from wbcsr.report.pictures import Figures

OTHERS = ["bicubic_x4", "realesrgan_x4"]
TUNED = "finetuned_x4"
ARMS = [(name, name, accuracy) for name, accuracy in (("bicubic_x4", 0.9), ("realesrgan_x4", 0.8), (TUNED, 0.91))]


def cell_scores(**psnr_ssim_colour: tuple[float, float, float]) -> pd.DataFrame:
    """The rows of fidelity.csv for the white cell of 40 photographs."""
    return pd.DataFrame(
        [
            {"region": "cell", "method": method, "photographs": 40.0, "psnr": psnr, "ssim": ssim, "ciede2000": colour}
            for method, (psnr, ssim, colour) in psnr_ssim_colour.items()
        ]
    )


def test_better_and_worse_follow_from_the_scores_in_the_cell() -> None:
    """A smaller colour difference is better, and equal printed numbers are the same."""
    text = fidelity_text(
        cell_scores(bicubic=(47.3, 0.987, 0.44), realesrgan_x4=(33.8, 0.908, 2.6), finetuned_x4=(43.0, 0.9871, 0.8))
    )
    bicubic, network = text.split("bicubic, ")[1].split("; compared with")
    assert "same in SSIM (0.987 and 0.987), worse in PSNR (43.0 and 47.3 dB)" in bicubic
    assert "better" not in bicubic
    assert "worse" not in network
    assert all(part in network for part in ("better in", "PSNR (43.0 and 33.8 dB)", "(0.80 and 2.60 CIEDE2000)"))
    assert "40 photographs" in text


@pytest.mark.parametrize(
    "data",
    [
        None,
        cell_scores(bicubic=(47.3, 0.98, 0.4)),
        cell_scores(finetuned_x4=(math.nan,) * 3, bicubic=(math.nan,) * 3),
    ],
)
def test_fidelity_that_was_not_measured_is_said_to_be_so(data: pd.DataFrame | None) -> None:
    assert "not measured" in fidelity_text(data)


def sentences(tmp_path: Path, seconds: float, jobs: list[dict[str, Any]], arms: list[Any], **more: Any) -> list[str]:
    (tmp_path / "finetuning.svg").write_text("<svg/>", encoding="utf-8")
    results = results_of((*OWN, 0.9), *arms, split="by_source", **more)
    results["cost"] = pd.DataFrame(
        [{"split": "by_source", "trained_on": TUNED, "tested_on": TUNED, "finetuning_cpu_seconds": seconds}]
    ).assign(finetuning_gpu_seconds=0.0)
    dataset = {"photographs": "photographs"}
    config = config_of(dataset=dataset, variants=["original", *OTHERS, TUNED], dual=False, splits=["by_source"])
    found = section(results, [], jobs, Figures([tmp_path / "finetuning.svg"]), config)
    assert found is not None
    return list(found["sentences"])


def test_classification_has_interval_and_verdict_and_the_cost_its_steps(tmp_path: Path) -> None:
    """A comparison that the table holds in the other direction keeps that direction."""
    bicubic, network = (name for name, _, _ in ARMS[:2])
    differences = {(TUNED, TUNED, bicubic, bicubic): (-0.02, 0.04), (TUNED, TUNED, network, network): (0.05, 0.17)}
    jobs = [{"rule": "finetune_upscaler", "steps": 1000, "photographs": 180, "best_step": 900}]
    found = sentences(tmp_path, 512.0, jobs, ARMS, differences=differences)
    assert "not measured" in found[0]
    assert "−2.0 to +4.0" in found[1]
    assert "no detectable difference" in found[1]
    assert "+5.0 to +17.0" in found[2]
    assert "higher" in found[2]
    assert "provisional" in sentences(tmp_path, 512.0, jobs, ARMS, differences=differences, runs=1)[2]
    assert all(part in found[3] for part in ("1,000 steps", "180 photographs", "512 CPU s", "step 900"))
    assert "first of" not in found[3]
    assert "the first of two networks" in sentences(tmp_path, 512.0, jobs * 2, ARMS)[3]


def test_what_no_job_measured_is_not_claimed(tmp_path: Path) -> None:
    found = sentences(tmp_path, math.nan, [], [])
    assert len(found) == 4
    assert all("not measured" in sentence for sentence in found)


def test_a_study_without_fine_tuning_has_no_such_section() -> None:
    assert section({}, [], [], Figures([]), config_of(variants=["original", "realesrgan_x4"])) is None
