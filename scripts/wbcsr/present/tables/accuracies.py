"""Tables of accuracies: of all arms, of each class, across variants, and of how many sources they are."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Column, Table, interval, number, percent, text
from wbcsr.present.text import NONE, number_text, number_texts
from wbcsr.study import published
from wbcsr.study.labels import SUBSETS, arm_label, class_labels, summary_label, variant_label
from wbcsr.study.plan import Plan
from wbcsr.text import counted


def arm(trained_on: str = "trained_on", tested_on: str = "tested_on", heading: str = "Arm") -> Column:
    """What a classifier was trained on, and on what it was tested where that is something else."""
    return Column(trained_on, heading, lambda rows: map(arm_label, rows[trained_on], rows[tested_on]), style="text")


ARM = [text("split", "Split"), text("subset", "Subset"), arm()]
SOURCE = "results/tables/comparison.csv"
# What verdicts may be about.
METRICS = {"macro_recall": "Macro recall", "accuracy": "Accuracy"}
# Of fewer images, counts are given beside percentages.
FEW_IMAGES = 100


def subset_title(row: pd.Series) -> str:
    """Which images a block of rows is of."""
    # The name of an extra test may have capitals of its own.
    return f"{row['subset'][0].upper()}{row['subset'][1:]} images, split {row['split']}"


def summary_table(comparison: pd.DataFrame, endpoints: pd.DataFrame) -> Table:
    """The answer's table: accuracy and macro recall of each variant; of one subset.

    `comparison` as in `comparison_table`, and `endpoints` of `wbcsr.stats.endpoints.endpoints`.
    """
    recall = endpoints[endpoints["measure"] == "macro recall"]
    data = comparison.merge(recall[["trained_on", "tested_on", "value", "low", "high"]], on=["trained_on", "tested_on"])
    few = data["images"].max() < FEW_IMAGES
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
            *([Column("correct", "Correct", _correct)] if few else []),
        ],
        note="Macro recall: mean of the recalls of the classes, in which every source counts the same. Each interval "
        "is of the number to its left.",
        source=SOURCE,
    )


def _correct(rows: pd.DataFrame) -> list[str]:
    """How many images were classified correctly, mean over the runs."""
    counts = number_texts((rows["accuracy"] * rows["images"]).round(1), "g")
    return [f"{count} of {images:,}" for count, images in zip(counts, rows["images"], strict=True)]


def comparison_table(data: pd.DataFrame) -> Table:
    """The accuracies; `data` is of `wbcsr.stats.comparison.compare_arms`, or some rows of it."""
    has_sources, has_study = data["sources"].notna().any(), data["study_accuracy"].notna().any()
    has_extra = not data["subset"].isin(SUBSETS).all()
    runs = "one for each seed; of an extra test, for each seed and fold" if has_extra else "one for each seed"
    note = (
        f"Accuracy and macro F1: mean over the runs ({runs}), ± standard deviation. "
        "Difference: accuracy minus that of training and testing on original. "
    )
    note += (
        "Sources: what the images were made from. Shared: images whose source also has a training image. Images of "
        "unknown source are left out. 95 % CI: of the mean accuracy, over sources; none if they are too few."
        if has_sources
        else "95 % CI: of the mean accuracy over the images, whose sources are not known; it is too narrow if some "
        "images share a source."
    )
    note += f" Study: accuracy on its own validation images, {published.CITATION}." if has_study else ""
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
            Column("difference_to_original", "Difference, points", _to_original),
            percent("study_accuracy", "Study", of_study=True),
            number("images", "Images", ",.0f"),
            number("sources", "Sources", ",.0f"),
            number("shared", "Shared", ",.0f"),
            number("runs", "Runs", ".0f"),
        ],
        note=note,
        blocks=("split", "subset"),
        told=("images", "sources", "shared"),
        title_of=lambda row: f"{subset_title(row)}: {_counted(row)}",
        source=SOURCE,
    )


def _to_original(rows: pd.DataFrame) -> list[str]:
    """The differences to original in points; a dash for original itself."""
    reference = (rows["trained_on"] == "original") & (rows["tested_on"] == "original")
    texts = number_texts(100 * rows["difference_to_original"], "+.1f")
    return [NONE if itself else text for itself, text in zip(reference, texts, strict=True)]


def _counted(row: pd.Series) -> str:
    """How many images and sources an accuracy is of, and how many of the images have a copy in training."""
    images = counted(int(row["images"]), "image")
    if pd.isna(row["sources"]):
        return f"{images}, sources not known"
    share = 100 * row["shared"] / row["images"]
    return f"{images} of {counted(int(row['sources']), 'source')}, {share:.1f}\u00a0% with a duplicate in training"


def f1_table(data: pd.DataFrame, plan: Plan) -> Table:
    """The mean F1 score of each class; `data` as in `comparison_table`."""
    labels = zip(plan.classes, class_labels(plan.classes), strict=True)
    return Table(
        "f1",
        "F1 scores",
        "F1 score of each class, mean over the runs.",
        data,
        [*ARM, *(number(f"f1_{name}", label, ".3f") for name, label in labels)],
        blocks=("split", "subset"),
        title_of=subset_title,
        source=SOURCE,
    )


def cross_table(comparison: pd.DataFrame, plan: Plan) -> Table:
    """Accuracy by what a classifier was trained on (rows) and tested on (columns), of the judged split and subset."""
    split, subset = plan.judged
    found = plan.judged_rows(comparison).pivot(index="trained_on", columns="tested_on", values="accuracy")
    data = found.reindex(index=list(plan.trainings), columns=plan.variants).reset_index()
    columns = [
        number(name, variant_label(name), ".1f", "Tested on, accuracy in %", scale=100) for name in plan.variants
    ]
    return Table(
        "cross",
        "Cross-variant evaluation",
        f"Accuracy of classifiers on the {subset} images of each variant, split {split}.",
        data,
        [text("trained_on", "Trained on", variant_label), *columns],
        note="Mean over the runs. Bold: tested on the variant that the classifier was trained on.",
        marked=[
            (row, variant)
            for row, training in enumerate(data["trained_on"])
            for variant in plan.variants
            if plan.is_own(training, variant)
        ],
        source=SOURCE,
    )


def leakage_table(data: pd.DataFrame, plan: Plan) -> Table:
    """How many independent sources each accuracy is of; `data` is of `wbcsr.stats.counts.count_sources`."""
    labels = dict(zip(plan.classes, class_labels(plan.classes), strict=True)) | {"": summary_label("All", plan.classes)}
    variants = [name.removeprefix("accuracy_") for name in data if name.startswith("accuracy_")]
    is_published = bool((data["split"] == "study").any())

    def title(row: pd.Series) -> str:
        return "The study's own validation images" if row["split"] == "study" else subset_title(row)

    def shared(rows: pd.DataFrame) -> list[str]:
        shares = rows["shared"] / (rows["images"] - rows["unknown"])
        counts = zip(number_texts(rows["shared"], ",.0f"), number_texts(100 * shares, ".1f"), strict=True)
        return [f"{count} ({share}\u00a0%)" if share else "" for count, share in counts]

    note = "A source is what an image was made from; a duplicate is another image of the same source."
    if is_published:
        note += " The study's: its accuracies, and this project's audit of the whole archive."
    return Table(
        "leakage",
        "Data leakage",
        "Independent sources of the images of each accuracy, and images with a duplicate in training.",
        data,
        [
            text("split", "Split"),
            text("subset", "Subset"),
            text("class", "Class", lambda name: labels[name]),
            number("images", "Images", ",.0f"),
            Column("sources", "Sources", lambda rows: [number_text(n, ",.0f") or "not known" for n in rows["sources"]]),
            Column("shared", "With a duplicate in training", shared),
            *(percent(f"accuracy_{name}", f"Accuracy, {variant_label(name)}") for name in variants),
        ],
        note=note,
        summaries=[at for at, name in enumerate(data["class"]) if name == ""],
        blocks=("split", "subset"),
        title_of=title,
        source="results/splits/leakage.csv",
    )
