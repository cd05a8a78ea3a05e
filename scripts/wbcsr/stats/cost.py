"""The cost of each training variant: CPU and GPU seconds and memory as the jobs recorded them, with its accuracy.

Every job records its use of resources in its provenance (`wbcsr.provenance.cost`). The cost of a variant is the cost of
its images, which all runs share, plus the cost of one run on them. If its images are shrunk from another variant's
images, the cost of those is included. A job that was resumed after an interruption recorded only the rest of its work;
its seconds are scaled to all of its images or epochs, and such sums are marked as estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from wbcsr.config import is_finetuned, parse_training, variant_for_split

DEVICES = ("cpu", "gpu")
STAGES = ("finetuning", "engine", "enlarging", "packing")
# The rules that make the images of a variant.
MAKING_VARIANTS = ("upscale", "interpolate", "shrink", "match_sharpening", "sharpen", "make_ceiling")
UNITS = {"cpu": "CPU s", "gpu": "GPU s"}

# The columns of cost.csv: first those with text, then those with numbers.
TEXTS = ["split", "trained_on", "tested_on", "shrunk_from", "memory_rule", "gpu_memory_rule", "processors", "gpus"]
NUMBERS = [
    *(
        f"{part}_{device}_seconds"
        for part in (*STAGES, "images", "enlarging_1000", "run", "total", "more")
        for device in DEVICES
    ),
    *(f"run_{device}_seconds_sd" for device in DEVICES),
    *("runs", "runs_measured", "runs_resumed", "image_jobs_resumed"),
    *("memory_mib", "gpu_memory_mib", "accuracy", "accuracy_sd", "difference_to_original"),
]


@dataclass(frozen=True)
class Job:
    """What one job recorded. `inputs` and `outputs` are the paths of its files.

    `share` is the part of the job's work that its recorded cost covers; it is 0 if all work had been done before.
    `seconds` (CPU, GPU) are scaled to the whole work; `memory` (process, GPU) is in MiB. Both are NaN if nothing was
    measured, and the names of processor and GPU are then empty. `images` is the number of images that the job enlarged
    or kept, and 0 for a job that shrank images.
    """

    rule: str
    wildcards: dict[str, str]
    inputs: frozenset[str]
    outputs: frozenset[str]
    share: float
    images: int
    seconds: np.ndarray
    memory: np.ndarray
    processor: str
    gpu: str

    @property
    def is_resumed(self) -> bool:
        """Whether the seconds are scaled, because the job was resumed."""
        return 0 < self.share < 1


# Jobs grouped by kind: each kind holds the jobs of one rule that belong together. A kind without jobs was not measured.
Kinds = list[list[Job]]


def costs(records: Sequence[dict[str, Any]], comparison: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each arm that was tested on the test images, with the columns `TEXTS` and `NUMBERS`.

    `records` are the provenances of all jobs. `comparison` holds the rows of comparison.csv whose arm was tested on the
    variant it was trained on. If a split has folds, the runs are those of the first fold. Both rows of dual training
    have the cost of the whole training. In seconds: `finetuning`, `engine`, `enlarging` and `packing` add up to
    `images`; `enlarging_1000` is the cost of 1,000 enlarged images; `run` is the mean over the `runs_measured` runs,
    with its sample standard deviation; `total` is `images` plus one run; `more` is the difference of `total` to
    training on original in the same split. `memory_mib` is the memory of the largest process, and `gpu_memory_mib` the
    memory that PyTorch allocated on a GPU; the rule that used it has a column next to each. A sum is NaN if any part of
    it was not measured.
    """
    jobs = [_job(record) for record in records]
    tested = comparison[comparison["subset"] == "test"]
    rows: list[dict[str, Any]] = []
    splits = list(dict.fromkeys(tested["split"]))
    sizes = {parse_training(training)[1] for training in tested["trained_on"]} - {None}
    for (split, training), arms in tested.groupby(["split", "trained_on"], sort=False):
        variants = list(arms["tested_on"])
        size = parse_training(training)[1]
        # Images packed at the main size serve all trainings that name no size.
        packing = [job for job in jobs if _packed_at(job) == size or (size is None and _packed_at(job) not in sizes)]
        made = [variant_for_split(variant, split, splits) for variant in variants]
        images = _image_jobs(jobs, packing, made, any(map(is_finetuned, variants)))
        runs = [_run_jobs(jobs, split, training, seed, variants) for seed in seeds]
        cost = _image_cost(images) | _run_cost(runs)
        enlarged = {job.wildcards["variant"] for kind in images["enlarging"] for job in kind}
        taken = [kind for part in (*images.values(), *runs) for kind in part]
        for _, arm in arms.iterrows():
            shrunk_from = "; ".join(enlarged.difference(made))
            rows.append({**arm.to_dict(), "shrunk_from": shrunk_from, **cost, **_largest(taken), **_devices(taken)})
    data = pd.DataFrame(rows)
    original = data["trained_on"] == "original"
    for device in DEVICES:
        total = data[f"images_{device}_seconds"] + data[f"run_{device}_seconds"]
        originals = total[original].set_axis(data.loc[original, "split"])
        data[f"total_{device}_seconds"] = total
        data[f"more_{device}_seconds"] = total - data["split"].map(originals)
    return data[[*TEXTS, *NUMBERS]]


