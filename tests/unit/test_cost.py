"""The cost of a variant follows from the records of its jobs, and unmeasured costs are reported as such."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wbcsr.present.tables.cost import cost_table, per_thousand
from wbcsr.stats.cost import NUMBERS, TEXTS, costs, estimated, used_devices

ENGINE = "results/engines/any/x4plus/engine.json"
QUALITY = "results/engines/any/x4plus/quality.json"
GPU = {"name": "GPU Z3"}
EPOCHS = 4


def record(rule: str, cpu: float, gpu: float = 0.0, memory: float = 100.0, **more: Any) -> dict[str, Any]:
    """A provenance with only the wildcards and the facts that influence costs."""
    facts = {key: more.pop(key) for key in ("upscaling", "inputs_sha256", "outputs_sha256") if key in more}
    wildcards = {key: str(value) for key, value in more.items()}
    return {
        **{"rule": rule, "wildcards": wildcards, "machine": {"processor": "Zuse Z3", "cores": 2, "gpu": GPU}},
        "cost": {
            **{"wall_seconds": cpu, "cpu_seconds": cpu, "gpu_seconds": gpu},
            **{"memory_mib": memory, "gpu_memory_mib": 10 * memory if gpu else None},
        },
        **facts,
    }


def run_of(training: str, seed: int, cpu: float, gpu: float, tested: list[str], split: str = "paper") -> list[dict]:
    """The jobs of a run: training (`cpu` and `gpu` seconds), engine (8, 2), and predictions (3, 1) per variant."""
    run = {"split": split, "training": training, "seed": seed}
    on_gpu = [float(gpu > 0), 2.0 * (gpu > 0)]
    trained = record("train_classifier", cpu, gpu, 500.0, **run)
    trained |= {"resumed_epochs": 0, "parameters": {"train": {"epochs": EPOCHS}}}
    return [
        trained,
        record("compile_classifier", 5, on_gpu[0], **run),
        record("check_classifier", 3, on_gpu[0], **run),
        *(record("predict", 3, on_gpu[0], **run, variant=variant) for variant in tested),
    ]


def study(gpu: bool = True, seeds: int = 1, splits: tuple[str, ...] = ("paper",)) -> list[dict[str, Any]]:
    """All jobs of original, bicubic ×2, Real-ESRGAN ×4 and dual; for each variant, two jobs enlarge ten images each."""
    g = float(gpu)
    taken = {"inputs_sha256": {ENGINE: "00", QUALITY: "00", "results/dataset/images.csv": "00"}}
    jobs = [record("ingest_dataset", 1000), *(record("split_dataset", 1000, split=split) for split in splits)]
    jobs += [
        record("compile_upscaler", 40, 20 * g, model="x4plus", outputs_sha256={ENGINE: "00"}),
        record("check_upscaler", 20, 10 * g, model="x4plus", outputs_sha256={QUALITY: "00"}),
        # An engine that no variant used: it must not count.
        record("compile_upscaler", 7000, 7000 * g, 7000.0, model="x2plus", outputs_sha256={"x2plus/engine.json": "00"}),
    ]
    for variant in ("original", "bicubic_x2", "realesrgan_x4"):
        jobs.append(record("pack_images", 6, variant=variant, size=96))
    for shard in (1, 2):
        jobs.append(record("interpolate", 2, variant="bicubic_x2", shard=shard))
        jobs.append(record("upscale", 100, 50 * g, variant="realesrgan_x4", shard=shard, **taken))
        for job in jobs[-2:]:
            job["upscaling"] = {"images": 10, "images_kept": 0}
    for split in splits:
        for seed in range(seeds):
            for variant in ("original", "bicubic_x2", "realesrgan_x4"):
                jobs += run_of(variant, seed, 200 + 10 * seed, 100 * g, [variant], split)
            jobs += run_of("dual", seed, 400 + 10 * seed, 200 * g, ["original", "realesrgan_x4"], split)
    return jobs


ARMS = [
    *[("original", "original", 0.9), ("bicubic_x2", "bicubic_x2", 0.9004), ("realesrgan_x4", "realesrgan_x4", 0.88)],
    *[("dual", "original", 0.95), ("dual", "realesrgan_x4", 0.85)],
]


def comparison(seeds: int = 1, splits: tuple[str, ...] = ("paper",)) -> pd.DataFrame:
    rows = [
        {
            **{"split": split, "trained_on": trained_on, "tested_on": tested_on, "subset": subset, "runs": seeds},
            "accuracy": accuracy if subset == "test" else 0.1,
            "accuracy_sd": 0.01 if seeds > 1 else math.nan,
            "difference_to_original": accuracy - 0.9 if subset == "test" else 0.0,
        }
        for split in splits
        for trained_on, tested_on, accuracy in ARMS
        for subset in ("validation", "test")
    ]
    return pd.DataFrame(rows)


def costs_of(jobs: list[dict[str, Any]], seeds: int = 1, splits: tuple[str, ...] = ("paper",)) -> pd.DataFrame:
    return costs(jobs, comparison(seeds, splits), list(range(seeds)))


def jobs_of(jobs: list[dict[str, Any]], rule: str, **wildcards: str) -> list[dict[str, Any]]:
    return [job for job in jobs if job["rule"] == rule and wildcards.items() <= job["wildcards"].items()]


def row_of(data: pd.DataFrame, trained_on: str, split: str = "paper") -> pd.Series:
    return data[(data["split"] == split) & (data["trained_on"] == trained_on)].iloc[0]


def cells(data: pd.DataFrame, key: str) -> list[str]:
    return cost_table(data).cells[key].tolist()


def test_costs_equal_a_calculation_by_hand() -> None:
    data = costs_of(study())
    assert data.columns.tolist() == [*TEXTS, *NUMBERS]
    assert list(zip(data["trained_on"], data["tested_on"], data["accuracy"], strict=True)) == ARMS
    enlarged = row_of(data, "realesrgan_x4")
    assert enlarged[["engine_cpu_seconds", "enlarging_cpu_seconds", "packing_cpu_seconds"]].tolist() == [60, 200, 6]
    assert enlarged[["engine_gpu_seconds", "enlarging_gpu_seconds", "packing_gpu_seconds"]].tolist() == [30, 100, 0]
    assert enlarged[["images_cpu_seconds", "images_gpu_seconds"]].tolist() == [266, 130]
    assert enlarged[["enlarging_1000_cpu_seconds", "enlarging_1000_gpu_seconds"]].tolist() == [10_000, 5000]
    assert enlarged[["run_cpu_seconds", "run_gpu_seconds"]].tolist() == [211, 103]
    assert enlarged[["total_cpu_seconds", "total_gpu_seconds"]].tolist() == [477, 233]
    assert enlarged[["more_cpu_seconds", "more_gpu_seconds"]].tolist() == [260, 130]
    assert enlarged[["memory_mib", "gpu_memory_mib"]].tolist() == [500, 5000]
    assert enlarged[["memory_rule", "gpu_memory_rule"]].tolist() == ["train_classifier"] * 2
    assert enlarged[["processors", "gpus"]].tolist() == ["Zuse Z3", "GPU Z3"]
    interpolated = row_of(data, "bicubic_x2")
    assert interpolated[["engine_cpu_seconds", "images_cpu_seconds", "more_cpu_seconds"]].tolist() == [0, 10, 4]
    original = row_of(data, "original")
    assert original[["images_cpu_seconds", "total_cpu_seconds", "more_cpu_seconds"]].tolist() == [6, 217, 0]
    assert math.isnan(original["enlarging_1000_cpu_seconds"])


def test_dual_training_includes_both_kinds_of_images_and_two_predictions() -> None:
    data = costs_of(study())
    rows = data[data["trained_on"] == "dual"]
    numbers = [name for name in NUMBERS if name.endswith("seconds")]
    assert rows[numbers].iloc[0].equals(rows[numbers].iloc[1].rename(rows.index[0]))
    assert row_of(data, "dual")[["images_cpu_seconds", "run_cpu_seconds"]].tolist() == [266 + 6, 400 + 8 + 2 * 3]
    assert cells(data, "trained_on")[-2:] == ["dual, on original", "dual, on Real-ESRGAN ×4"]
    once = cost_table(data).cells.drop(columns=["split", "trained_on", "accuracy", "difference_to_original"])
    assert (once.iloc[-1] == "").all()
    assert (once.iloc[-2] != "").all()


def test_images_shrunk_from_another_variant_include_its_cost() -> None:
    jobs, arms = study(), comparison().replace("bicubic_x2", "realesrgan_x2")
    for shard, job in enumerate(jobs_of(jobs, "upscale"), 1):
        manifest = {f"x4/manifest_{shard}of2.csv": "00"}
        job["outputs_sha256"] = manifest
        result = {"upscaling": {"images": 10, "images_kept": 0}, "inputs_sha256": manifest}
        jobs.append(record("shrink", 3, variant="realesrgan_x2", shard=shard, **result))
    jobs += [record("pack_images", 6, variant="realesrgan_x2", size=96)]
    jobs += run_of("realesrgan_x2", 0, 200, 100, ["realesrgan_x2"])
    data = costs(jobs, arms, [0])
    shrunk = row_of(data, "realesrgan_x2")
    assert shrunk[["engine_cpu_seconds", "enlarging_cpu_seconds", "packing_cpu_seconds"]].tolist() == [60, 206, 6]
    assert shrunk["enlarging_1000_cpu_seconds"] == 10_300
    assert data["shrunk_from"].tolist() == ["", "realesrgan_x4", "", "", ""]
    assert "Real-ESRGAN ×2 is shrunk from Real-ESRGAN ×4" in cost_table(data).note
    assert "shrunk" not in cost_table(costs_of(study())).note
    without = [job for job in jobs if job["rule"] != "upscale"]
    assert math.isnan(row_of(costs(without, arms, [0]), "realesrgan_x2")["enlarging_cpu_seconds"])


def test_a_sharpened_variant_includes_the_matching_of_its_sharpness() -> None:
    jobs = study()
    before = row_of(costs_of(jobs), "bicubic_x2")["enlarging_cpu_seconds"]
    for job in jobs_of(jobs, "interpolate"):
        job["rule"] = "sharpen"
    found = row_of(costs_of([*jobs, record("match_sharpening", 9, variant="bicubic_x2")]), "bicubic_x2")
    assert found["enlarging_cpu_seconds"] == before + 9


def test_each_split_is_compared_with_its_own_original() -> None:
    splits = ("paper", "by_source")
    jobs = study(splits=splits)
    jobs_of(jobs, "train_classifier", split="by_source", training="original")[0]["cost"]["cpu_seconds"] = 50
    data = costs_of(jobs, splits=splits)
    assert row_of(data, "bicubic_x2")["more_cpu_seconds"] == 4
    assert row_of(data, "bicubic_x2", "by_source")["more_cpu_seconds"] == 154
    assert per_thousand(data).count("bicubic") == 1


def test_the_cost_of_a_run_is_a_mean_with_standard_deviation() -> None:
    data = costs_of(study(seeds=3), seeds=3)
    row = row_of(data, "original")
    assert (row["run_cpu_seconds"], row["run_cpu_seconds_sd"], row["runs_measured"]) == (221, 10, 3)
    assert cells(data, "run_cpu_seconds")[0] == "221 ± 10"
    assert cells(data, "accuracy")[0] == "90.0 ± 1.0"
    assert "±" in cost_table(data).note
    alone = costs_of(study())
    assert cells(alone, "run_cpu_seconds")[0] == "211"
    assert "±" not in cost_table(alone).note


@pytest.mark.parametrize("rule", ["upscale", "train_classifier"])
def test_the_cost_of_a_resumed_job_is_scaled_and_marked(rule: str) -> None:
    whole, jobs = costs_of(study()), study()
    job = jobs_of(jobs, rule)[0]
    if rule == "upscale":
        job["upscaling"]["images_kept"] = 8
    else:
        job["resumed_epochs"] = EPOCHS - 1
    kept = 8 / 10 if rule == "upscale" else 3 / 4
    job["cost"] |= {key: (1 - kept) * job["cost"][key] for key in ("cpu_seconds", "gpu_seconds")}
    data = costs_of(jobs)
    seconds = [name for name in NUMBERS if name.endswith("seconds")]
    assert data[seconds].to_numpy() == pytest.approx(whole[seconds].to_numpy(), nan_ok=True)
    marked = {key: [cell.endswith("*") for cell in texts] for key, texts in cost_table(data).cells.items()}
    nothing = [False] * 5
    if rule == "upscale":
        assert marked["images_cpu_seconds"] == [False, False, True, True, False]
        assert marked["more_gpu_seconds"] == [False, False, True, True, False]
        assert marked["run_cpu_seconds"] == nothing
        assert "Real-ESRGAN ×4, 10,000* CPU s and 5,000* GPU s" in per_thousand(data)
        assert "bicubic ×2, 200 CPU s;" in per_thousand(data)
    else:
        # The difference of original to itself.
        assert marked["images_cpu_seconds"] == nothing
        assert marked["run_cpu_seconds"] == [True, False, False, False, False]
        assert marked["more_cpu_seconds"] == [False, True, True, True, False]
        assert "*" not in per_thousand(data)
    assert "*: " in cost_table(data).note
    assert not estimated(whole).any(axis=None)
    assert "*" not in cost_table(whole).note + per_thousand(whole) + "".join(cost_table(whole).cells.to_numpy().ravel())


def test_only_the_split_of_a_scaled_original_is_marked() -> None:
    splits = ("paper", "by_source")
    jobs = study(splits=splits)
    jobs_of(jobs, "train_classifier", split="by_source", training="original")[0]["resumed_epochs"] = 1
    scaled = estimated(costs_of(jobs, splits=splits))
    assert scaled["more"].tolist() == [False] * 5 + [True] * 5


UNMEASURED = {
    "without a cost": lambda jobs, job: job.pop("cost", None),
    "with nothing left to do": lambda jobs, job: job.update(
        {"upscaling": {"images": 10, "images_kept": 10}} if "upscaling" in job else {"resumed_epochs": EPOCHS}
    ),
    "without a record": lambda jobs, job: jobs.remove(job),
}


@pytest.mark.parametrize("how", UNMEASURED)
def test_unmeasured_costs_are_reported(how: str) -> None:
    jobs = study(seeds=3)
    UNMEASURED[how](jobs, jobs_of(jobs, "train_classifier", training="bicubic_x2", seed="0")[0])
    data = costs_of(jobs, seeds=3)
    row = row_of(data, "bicubic_x2")
    assert (row["runs_measured"], row["runs_resumed"], row["run_cpu_seconds"]) == (2, 0, 226)
    assert cells(data, "run_cpu_seconds")[1] == "226 ± 7 (2 of 3)"
    assert cells(data, "run_cpu_seconds")[0] == "221 ± 10"
    assert "(1 of 2): one of two runs was measured" in cost_table(data).note
    for job in jobs_of(jobs, "train_classifier", training="bicubic_x2"):
        UNMEASURED[how](jobs, job)
    data = costs_of(jobs, seeds=3)
    for part in ("run", "more"):
        assert [cells(data, f"{part}_{device}_seconds")[1] for device in ("cpu", "gpu")] == ["not measured"] * 2
    assert cells(data, "memory_mib")[1] == "not measured"
    assert cells(data, "images_cpu_seconds")[1] == "10"
    assert "Not measured: " in cost_table(data).note
    assert "not measured" not in cells(data, "more_cpu_seconds")[2:]


def test_without_the_cost_of_original_there_is_no_difference() -> None:
    jobs = study()
    jobs_of(jobs, "train_classifier", training="original")[0].pop("cost")
    data = costs_of(jobs)
    assert cells(data, "more_cpu_seconds") == ["–", *["not measured"] * 3, ""]
    assert cells(data, "run_cpu_seconds")[:2] == ["not measured", "211"]


@pytest.mark.parametrize("how", ["without a cost", "with nothing left to do"])
def test_one_unmeasured_shard_makes_the_sum_unknown(how: str) -> None:
    jobs = study()
    UNMEASURED[how](jobs, jobs_of(jobs, "upscale")[0])
    data = costs_of(jobs)
    assert cells(data, "images_gpu_seconds") == ["0", "0", "not measured", "not measured", ""]
    assert "Real-ESRGAN ×4, not measured." in per_thousand(data)
    assert row_of(data, "realesrgan_x4")["image_jobs_resumed"] == 0
    assert "*" not in cost_table(data).note
    # The other shard was measured and shows how much memory the rule needs.
    assert cells(data, "memory_mib")[2] == "500"


@pytest.mark.parametrize("rule", ["compile_upscaler", "check_upscaler", "pack_images"])
def test_a_stage_without_a_record_does_not_count_as_zero(rule: str) -> None:
    data = costs_of([job for job in study() if job["rule"] != rule])
    assert cells(data, "images_cpu_seconds")[2] == "not measured"
    assert np.isnan(row_of(data, "realesrgan_x4")["memory_mib"])
    assert (cells(data, "images_cpu_seconds")[1] == "not measured") == (rule == "pack_images")


def test_without_records_no_cost_is_known() -> None:
    data = costs_of([])
    assert cells(data, "more_cpu_seconds") == ["–", *["not measured"] * 3, ""]
    assert cells(data, "difference_to_original") == ["–", "0.0", "−2.0", "+5.0", "−5.0"]
    assert "Measured on" not in cost_table(data).note


def test_without_gpu_jobs_there_are_no_gpu_columns() -> None:
    """The machine has a GPU, but no job used it."""
    data = costs_of(study(gpu=False))
    assert used_devices(data) == ["cpu"]
    assert not any("gpu" in key for key in cost_table(data).cells)
    assert "GPU" not in cost_table(data).note + per_thousand(data)
    assert used_devices(costs_of(study())) == ["cpu", "gpu"]


def test_only_rows_that_used_a_gpu_show_gpu_memory() -> None:
    jobs = [job for job in study() if job["wildcards"].get("training") != "original"]
    data = costs_of([*jobs, *run_of("original", 0, 200, 0, ["original"])])
    assert cells(data, "gpu_memory_mib") == ["–", "5,000", "5,000", "5,000", ""]


def test_the_rule_with_the_largest_memory_is_named() -> None:
    jobs = study()
    for job in jobs_of(jobs, "upscale"):
        job["cost"]["memory_mib"] = 900
    data = costs_of(jobs)
    assert cells(data, "memory_mib") == ["500", "500", "900", "900", ""]
    assert "in the rules train_classifier and upscale." in cost_table(data).note
    assert "in the rule train_classifier." in cost_table(costs_of(study())).note


@pytest.mark.parametrize(
    ("rule", "machine", "words"),
    [
        (None, {}, "Measured on Zuse Z3 and GPU Z3."),
        ("pack_images", {"gpu": {"name": "GPU Z4"}}, "Measured on Zuse Z3 and GPU Z3."),  # had a GPU but did not use it
        ("pack_images", {"processor": "Zuse Z4"}, "Measured on Zuse Z3 and Zuse Z4 and GPU Z3. The"),
        ("predict", {"gpu": {"name": "GPU Z4"}}, "Measured on Zuse Z3 and GPU Z3 and GPU Z4. The"),
    ],
)
def test_different_devices_are_named_with_a_warning(rule: str | None, machine: dict[str, Any], words: str) -> None:
    jobs = study()
    if rule:
        jobs_of(jobs, rule)[0]["machine"] |= machine
    assert words in cost_table(costs_of(jobs)).note


@pytest.mark.parametrize(
    ("more", "text"), [(0.04, "0.0"), (-0.04, "0.0"), (-3.0, "−3.0"), (2.5, "+2.5"), (1234.5, "+1,234"), (-0.4, "−0.4")]
)
def test_differences_have_a_sign(more: float, text: str) -> None:
    jobs = [
        *(record("pack_images", 0, variant=variant, size=96) for variant in ("original", "bicubic_x2")),
        record("interpolate", 0, variant="bicubic_x2", shard=1, upscaling={"images": 10, "images_kept": 0}),
        *run_of("original", 0, 10, 0, ["original"]),
        *run_of("bicubic_x2", 0, 10 + more, 0, ["bicubic_x2"]),
    ]
    assert cells(costs(jobs, comparison()[:4], [0]), "more_cpu_seconds") == ["–", text]


def test_without_an_enlarged_variant_enlarging_is_not_mentioned() -> None:
    assert per_thousand(costs(study(), comparison()[:2], [0])) == ""


def test_the_cost_of_fine_tuning_counts_for_its_variant() -> None:
    """A resumed fine-tuning is scaled to all of its steps; without its record, the cost is not known."""
    weights = {"results/weights/finetuned.safetensors": "00"}
    taken = {"inputs_sha256": weights}
    jobs = [
        *study(),
        *(record("pack_images", 6, variant=variant, size=96) for variant in ("bicubic_x4", "finetuned_x4")),
        *(record(f"{which}_upscaler", 10, model="finetuned", outputs_sha256=weights) for which in ("compile", "check")),
        record("upscale", 30, variant="finetuned_x4", shard=1, upscaling={"images": 10, "images_kept": 0}, **taken),
        *run_of("finetuned_x4", 0, 200, 0, ["finetuned_x4"]),
    ]
    arms = comparison().replace("bicubic_x2", "finetuned_x4")
    finetuning = record("finetune_upscaler", 300, 150, outputs_sha256=weights) | {"steps": 40, "resumed_steps": 10}
    unknown, known = (costs(records, arms, [0]) for records in (jobs, [*jobs, finetuning]))
    row = row_of(known, "finetuned_x4")
    assert (row["finetuning_cpu_seconds"], row["finetuning_gpu_seconds"]) == (400, 200)
    assert row["images_cpu_seconds"] == 400 + 2 * 10 + 30 + 6
    assert row["image_jobs_resumed"] == 1
    assert math.isnan(row_of(unknown, "finetuned_x4")["images_cpu_seconds"])
    assert row_of(known, "realesrgan_x4").equals(row_of(unknown, "realesrgan_x4"))
    assert row_of(known, "realesrgan_x4")["finetuning_cpu_seconds"] == 0
    notes = [str(cost_table(data).note) for data in (known, costs_of(study()))]
    assert ["fine-tuning" in note for note in notes] == [True, False]
