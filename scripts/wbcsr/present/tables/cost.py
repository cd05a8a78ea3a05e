"""The table of cost, and what it means in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from wbcsr.config import is_finetuned, parse_training
from wbcsr.present.table import Column, Table, each, fixed, number, text
from wbcsr.present.text import NONE, number_text
from wbcsr.stats.cost import DEVICES, UNITS, estimated, used_devices
from wbcsr.study.labels import variant_label
from wbcsr.text import noun

NOT_MEASURED = "not measured"


def cost_table(data: pd.DataFrame) -> Table:
    """A row for each arm: its cost and its accuracy on the test images; `data` comes from `wbcsr.stats.cost.costs`.

    The columns of GPUs exist only if a GPU was used. The second row of dual training has no cost, because its cost is
    that of the first row.
    """
    columns = list(_columns(data))
    unknown = any(NOT_MEASURED in column.show(data) for column in columns)
    return Table(
        "cost",
        "Cost",
        "What each training variant cost, and its accuracy on the test images.",
        data,
        columns,
        note=" ".join(filter(None, [per_thousand(data), *_explanation(data, unknown)])),
        blocks=("split",),
        title_of=lambda row: f"Split {row['split']}",
        source="results/tables/cost.csv",
    )


def _columns(data: pd.DataFrame) -> Iterator[Column]:
    devices = used_devices(data)
    form = ",.1f" if data[[f"total_{device}_seconds" for device in devices]].max(axis=None) < 100 else ",.0f"
    rows = data.assign(**estimated(data), again=data.duplicated(["split", "trained_on"])).to_dict("records")

    def cost(
        key: str, heading: str, group: str, form: str, scaled: str = "", none: Iterable[bool] = itertools.repeat(False)
    ) -> Column:
        """The cost of each training, once; with a star if `scaled` is true, and a dash if `none` is true."""
        texts = [
            "" if row["again"] else NONE if dash else _amount(row, key, form, "*" if scaled and row[scaled] else "")
            for row, dash in zip(rows, none, strict=False)
        ]
        return fixed(key, heading, texts, group)

    original = data["trained_on"] == "original"
    yield text("split", "Split")
    yield each("trained_on", "Trained on", _trained, style="text")
    for device in devices:
        yield cost(f"more_{device}_seconds", UNITS[device], "Beyond original", "+" + form, "more", original)
    yield number("accuracy", "%", ".1f", "Test accuracy", scale=100, spread="accuracy_sd")
    yield each("difference_to_original", "points", _gain, "Test accuracy")
    for device in devices:
        yield cost(f"images_{device}_seconds", UNITS[device], "Images", form, "images")
    for device in devices:
        yield cost(f"run_{device}_seconds", UNITS[device], "One run", form, "run")
    yield cost("memory_mib", "process", "Memory, MiB", ",.0f")
    if "gpu" in devices:
        yield cost("gpu_memory_mib", "GPU", "Memory, MiB", ",.0f", none=data["total_gpu_seconds"] == 0)


def _trained(row: dict[str, Any]) -> str:
    on = "" if parse_training(row["trained_on"])[0] == row["tested_on"] else f", on {variant_label(row['tested_on'])}"
    return variant_label(row["trained_on"]) + on


def _gain(row: dict[str, Any]) -> str:
    return NONE if row["trained_on"] == "original" else number_text(100 * row["difference_to_original"], "+.1f")


def _amount(row: dict[str, Any], key: str, form: str, mark: str) -> str:
    """A number, its standard deviation if there is one, and the number of measured runs if some were not measured."""
    if math.isnan(row[key]):
        return NOT_MEASURED
    spread = number_text(row.get(f"{key}_sd", math.nan), form)
    measured, runs = int(row["runs_measured"]), int(row["runs"])
    some = f" ({measured} of {runs})" if key.startswith("run_") and measured < runs else ""
    return number_text(row[key], form) + (spread and f" ± {spread}") + mark + some


def per_thousand(data: pd.DataFrame) -> str:
    """The cost of upscaling 1,000 images, in a sentence; empty if nothing was upscaled."""
    alone = (data["trained_on"] == data["tested_on"]) & (data["trained_on"] != "original")
    upscaled = data.assign(scaled=estimated(data)["images"])[alone].drop_duplicates("trained_on")
    parts = []
    for _, row in upscaled.iterrows():
        costs = ((row[f"enlarging_1000_{device}_seconds"], UNITS[device]) for device in DEVICES)
        amounts = [
            f"{number_text(value, ',.1f' if value < 9.95 else ',.0f')}{'*' if row['scaled'] else ''} {unit}"
            for value, unit in costs
            if value > 0
        ]
        parts.append(f"{variant_label(row['trained_on'])}, {' and '.join(amounts) or NOT_MEASURED}")
    return f"Upscaling 1,000 images: {'; '.join(parts)}." if parts else ""


def _explanation(data: pd.DataFrame, unknown: bool) -> Iterator[str]:
    """What the columns and marks mean, and where the costs were measured; `unknown` if some cost was not measured."""
    on_gpu = "gpu" in used_devices(data)
    rules = _distinct(data["memory_rule"])
    shrunk = data[(data["shrunk_from"] != "") & (data["tested_on"] != "original")].drop_duplicates("tested_on")
    yield "CPU s: seconds of all cores together."
    if on_gpu:
        yield "GPU s: seconds for which a job held a GPU."
    tuned = "fine-tuning the network, " if data["tested_on"].map(is_finetuned).any() else ""
    yield (
        f"Images: {tuned}building and checking the engine that upscales, upscaling all images, and packing them for "
        "the classifier."
    )
    mean = ", mean over the runs ± standard deviation" if data["runs"].max() > 1 else ""
    yield f"One run: a training, its engine and its predictions{mean}."
    yield (
        "Beyond original: images and one run, minus those of original in the same split. Ingesting and splitting are "
        "shared by all variants and are in no row."
    )
    for variant, larger in zip(shrunk["tested_on"], shrunk["shrunk_from"], strict=True):
        yield f"{variant_label(variant)} is shrunk from {variant_label(larger)}; its row includes the cost of both."
    where = f", in the {noun(len(rules), 'rule')} {' and '.join(rules)}" if rules else ""
    yield f"Memory: of the largest process{where}."
    if on_gpu:
        yield (
            "GPU memory: held by PyTorch in the job's own process. Other processes are not counted: they build and "
            "check engines, or train one network on several GPUs."
        )
    yield "Points: accuracy minus that of training and testing on original; the table of differences has the tests."
    if estimated(data).any(axis=None):
        yield (
            "*: a job was interrupted and continued, and recorded only the second part of its work. Its cost is scaled "
            "to all of its images or epochs."
        )
    if unknown or NOT_MEASURED in per_thousand(data):
        yield (
            "Not measured: a job recorded no cost, had nothing left to do when it continued after an interruption, or "
            "left no record."
        )
    if "by_source" in set(data["split"]):
        yield "Runs of the split by_source: only those of its first fold."
    if (data["runs_measured"].between(1, data["runs"] - 1)).any():
        yield "(1 of 2): one of two runs was measured, and the mean is over that one."
    processors, gpus = _distinct(data["processors"]), _distinct(data["gpus"])
    mixed = len(processors) > 1 or len(gpus) > 1
    warning = ". The same work takes different times on different machines; compare with care" if mixed else ""
    if processors:
        yield f"Measured on {' and '.join([*processors, *gpus])}{warning}."


def _distinct(names: pd.Series) -> list[str]:
    """The names in cells of `; ` between names, each once."""
    return sorted({name for cell in names for name in cell.split("; ")} - {""})