def used_devices(data: pd.DataFrame) -> list[str]:
    """`cpu`, and `gpu` if any job used one; `data` is a table of `costs`."""
    on_gpu = (data[[name for name in NUMBERS if name.endswith("_gpu_seconds")]] > 0).any(axis=None)
    return ["cpu", "gpu"] if on_gpu else ["cpu"]


def estimated(data: pd.DataFrame) -> pd.DataFrame:
    """Which costs of each row are scaled, because a job was resumed: `images`, `run` and `more`."""
    images, run = data["image_jobs_resumed"] > 0, data["runs_resumed"] > 0
    original = data["trained_on"] == "original"
    # A difference to a scaled cost is an estimate, too.
    more = images | run | data["split"].isin(data.loc[original & (images | run), "split"])
    return pd.DataFrame({"images": images, "run": run, "more": more})


def _job(record: dict[str, Any]) -> Job:
    whole, kept, images = 1, 0, 0
    if "upscaling" in record:
        whole = record["upscaling"]["images"]
        images = 0 if record["rule"] == "shrink" else whole
        kept = record["upscaling"].get("images_kept", 0)
    elif "resumed_steps" in record:
        whole, kept = record["steps"], record["resumed_steps"]
    elif "resumed_epochs" in record:
        whole, kept = record["parameters"]["train"]["epochs"], record["resumed_epochs"]
    share = (whole - kept) / whole if kept else 1.0
    cost = record.get("cost") if share else None
    seconds = [cost[f"{device}_seconds"] / share for device in DEVICES] if cost else [np.nan, np.nan]
    memory = [cost["memory_mib"], cost["gpu_memory_mib"] or 0] if cost else [np.nan, np.nan]
    gpu = record["machine"].get("gpu") if seconds[1] > 0 else None
    return Job(
        rule=record["rule"],
        wildcards=record["wildcards"],
        inputs=frozenset(record.get("inputs_sha256", ())),
        outputs=frozenset(record.get("outputs_sha256", ())),
        share=share,
        images=images,
        seconds=np.array(seconds, float),
        memory=np.array(memory, float),
        processor=record["machine"]["processor"] if cost else "",
        gpu=gpu["name"] if gpu else "",
    )


def _packed_at(job: Job) -> int | None:
    return int(job.wildcards["size"]) if job.rule == "pack_images" and "size" in job.wildcards else None


