"""What reviewers of such a study ask for, and where the page answers it.

The items follow CLAIM 2024 (Tejani et al., Radiology: Artificial Intelligence 6, 2024, e240300), REFORMS (Kapoor et
al., Science Advances 10, 2024, eadk3452) and TRIPOD+AI (Collins et al., BMJ 385, 2024, e078378).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wbcsr.config import Config, is_synthetic
from wbcsr.report.limits import is_published
from wbcsr.text import counted

GUIDELINES = ("CLAIM 2024", "REFORMS", "TRIPOD+AI")


@dataclass(frozen=True)
class Item:
    """An item: what is asked for, what the page says, and the `id` of the section that says more, if there is one."""

    asked: str
    said: str
    section: str = ""


def checklist(config: Config, learned: dict[str, Any]) -> list[Item]:
    """The items in the order of a paper; `learned` says which of the optional sections the page has."""
    drawn, known = is_synthetic(config), is_published(config)
    unknown = (
        "Not applicable, because the cells are drawn by a program." if drawn else "Not known: the data does not say."
    )
    annotators = (
        "Labels as published with the data set (BCCD); who set them, and by which rule, is not known."
        if known
        else unknown
    )
    leak = "Images of one source are kept together in the split by_source; duplicates in training are counted."
    seeds = len(config["seeds"])
    by_source = "by_source" in config["splits"]
    changed = "changes" if learned["changes"] else "figures"
    return [
        Item("Intended use", "Research on image preprocessing. Not for diagnosis.", "limits"),
        Item("Data source", "The archive; results/dataset/archive.csv has the hash of each file.", "method"),
        Item("Dates of collection", unknown),
        Item("Demographics of patients", unknown),
        Item(
            "Population of the claim", "The images of this archive only; other laboratories are not covered.", "limits"
        ),
        Item("Eligibility, excluded images", "Files that could not be used, with reasons.", "rejected"),
        Item("Reference standard and annotators", annotators),
        Item(
            "Flow of images",
            "Images and sources of each subset and class, as a table instead of a diagram.",
            "table-leakage",
        ),
        Item("Partition", "How images are split into training, validation and test.", "method"),
        Item("Leakage", leak if by_source else leak.replace("are kept", "would be kept"), "table-leakage"),
        Item("Preprocessing", "Resampling of each variant, and the input size of the classifier.", "method"),
        Item(
            "Model and training",
            f"Settings, initial weights, {counted(seeds, 'seed')}, the whole configuration.",
            "method",
        ),
        Item("Metrics with uncertainty", "Accuracy, macro recall and differences with 95 % intervals.", "accuracies"),
        Item("Multiple comparisons", "Holm’s correction; the main comparison is fixed in advance.", "differences"),
        Item("Sample size", "Not planned in advance. Smallest detectable difference, sources needed.", "differences"),
        Item("Calibration", "Expected calibration error and reliability diagram.", "probabilities"),
        Item("Failure analysis", "Confusion matrices and cells whose predicted class changed.", changed),
        Item("External test", "Not done: all images come from one data set."),
        Item("Computing resources", "Machines, versions, time and memory.", "cost"),
        Item("Code, data and model availability", "Configuration, hashes, licences and how to cite.", "limits"),
    ]
