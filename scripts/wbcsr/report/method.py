"""How the results were made, as the report shows it: read from descriptions and provenances that the jobs wrote."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from wbcsr.config import Config, extra_tests_of, partitions_of
from wbcsr.files import read_csv
from wbcsr.present.table import Table, number, text
from wbcsr.present.text import listed
from wbcsr.stats.records import read_records
from wbcsr.study.labels import CLASSIFIERS, subsets_of, variant_label
from wbcsr.text import counted

SPLIT_RULES = {
    "paper": "as in the study: of each class of the training partition the first {validation_fraction:.0%} of the "
    "files in sorted order, rounded down, are the validation images and the others the training images; the test "
    "partition is the test subset",
    "published": "as they were published, each partition one subset",
    "custom": "as the file {custom} says",
    "by_source": "all images of one source are in one subset, so no validation or test image has a duplicate in "
    "training; the sources are divided into {by_source[parts]} parts, balanced by class: one for the test, one for "
    "validation, the others for training; folds: {by_source[folds]}. Images of the first fold",
}
INITIAL_WEIGHTS = {"imagenet": "ImageNet weights", "random": "random weights"}
REASONS_SHOWN = 30


def settings(config: Config, records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The settings that matter most, as pairs of a name and a text; `records` are the provenances."""
    dataset, train = config["dataset"], config["train"]
    limit = dataset["limit_per_class"]
    sizes = {record["wildcards"]["split"]: record["images"] for record in records if record["rule"] == "split_dataset"}
    left_out = {
        record["wildcards"]["split"]: record.get("left_out", 0)
        for record in records
        if record["rule"] == "split_dataset"
    }
    pairs = [
        (
            "Archive",
            dataset["archive"]
            + (f", the images of {dataset['images']}" if dataset["images"] else "")
            + (f", the first {limit} images of each partition and class" if limit else ""),
        ),
        (
            "Variants",
            ", ".join(variant_label(name) for name in config["variants"]) + (", dual" if config["dual"] else ""),
        ),
    ]
    if config["view"]["around"] == "cell":
        side = config["view"]["side"]
        pairs.append(("View", f"squares of {side} × {side} pixels around the white cell of each image"))
    partitions = partitions_of(dataset)
    for split in config["splits"]:
        rule = SPLIT_RULES[split].format(**config)
        counts = [f"{sum(sizes[split][subset].values()):,} {subset}" for subset in ("train", *subsets_of(partitions))]
        if left_out.get(split):
            why = ", as it says" if split == "custom" else ", for their source is not known"
            counts.append(f"{left_out[split]:,} left out{why}")
        pairs.append((f"Split {split}", f"{rule}: {' · '.join(counts)}"))
    if extra := extra_tests_of(partitions):
        named = listed([f"{name} (partition {folder})" for name, folder in extra.items()])
        pairs.append(("Extra tests", f"{named}: tested in addition, and in no other subset of any split"))
    pairs += [
        ("Seeds", ", ".join(map(str, config["seeds"]))),
        (
            "Classifier",
            f"{CLASSIFIERS[train['classifier']]} from {INITIAL_WEIGHTS.get(train['init'], train['init'])}, "
            f"{', '.join(f'{size} × {size}' for size in [train['input_size'], *train['extra_input_sizes']])} pixels, "
            f"{counted(train['epochs'], 'epoch')}, "
            f"batches of {train['batch_size']}, "
            f"highest learning rate {train['learning_rate']:g}",
        ),
    ]
    return pairs