def _image_jobs(jobs: list[Job], packing: list[Job], variants: list[str], finetuned: bool) -> dict[str, Kinds]:
    """The jobs that made the images of `variants`, by stage; `packing` holds those of the classifier's size.

    `finetuned` tells whether a network was fine-tuned for one of them.
    """

    def of(jobs: list[Job], rules: tuple[str, ...], variant: str) -> list[Job]:
        return [job for job in jobs if job.rule in rules and job.wildcards["variant"] == variant]

    enlarging = [of(jobs, MAKING_VARIANTS, variant) for variant in variants if variant != "original"]
    if shrunk := {path for kind in enlarging for job in kind if job.rule == "shrink" for path in job.inputs}:
        enlarging.append([job for job in jobs if job.rule == "upscale" and job.outputs & shrunk])
    taken = {path for kind in enlarging for job in kind if job.rule == "upscale" for path in job.inputs}
    building = ("compile_upscaler", "check_upscaler") if taken else ()
    # The provenance of an upscaling job lists weights, engine and the record of its check among its input files.
    training = ("finetune_upscaler",) if finetuned else ()
    finetuning, engine = (
        [[job for job in jobs if job.rule == rule and job.outputs & taken] for rule in rules]
        for rules in (training, building)
    )
    return {
        "finetuning": finetuning,
        "engine": engine,
        "enlarging": enlarging,
        "packing": [of(packing, ("pack_images",), variant) for variant in variants],
    }


def _run_jobs(jobs: list[Job], split: str, training: str, seed: int, variants: list[str]) -> Kinds:
    """The jobs of one run: training, engine, and predictions of `variants`."""
    run = {"split": split, "training": training, "seed": str(seed)}
    kinds = [(rule, run) for rule in ("train_classifier", "compile_classifier", "check_classifier")]
    kinds += [("predict", {**run, "variant": variant}) for variant in variants]
    return [[job for job in jobs if job.rule == rule and job.wildcards == wildcards] for rule, wildcards in kinds]


def _image_cost(stages: dict[str, Kinds]) -> dict[str, float]:
    seconds = {stage: _seconds(kinds) for stage, kinds in stages.items()}
    enlarged = sum(job.images for kind in stages["enlarging"] for job in kind)
    seconds["images"] = np.sum(list(seconds.values()), axis=0)
    seconds["enlarging_1000"] = 1000 * seconds["enlarging"] / (enlarged or np.nan)
    found = {
        f"{stage}_{device}_seconds": used[number]
        for stage, used in seconds.items()
        for number, device in enumerate(DEVICES)
    }
    resumed = sum(job.is_resumed for kinds in stages.values() for kind in kinds for job in kind)
    return found | {"image_jobs_resumed": resumed}


def _run_cost(runs: list[Kinds]) -> dict[str, float]:
    """The mean over the measured runs, and the standard deviation."""
    seconds = pd.DataFrame([_seconds(kinds) for kinds in runs], columns=DEVICES).dropna()
    found: dict[str, float] = {"runs_measured": len(seconds)}
    found["runs_resumed"] = sum(any(job.is_resumed for kind in runs[run] for job in kind) for run in seconds.index)
    for device in DEVICES:
        found[f"run_{device}_seconds"] = seconds[device].mean()
        found[f"run_{device}_seconds_sd"] = seconds[device].std()
    return found


def _seconds(kinds: Kinds) -> np.ndarray:
    """CPU and GPU seconds of all jobs; NaN if a job was not measured or a kind has no job."""
    nothing = np.zeros(len(DEVICES))
    return sum((sum((job.seconds for job in kind), nothing) if kind else nothing * np.nan for kind in kinds), nothing)


def _largest(kinds: Kinds) -> dict[str, Any]:
    """The largest process and GPU memory, each with its rule; NaN if no job of some rule was measured."""
    peaks = pd.DataFrame([[job.rule, *job.memory] for kind in kinds for job in kind], columns=["rule", *DEVICES])
    peaks = peaks.groupby("rule").max()  # the maximum ignores NaN, unless a rule has nothing else
    known = all(kinds) and not peaks.isna().any(axis=None)
    found: dict[str, Any] = {}
    for device, name in zip(DEVICES, ("memory", "gpu_memory"), strict=True):
        any_used = known and peaks[device].max() > 0
        found[f"{name}_mib"] = peaks[device].max() if any_used else np.nan
        found[f"{name}_rule"] = peaks[device].idxmax() if any_used else ""
    return found


def _devices(kinds: Kinds) -> dict[str, str]:
    """The names of all processors and GPUs on which a job was measured."""
    jobs = [job for kind in kinds for job in kind]
    return {
        "processors": "; ".join(sorted({job.processor for job in jobs} - {""})),
        "gpus": "; ".join(sorted({job.gpu for job in jobs} - {""})),
    }
