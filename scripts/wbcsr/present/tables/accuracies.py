"""Tables of accuracies: of all arms, of each class, across variants, and the number of sources behind them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from wbcsr.present.table import Column, Table, each, interval, number, percent, text
from wbcsr.present.text import NONE, number_text
from wbcsr.study import published
from wbcsr.study.labels import SUBSETS, arm_label, summary_label, variant_label
from wbcsr.study.plan import Plan
from wbcsr.text import counted

# The metrics that a verdict can be about.
METRICS = {"macro_recall": "Macro recall", "accuracy": "Accuracy"}
# With fewer images, the counts are printed next to the percentages.
FEW_IMAGES = 100
COMPARISON = "results/tables/comparison.csv"


def arm(trained_on: str = "trained_on", tested_on: str = "tested_on", heading: str = "Arm") -> Column:
    """What a classifier was trained on, and what it was tested on if that differs."""
    return each(trained_on, heading, lambda row: arm_label(row[trained_on], row[tested_on]), style="text")


def subset_title(row: pd.Series) -> str:
    """The images that a block of rows refers to."""
    # The name of an extra test may contain capitals.
    return f"{row['subset'][0].upper()}{row['subset'][1:]} images, split {row['split']}"


def correct(accuracy: float, images: int) -> str:
    """The number of images that were classified correctly, mean over the runs: `27.6 of 32`."""
    return f"{number_text(round(accuracy * images, 1), 'g')} of {images:,}"


def share_of(share: float, images: int) -> str:
    """A share of the images: `89.2 %`; with fewer than 100 images, also the count: `87.5 % (28 of 32)`."""
    return f"{100 * share:.1f}\u00a0%" + (f" ({correct(share, images)})" if images < FEW_IMAGES else "")


SUBSET = [text("split", "Split"), text("subset", "Subset")]
ARM = [*SUBSET, arm()]
SOURCES = text("sources", "Sources", lambda count: number_text(count, ",.0f") or "not known", "number")
CORRECT = each(
    "correct", "Correct", lambda row: correct(row["accuracy"], row["images"]) if row["images"] < FEW_IMAGES else ""
)
# On the page, a block of rows for each split and subset.
BY_SUBSET: dict[str, Any] = {"blocks": ("split", "subset"), "title_of": subset_title}


def summary_table(comparison: pd.DataFrame, endpoints: pd.DataFrame) -> Table:
    """The answer's table: accuracy and macro recall of each variant on one subset.

    `comparison` as in `comparison_table`, and `endpoints` of `wbcsr.stats.endpoints.endpoints`.
    """
    recall = endpoints[endpoints["measure"] == "macro recall"]
    data = comparison.merge(recall[["trained_on", "tested_on", "value", "low", "high"]], on=["trained_on", "tested_on"])
    return Table(
        "summary",
        "Accuracy by variant",
        f"{subset_title(data.iloc[0])}: {_counted(data.iloc[0])}.",
        data,
        [
            arm(heading="Variant"),
            percent("accuracy", "Accuracy"),
            interval("accuracy_low", "accuracy_high", ".1f"),
            percent("value", "Macro recall"),
            interval("low", "high", ".1f"),
            CORRECT,
        ],
        note="Macro recall: mean of the recalls of the classes, each source having the same weight. Each interval "
        "belongs to the number on its left.",
        source=COMPARISON,
    )


def comparison_table(data: pd.DataFrame) -> Table:
    """The accuracies; `data` comes from `wbcsr.stats.comparison.compare_arms`, or is a part of it."""
    has_extra = not data["subset"].isin(SUBSETS).all()
    runs = "one for each seed; of an extra test, one for each seed and fold" if has_extra else "one for each seed"
    note = (
        f"Accuracy and macro F1: mean over the runs ({runs}), ± standard deviation. "
        "Difference: accuracy minus that of training and testing on original. "
    )
    note += (
        "Sources: what the images were made from. Shared: images whose source also has a training image. Images of "
        "unknown source are left out. 95 % CI: of the mean accuracy, computed over sources; none if there are too few."
        if data["sources"].notna().any()
        else "95 % CI: of the mean accuracy, computed over images because their sources are not known; it is too "
        "narrow if some images share a source."
    )
    if data["study_accuracy"].notna().any():
        note += f" Study: its published accuracy on its own validation images, {published.CITATION}."
    return Table(
        "comparison",
        "Comparison",
        "Accuracy of every training variant, on images that it was not trained on.",
        data,
        [
            *ARM,
            percent("accuracy", "Accuracy", spread="accuracy_sd"),
            interval("accuracy_low", "accuracy_high", ".1f"),
            number("macro_f1", "Macro F1", ".3f"),
            each("difference_to_original", "Difference, points", _to_original),
            percent("study_accuracy", "Study", of_study=True),
            CORRECT,
            number("images", "Images", ",.0f"),
            number("sources", "Sources", ",.0f"),
            number("shared", "Shared", ",.0f"),
            number("runs", "Runs", ".0f"),
        ],
        note=note,
        blocks=("split", "subset"),
        in_title=("images", "sources", "shared"),
        title_of=lambda row: f"{subset_title(row)}: {_counted(row)}",
        source=COMPARISON,
    )


def _to_original(row: dict[str, Any]) -> str:
    """The difference to original in points; a dash for original itself."""
    if row["trained_on"] == row["tested_on"] == "original":
        return NONE
    return number_text(100 * row["difference_to_original"], "+.1f")


def _counted(row: pd.Series) -> str:
    """The number of images and sources of an accuracy, and how many of the images have a duplicate in training."""
    images = counted(int(row["images"]), "image")
    if pd.isna(row["sources"]):
        return f"{images}, sources not known"
    shared = share_of(row["shared"] / row["images"], row["images"])
    return f"{images} of {counted(int(row['sources']), 'source')}, {shared} with a duplicate in training"


def f1_table(data: pd.DataFrame, plan: Plan) -> Table:
    """The mean F1 score of each class; `data` as in `comparison_table`."""
    return Table(
        "f1",
        "F1 scores",
        "F1 score of each class, mean over the runs.",
        data,
        [*ARM, *(number(f"f1_{name}", label, ".3f") for name, label in plan.labels.items())],
        source=COMPARISON,
        **BY_SUBSET,
    )


def cross_table(comparison: pd.DataFrame, plan: Plan) -> Table:
    """Accuracy by what a classifier was trained on (rows) and tested on (columns), of the judged split and subset."""
    split, subset = plan.judged
    found = plan.judged_rows(comparison).pivot(index="trained_on", columns="tested_on", values="accuracy")
    above = "Tested on, accuracy in %"
    return Table(
        "cross",
        "Cross-variant evaluation",
        f"Accuracy of classifiers on the {subset} images of each variant, split {split}.",
        found.reindex(index=list(plan.trainings), columns=plan.variants).reset_index(),
        [
            text("trained_on", "Trained on", variant_label),
            *(number(name, variant_label(name), ".1f", above, scale=100) for name in plan.variants),
        ],
        note="Mean over the runs. Bold: tested on the variant that the classifier was trained on.",
        marked=[(row, own) for row, variants in enumerate(plan.trainings.values()) for own in variants],
        source=COMPARISON,
    )


def leakage_table(data: pd.DataFrame, plan: Plan) -> Table:
    """The number of independent sources of each accuracy; `data` comes from `wbcsr.stats.counts.count_sources`."""
    labels = plan.labels | {"": summary_label("All", plan.classes)}
    variants = [name.removeprefix("accuracy_") for name in data if name.startswith("accuracy_")]
    note = "A source is what an image was made from; a duplicate is another image of the same source."
    if (data["split"] == "study").any():
        note += " The study's: its accuracies, and this project's audit of the whole archive."

    def title(row: pd.Series) -> str:
        return "The study's own validation images" if row["split"] == "study" else subset_title(row)

    def shared(row: dict[str, Any]) -> str:
        count, known = number_text(row["shared"], ",.0f"), row["images"] - row["unknown"]
        return f"{count} ({100 * row['shared'] / known:.1f}\u00a0%)" if count and known else ""

    return Table(
        "leakage",
        "Data leakage",
        "Independent sources of the images of each accuracy, and images with a duplicate in training.",
        data,
        [
            *SUBSET,
            text("class", "Class", labels.__getitem__),
            number("images", "Images", ",.0f"),
            SOURCES,
            each("shared", "With a duplicate in training", shared),
            *(percent(f"accuracy_{name}", f"Accuracy, {variant_label(name)}") for name in variants),
        ],
        note=note,
        summaries=[at for at, name in enumerate(data["class"]) if name == ""],
        blocks=("split", "subset"),
        title_of=title,
        source="results/splits/leakage.csv",
    )