def as_yaml(config: Config) -> str:
    """The whole configuration, defaults filled in."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)


def weights_table(paths: Iterable[Path]) -> Table:
    """The weights of each super-resolution network."""
    described = []
    for record in read_records(paths, ["model", "architecture", "origin", "origin_sha256", "sha256"]):
        architecture = record["architecture"]
        name = f"{architecture['name']} ×{architecture['scale']}, {architecture['blocks']} blocks"
        texts = ("model", "origin", "origin_sha256", "sha256")
        described.append({**{key: str(record[key]) for key in texts}, "architecture": name})
    columns = [
        text("model", "Model"),
        text("architecture", "Network"),
        text("origin", "From", style="prose"),
        text("origin_sha256", "SHA-256 of the source", style="hash"),
        text("sha256", "SHA-256 as used", style="hash"),
    ]
    return Table("weights", "Weights", "Weights of the super-resolution networks.", pd.DataFrame(described), columns)


def stages_table(records: list[dict[str, Any]]) -> Table:
    """The jobs by rule and (training) variant, in the order they started: how many, how long, how fast, on what.

    The speed is the median of the images a second of the jobs that record it.
    """
    groups: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda record: str(record["started"])):
        wildcards = record["wildcards"]
        groups[record["rule"]][wildcards.get("training", wildcards.get("variant", ""))].append(record)
    rows = [
        {
            "rule": rule,
            "variant": variant_label(variant) if variant else "",
            "jobs": f"{len(jobs):,}",
            "seconds": duration(sum(job["seconds"] for job in jobs)),
            "longest": duration(max(job["seconds"] for job in jobs)),
            "speed": median_speed([images_per_second(job) for job in jobs]),
            "device": "; ".join(dict.fromkeys(filter(None, map(_device, jobs)))),
        }
        for rule, by_variant in groups.items()
        for variant, jobs in by_variant.items()
    ]
    columns = [
        text("rule", "Rule"),
        text("variant", "Variant"),
        text("jobs", "Jobs", style="number"),
        text("seconds", "In total", style="number"),
        text("longest", "Longest job", style="number"),
        text("speed", "Images/s (median)", style="number"),
        text("device", "Ran on"),
    ]
    return Table("stages", "Runtime", "Time of each stage.", pd.DataFrame(rows), columns)


def machines(records: list[dict[str, Any]]) -> list[str]:
    """Each kind of machine that jobs ran on, in words; a GPU is named by the jobs that used torch."""
    return list(dict.fromkeys(_machine(record["machine"]) for record in records))


def _machine(machine: dict[str, Any]) -> str:
    words = f"{machine['processor']}, cores: {machine['cores']}, {machine['system']}"
    gpu = machine.get("gpu")  # records from before GPUs were noted have no such key
    if not gpu:
        return words
    return f"{words}, {gpu['name']} ({gpu['memory_gib']} GiB, capability {gpu['capability']}, driver {gpu['driver']})"


def versions(records: list[dict[str, Any]]) -> dict[str, str]:
    """Each package's version; all of them where jobs differ."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for package, version in record["versions"].items():
            found[package][version] = None
    return {package: " and ".join(numbers) for package, numbers in found.items()}


def rejections(path: Path) -> dict[str, Any]:
    """The files that were left out: `count`, `table` (by reason) and how many `more` reasons there are."""
    counts = read_csv(path, ["image", "reason"]).groupby("reason", sort=False)["image"].agg(["count", "first"])
    counts = counts.sort_values("count", ascending=False, kind="stable").reset_index()
    columns = [
        text("reason", "Reason", style="prose"),
        number("count", "Files", ",.0f"),
        text("first", "For example", style="prose"),
    ]
    table = Table("rejected", "Reasons", "Files that could not be used.", counts.head(REASONS_SHOWN), columns)
    return {"count": int(counts["count"].sum()), "table": table, "more": max(0, len(counts) - REASONS_SHOWN)}


def duration(seconds: float) -> str:
    """`0.4 s`, `8 s`, `2 min 5 s`, `1 h 12 min`."""
    if seconds < 9.95:  # from here on one decimal would show 10.0
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def images_per_second(record: dict[str, Any]) -> float | None:
    """The speed that a provenance records, or None."""
    return record.get("upscaling", record).get("images_per_second")


def median_speed(speeds: Iterable[float | None]) -> str:
    """The median of the speeds that were measured: `0.0123`, `49.5`, `5,120`; empty where none was."""
    measured = [speed for speed in speeds if speed is not None]
    if not measured:
        return ""
    median = statistics.median(measured)
    return f"{median:.3g}" if median < 999.5 else f"{median:,.0f}"


def _device(record: dict[str, Any]) -> str:
    return ", ".join(str(record[key]) for key in ("device", "precision") if key in record)
