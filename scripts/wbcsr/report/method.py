"""How the results were made, as the report shows it: read from descriptions and provenances that the jobs wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from wbcsr.config import Config, extra_tests_of, partitions_of
from wbcsr.files import read_csv
from wbcsr.present.table import Table, number, text
from wbcsr.present.text import listed, number_text
from wbcsr.stats.records import read_records
from wbcsr.study.labels import CLASSIFIERS, subsets_of, variant_label
from wbcsr.text import counted

SPLIT_RULES = {
    "paper": "as in the study: of each class of the training partition the first {validation_fraction:.0%} of the "
    "files in sorted order, rounded down, are the validation images and the others the training images; the test "
    "partition is the test subset",
    "published": "as they were published, each partition one subset",
    "custom": "as the file {custom} says",
    "by_source": "all images of one source are in one subset, and no validation or test image has a duplicate in "
    "training; the sources are divided into {by_source[parts]} parts, balanced by class: one for the test, one for "
    "validation, the others for training; folds: {by_source[folds]}. Images of the first fold",
}
INITIAL_WEIGHTS = {"imagenet": "ImageNet weights", "random": "random weights"}
REASONS_SHOWN = 30


def settings(config: Config, records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The most important settings in words, by their names; `records` are the provenances."""
    dataset, train, view = config["dataset"], config["train"], config["view"]
    archive = [
        dataset["archive"],
        f"the images of {dataset['images']}" if dataset["images"] else "",
        f"the first {dataset['limit_per_class']} images of each partition and class"
        if dataset["limit_per_class"]
        else "",
    ]
    variants = [*map(variant_label, config["variants"]), *(["dual"] if config["dual"] else [])]
    extra = [f"{name} (partition {folder})" for name, folder in extra_tests_of(partitions_of(dataset)).items()]
    border = {"keep": "are used, too", "reject": "are left out"}[view["border_cells"]]
    reduced = f", reduced to {view['reduce_to']} × {view['reduce_to']}" if view["reduce_to"] else ""
    around = (
        f"squares of {view['side']} × {view['side']} pixels around the white cell of each image{reduced}; cells that "
        f"touch the border of their image {border}"
    )
    frozen = f", frozen stages (not trained): {train['frozen_stages']}" if train["frozen_stages"] else ""
    sizes = ", ".join(f"{size} × {size}" for size in [train["input_size"], *train["extra_input_sizes"]])
    return {
        "Archive": ", ".join(filter(None, archive)),
        "Variants": ", ".join(variants),
        **({"View": around} if view["around"] == "cell" else {}),
        **{f"Split {split}": _split(split, config, records) for split in config["splits"]},
        **(
            {"Extra tests": f"{listed(extra)}: tested in addition, and in no other subset of any split"}
            if extra
            else {}
        ),
        "Seeds": ", ".join(map(str, config["seeds"])),
        "Classifier": f"{CLASSIFIERS[train['classifier']]} from {INITIAL_WEIGHTS.get(train['init'], train['init'])}"
        f"{frozen}, {sizes} pixels, {counted(train['epochs'], 'epoch')}, batches of {train['batch_size']}, "
        f"highest learning rate {train['learning_rate']:g}",
    }


def _split(split: str, config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The rule of a split, and the number of images of each subset."""
    jobs = (record for record in records if record["rule"] == "split_dataset")
    job = next(job for job in jobs if job["wildcards"]["split"] == split)
    tested = subsets_of(partitions_of(config["dataset"]))
    counts = [f"{sum(job['images'][subset].values()):,} {subset}" for subset in ("train", *tested)]
    if left_out := job.get("left_out"):  # older records have no such key
        why = ", as the file says" if split == "custom" else " because their source is not known"
        counts.append(f"{left_out:,} left out{why}")
    return f"{SPLIT_RULES[split].format(**config)}: {' · '.join(counts)}"


def as_yaml(config: Config) -> str:
    """The whole configuration, defaults filled in."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)


def weights_table(paths: Iterable[Path]) -> Table:
    """The weights of each super-resolution network."""

    def network(architecture: dict[str, Any]) -> str:
        tags = ", ".join(architecture.get("tags", []))  # older records have none
        return f"{architecture['name']} ×{architecture['scale']}" + (f" ({tags})" if tags else "")

    described = read_records(paths, ["model", "architecture", "origin", "origin_sha256", "sha256"])
    columns = [
        text("model", "Model"),
        text("architecture", "Network", network),
        text("origin", "From", style="prose"),
        text("origin_sha256", "SHA-256 of the source", style="hash"),
        text("sha256", "SHA-256 as used", style="hash"),
    ]
    return Table("weights", "Weights", "Weights of the super-resolution networks.", pd.DataFrame(described), columns)


def stages_table(records: Sequence[dict[str, Any]]) -> Table:
    """The jobs by rule and (training) variant, in the order they started: how many, how long, how fast, on what.

    The speed is the median over the jobs that recorded images per second.
    """
    jobs = pd.DataFrame(
        {
            "rule": record["rule"],
            "variant": record["wildcards"].get("training", record["wildcards"].get("variant", "")),
            "seconds": record["seconds"],
            "speed": images_per_second(record),
            "device": ", ".join(str(record[key]) for key in ("device", "precision") if key in record),
        }
        for record in sorted(records, key=lambda record: str(record["started"]))
    )
    order = pd.factorize(jobs["rule"])[0].argsort(kind="stable")
    data = (
        jobs.iloc[order]
        .groupby(["rule", "variant"], sort=False, as_index=False)
        .agg(
            jobs=("seconds", "size"),
            seconds=("seconds", "sum"),
            longest=("seconds", "max"),
            speed=("speed", median_speed),
            device=("device", lambda names: "; ".join(filter(None, names.unique()))),
        )
    )
    columns = [
        text("rule", "Rule"),
        text("variant", "Variant", lambda variant: variant and variant_label(variant)),
        number("jobs", "Jobs", ",d"),
        text("seconds", "In total", duration, "number"),
        text("longest", "Longest job", duration, "number"),
        text("speed", "Images/s (median)", style="number"),
        text("device", "Ran on"),
    ]
    return Table("stages", "Runtime", "Time of each stage.", data, columns)


def machines(records: list[dict[str, Any]]) -> list[str]:
    """Each kind of machine that jobs ran on, in words; a GPU is named by the jobs that used torch."""
    return list(dict.fromkeys(_machine(record["machine"]) for record in records))


def _machine(machine: dict[str, Any]) -> str:
    words = f"{machine['processor']}, cores: {machine['cores']}, {machine['system']}"
    gpu = machine.get("gpu")  # older records have no such key
    if not gpu:
        return words
    return f"{words}, {gpu['name']} ({gpu['memory_gib']} GiB, capability {gpu['capability']}, driver {gpu['driver']})"


def versions(records: list[dict[str, Any]]) -> dict[str, str]:
    """Each package's version, or all its versions if jobs used different ones."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for package, version in record["versions"].items():
            found[package][version] = None
    return {package: " and ".join(numbers) for package, numbers in found.items()}


def rejections(path: Path) -> dict[str, Any]:
    """The excluded files: their `count`, a `table` by reason, and the number of `more` reasons that are not in it."""
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
    """The median of the speeds that were measured: `0.0123`, `49.5`, `5,120`; empty if none was measured."""
    median = pd.Series(speeds, dtype=float).median()
    return number_text(median, ",.0f" if median >= 999.5 else ".3g")
