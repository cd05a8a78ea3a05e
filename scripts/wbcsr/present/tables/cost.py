"""The table of cost, and what it means in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from wbcsr.config import parse_training
from wbcsr.present.table import Column, Table, fixed, text
from wbcsr.present.text import NONE, number_text
from wbcsr.stats.cost import DEVICES, UNITS, estimated, used_devices
from wbcsr.study.labels import variant_label

NOT_MEASURED = "not measured"


def cost_table(data: pd.DataFrame) -> Table:
    """A row for each arm: what it cost, and its accuracy on the test images; `data` is of `wbcsr.stats.cost.costs`.

    Columns of GPUs are there only where one was used. The second row of dual training leaves out the cost, which is
    that of the row above.
    """
    columns = list(_columns(data))
    return Table(
        "cost",
        "Cost",
        "What each training variant cost, and its accuracy on the test images.",
        data,
        columns,
        note=" ".join(filter(None, [per_thousand(data), _explanation(data, columns)])),
        blocks=("split",),
        title_of=lambda row: f"Split {row['split']}",
        source="results/tables/cost.csv",
    )


def _columns(data: pd.DataFrame) -> Iterator[Column]:
    devices = used_devices(data)
    marks = estimated(data).map(lambda scaled: "*" if scaled else "")
    again = data.duplicated(["split", "trained_on"]).tolist()
    reference = (data["trained_on"] == "original").tolist()
    form = ",.1f" if data[[f"total_{device}_seconds" for device in devices]].max(axis=None) < 100 else ",.0f"

    def column(key: str, heading: str, group: str, cells: Iterable[str], once: bool = True) -> Column:
        texts = ["" if once and repeated else cell for repeated, cell in zip(again, cells, strict=True)]
        return fixed(key, heading, texts, group)

    def amounts(key: str, form: str, after: Iterable[str] = itertools.repeat("")) -> list[str]:
        return [_amount(value, form, mark) for value, mark in zip(data[key], after, strict=False)]

    def beyond(texts: list[str]) -> list[str]:
        return [NONE if itself else text for itself, text in zip(reference, texts, strict=True)]

    yield text("split", "Split")
    names = [
        variant_label(trained_on)
        + ("" if parse_training(trained_on)[0] == tested_on else f", on {variant_label(tested_on)}")
        for trained_on, tested_on in zip(data["trained_on"], data["tested_on"], strict=True)
    ]
    yield fixed("trained_on", "Trained on", names, style="text")
    for device in devices:
        key = f"more_{device}_seconds"
        yield column(key, UNITS[device], "Beyond original", beyond(amounts(key, "+" + form, marks["more"])))
    accuracies = [
        _amount(100 * mean, ".1f", _spread(100 * deviation, ".1f"))
        for mean, deviation in zip(data["accuracy"], data["accuracy_sd"], strict=True)
    ]
    gains = beyond([_amount(100 * value, "+.1f") for value in data["difference_to_original"]])
    yield column("accuracy", "%", "Test accuracy", accuracies, once=False)
    yield column("difference_to_original", "points", "Test accuracy", gains, once=False)
    for device in devices:
        key = f"images_{device}_seconds"
        yield column(key, UNITS[device], "Images", amounts(key, form, marks["images"]))
    for device in devices:
        key = f"run_{device}_seconds"
        after = [
            _spread(row[f"{key}_sd"], form) + mark + _of_runs(row)
            for (_, row), mark in zip(data.iterrows(), marks["run"], strict=True)
        ]
        yield column(key, UNITS[device], "One run", amounts(key, form, after))
    yield column("memory_mib", "process", "Memory, MiB", amounts("memory_mib", ",.0f"))
    if "gpu" in devices:
        unused = data["total_gpu_seconds"] == 0
        held = [NONE if none else cell for none, cell in zip(unused, amounts("gpu_memory_mib", ",.0f"), strict=True)]
        yield column("gpu_memory_mib", "GPU", "Memory, MiB", held)


def per_thousand(data: pd.DataFrame) -> str:
    """What upscaling 1,000 images cost, in a sentence; empty where nothing is upscaled."""
    alone = data["trained_on"] == data["tested_on"]
    upscaled = data[alone & (data["trained_on"] != "original")].drop_duplicates("trained_on")
    if upscaled.empty:
        return ""
    parts = []
    for number, row in upscaled.iterrows():
        mark = "*" if estimated(data).loc[number, "images"] else ""
        used = [(row[f"enlarging_1000_{device}_seconds"], UNITS[device]) for device in DEVICES]
        amounts = [f"{_amount(value, _fine(value), mark)} {unit}" for value, unit in used if value > 0]
        parts.append(f"{variant_label(row['trained_on'])}, {' and '.join(amounts) or NOT_MEASURED}")
    return f"Upscaling 1,000 images: {'; '.join(parts)}."


def _explanation(data: pd.DataFrame, columns: list[Column]) -> str:
    """What the table's columns and marks mean, and where its costs were measured."""
    on_gpu = "gpu" in used_devices(data)
    several = data["runs"].max() > 1
    rules = _distinct(data["memory_rule"])
    shrunk = data[(data["shrunk_from"] != "") & (data["tested_on"] != "original")].drop_duplicates("tested_on")
    sentences = ["CPU s: seconds of all cores together."]
    if on_gpu:
        sentences.append("GPU s: seconds for which a job held a GPU.")
    sentences += [
        "Images: building and checking the engine that upscales, upscaling all images, and packing them for the "
        "classifier.",
        "One run: a training, its engine and its predictions"
        + (", mean over the runs ± standard deviation." if several else "."),
        "Beyond original: images and one run, less those of original in the same split; ingesting and splitting, which "
        "all share, are in no row.",
        *(
            f"{variant_label(variant)} is shrunk from {variant_label(larger)}, and what that took is in its row, too."
            for variant, larger in zip(shrunk["tested_on"], shrunk["shrunk_from"], strict=True)
        ),
        "Memory: of the largest process"
        + (f", in the {'rule' if len(rules) == 1 else 'rules'} {' and '.join(rules)}." if rules else "."),
    ]
    if on_gpu:
        sentences.append(
            "GPU memory is what PyTorch held in the job's own process; engines are built and checked, and several GPUs "
            "train one network, in further ones that are not counted."
        )
    sentences.append(
        "Points: difference of accuracy to training and testing on original; the table of differences says whether it "
        "is more than chance."
    )
    if estimated(data).any(axis=None):
        sentences.append(
            "*: a job went on from an interruption and noted the rest of its work alone, so its cost is scaled to all "
            "of its images or epochs."
        )
    if NOT_MEASURED in per_thousand(data) or any(NOT_MEASURED in column.show(data) for column in columns):
        sentences.append(
            "Not measured: a job noted no cost, found everything done when it went on from an interruption, or left no "
            "record."
        )
    if "by_source" in set(data["split"]):
        sentences.append("Runs of the split by_source: those of its first fold.")
    if (data["runs_measured"].between(1, data["runs"] - 1)).any():
        sentences.append("(1 of 2): one of two runs was measured, and the mean is over that one.")
    return " ".join([*sentences, *_where(data)])


def _where(data: pd.DataFrame) -> list[str]:
    processors, gpus = _distinct(data["processors"]), _distinct(data["gpus"])
    if not processors:
        return []
    mixed = len(processors) > 1 or len(gpus) > 1
    warning = ": on different ones the same work takes different times, so compare with care" if mixed else ""
    return [f"Measured on {' and '.join([*processors, *gpus])}{warning}."]


def _distinct(names: pd.Series) -> list[str]:
    """The names in cells of `; ` between names, each once."""
    return sorted({name for cell in names for name in cell.split("; ")} - {""})


def _amount(value: float, form: str, mark: str = "") -> str:
    """A number and then `mark`, or that it was not measured."""
    return NOT_MEASURED if np.isnan(value) else number_text(value, form) + mark


def _spread(deviation: float, form: str) -> str:
    return "" if np.isnan(deviation) else f" ± {deviation:{form}}"


def _of_runs(row: pd.Series) -> str:
    measured, runs = int(row["runs_measured"]), int(row["runs"])
    return f" ({measured} of {runs})" if measured < runs else ""


def _fine(value: float) -> str:
    return ",.1f" if value < 9.95 else ",.0f"
