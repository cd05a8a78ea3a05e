"""The study's Tables 2 to 6 of our own runs, how all of them compare, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcsr.config import parse_split
from wbcsr.errors import InputError
from wbcsr.evaluate import arm_label, class_labels, cost, study, variant_label
from wbcsr.evaluate.differences import QUESTIONS, differences, recalls
from wbcsr.evaluate.probabilities import Probabilities, calibration_table
from wbcsr.evaluate.records import read_records
from wbcsr.evaluate.scores import Arm, Plan, read_arms
from wbcsr.evaluate.table import Table, interval_texts, number_texts, p_values, write_table
from wbcsr.files import read_csv

# What leakage.csv counts of each split, subset and class.
LEAKAGE = ["images", "sources", "unknown", "shared"]

# Characters that the headings of a table's columns may have together.
PRINTED_WIDTH = 80

NO_ENHANCED = "Empty: the configuration names no variant besides original."


def write_tables(
    images: str | Path,
    sources: str | Path,
    splits: Iterable[str | Path],
    leakage: str | Path,
    predictions: Iterable[str | Path],
    provenances: Iterable[str | Path],
    plan: Plan,
    folder: str | Path,
) -> None:
    """Write every table, each as .csv, .md and .tex, into `folder`.

    `images`, `sources` and `leakage` are the CSV files of that name, `splits` the files <split>.csv and `predictions`
    those of all runs; `provenances` are the records of all jobs that these results come of. InputError where a file
    lacks what it must have.
    """
    arms = read_arms(predictions, splits, sources, plan)
    records = read_records(map(Path, provenances), ["rule", "wildcards", "machine"])
    comparison = comparison_table(arms, read_leakage(leakage), plan)
    original = main_arm(arms, plan, "original")
    enhanced = main_arm(arms, plan, plan.enhanced)
    for table in (
        counts_table(read_csv(images, ["partition", "class"]), plan),
        scores_table("table3", original, plan),
        scores_table("table4", enhanced, plan),
        confusion_table("table5", original, plan),
        confusion_table("table6", enhanced, plan),
        comparison,
        differences_table(arms, plan),
        recalls_table(arms, plan),
        probabilities_table(arms),
        cost_table(records, comparison.data, plan),
    ):
        write_table(table, folder)


def read_leakage(path: str | Path) -> pd.DataFrame:
    """leakage.csv with the folds of each split put together, by split, subset and class: the columns `LEAKAGE`.

    The row of a whole subset has an empty class. InputError as in `read_csv`.
    """
    table = read_csv(path, ["split", "subset", "class", *LEAKAGE])
    table["split"] = [parse_split(name)[0] for name in table["split"]]
    # Folds test different sources, so their numbers add up.
    return table.groupby(["split", "subset", "class"], sort=False)[LEAKAGE].sum()


def main_arm(arms: list[Arm], plan: Plan, variant: str | None) -> Arm | None:
    """The arm that the study's tables show: trained and tested on `variant`, validation images, first split."""
    wanted = (plan.splits[0], variant, variant, "validation")
    return next((arm for arm in arms if (arm.split, arm.trained_on, arm.tested_on, arm.subset) == wanted), None)


def counts_table(images: pd.DataFrame, plan: Plan) -> Table:
    """Table 2: images of each class by published partition where there are any, the study's counts beside ours.

    `images` has a row for each image and the columns partition and class. The study's columns are empty
    for a class that it does not have, and so is their total unless it has all of them.
    """
    divided = "test" in plan.partitions
    uses = list(plan.partitions) if divided else ["train", "test"]
    counted = pd.crosstab(images["class"], images["partition"])
    ours = counted.reindex(index=plan.classes, columns=map(plan.partitions.get, uses), fill_value=0).to_numpy()
    published = study.counts().reindex([name.upper() for name in plan.classes]).to_numpy()
    by_class = np.column_stack([ours, ours.sum(axis=1), published, published.sum(axis=1)])
    counts = pd.DataFrame(
        np.vstack([by_class, by_class.sum(axis=0)]),
        columns=[*uses, "total", "study_train", "study_test", "study_total"],
    ).astype("Int64")
    known = not np.isnan(published).all()
    headings = {
        name: name.removeprefix("study_").capitalize() + (", study" if name.startswith("study_") else "")
        for name in counts
    }
    shown = [
        name for name in counts if (known or not name.startswith("study_")) and (divided or name.endswith("total"))
    ]
    printed = pd.DataFrame({"Class": [*class_labels(plan.classes), "Total"]})
    printed[[headings[name] for name in shown]] = counts[shown].apply(number_texts, form=",d")
    counts.insert(0, "class", [*plan.classes, "total"])
    *others, last = [f"{name} ({use})" for use, name in plan.partitions.items()]
    return Table(
        name="table2",
        title="Table 2",
        caption=f"Images of each class, as published in {', '.join(others)} and {last}."
        if divided
        else "Images of each class.",
        data=counts,
        printed=printed,
        note=f"Study: {study.CITATION}." if known else "",
        summary_rows=1,
    )


def scores_table(name: str, arm: Arm | None, plan: Plan) -> Table:
    """Tables 3 and 4: the scores of each class and their averages, of the arm's first run.

    Without an arm, a table without rows that says why.
    """
    ratios = ["precision", "recall", "f1"]
    rows: list[list[object]] = []
    if arm:
        scores = arm.scores[0]
        rows = [[label, *row[ratios], row["support"]] for label, row in scores.by_class.iterrows()]
        rows.append(["accuracy", None, None, scores.accuracy, arm.images])
        rows.append(["macro average", *scores.macro, arm.images])
        rows.append(["weighted average", *scores.weighted, arm.images])
    data = pd.DataFrame(rows, columns=["class", *ratios, "support"]).astype(
        {**dict.fromkeys(ratios, float), "support": int}
    )
    labels = [*class_labels(plan.classes), "Accuracy", "Macro average", "Weighted average"]
    printed = pd.DataFrame(
        {
            "Class": labels if arm else [],
            "Precision": number_texts(data["precision"], ".2f"),
            "Recall": number_texts(data["recall"], ".2f"),
            "F1 score": number_texts(data["f1"], ".2f"),
            "Support": number_texts(data["support"], ",d"),
        }
    )
    return Table(
        name=name,
        title=_title(name),
        caption=f"Precision, recall and F1 score of each class. {_one_training(arm)}" if arm else NO_ENHANCED,
        data=data,
        printed=printed,
        summary_rows=3 if arm else 0,
    )


def confusion_table(name: str, arm: Arm | None, plan: Plan) -> Table:
    """Tables 5 and 6: the confusion matrix of the arm's first run, rows actual, columns predicted.

    Without an arm, a table without rows that says why.
    """
    matrix = arm.first[1] if arm else pd.DataFrame(columns=plan.classes, dtype=int)
    headings = labels = class_labels(plan.classes)
    if len("".join(labels)) > PRINTED_WIDTH:  # too wide for a page: the columns take the numbers of the rows
        headings = [str(number) for number in range(1, len(labels) + 1)]
        labels = [f"{number} {label}" for number, label in zip(headings, labels, strict=True)]
    printed = matrix.map("{:,d}".format).set_axis(headings, axis=1)
    printed.insert(0, "Actual", labels if arm else [], allow_duplicates=True)
    data = matrix.copy()
    data.insert(0, "actual", matrix.index, allow_duplicates=True)
    return Table(
        name=name,
        title=_title(name),
        caption=f"Confusion matrix, rows actual and columns predicted. {_one_training(arm)}" if arm else NO_ENHANCED,
        data=data,
        printed=printed,
    )


def comparison_table(arms: list[Arm], leakage: pd.DataFrame, plan: Plan) -> Table:
    """A row for each arm: accuracy with its spread and interval, what stands behind it, macro F1, and the study's.

    `accuracy` and `macro_f1` are means over the runs (one for each seed), `accuracy_sd` is the sample standard
    deviation over them, `accuracy_low` and `accuracy_high` are the 95 % interval of the mean accuracy over sources
    (`wbcsr.evaluate.statistics.accuracy_interval`), empty where there can be none, for `reason`. Where some sources
    are known, `images` and accuracies are of the images of known source, and `unknown` is how many others there are;
    F1 scores are of all. `sources` and `shared` are of `read_leakage`: how many sources the images come of (empty where
    none is known), and how many images have a copy of theirs in training. `study_accuracy` follows from the study's
    confusion matrices, and `difference_to_original` is to the arm trained and tested on `original` of the same split
    and subset. The CSV also has the mean F1 score of each class, as `f1_<class>`.
    """
    on_original = {
        (arm.split, arm.subset): arm.accuracy for arm in arms if arm.trained_on == arm.tested_on == "original"
    }
    rows = []
    for arm in arms:
        f1 = pd.concat([scores.by_class["f1"] for scores in arm.scores], axis=1).mean(axis=1)
        behind = leakage.loc[arm.split, arm.subset, ""]
        if behind["images"] != arm.images:
            raise InputError(
                f"leakage.csv: has {behind['images']} {arm.subset} images of the split {arm.split}, but {arm.images} "
                "were predicted; run `snakemake --forcerun audit_leakage`"
            )
        rows.append(
            {
                "split": arm.split,
                "trained_on": arm.trained_on,
                "tested_on": arm.tested_on,
                "subset": arm.subset,
                "reason": arm.estimate.reason,
                "images": arm.estimate.images,
                "unknown": behind["unknown"],
                "sources": behind["sources"] if arm.has_sources else np.nan,
                "shared": behind["shared"] if arm.has_sources else np.nan,
                "runs": len(arm.accuracies),
                "accuracy": arm.accuracy,
                "accuracy_sd": pd.Series(arm.accuracies).std(),
                "accuracy_low": arm.estimate.low,
                "accuracy_high": arm.estimate.high,
                "macro_f1": f1.mean(),
                "study_accuracy": study.accuracy(arm.split, arm.trained_on, arm.tested_on, arm.subset, plan.classes),
                "difference_to_original": arm.accuracy - on_original[arm.split, arm.subset],
                **{f"f1_{name}": value for name, value in f1.items()},
            }
        )
    data = pd.DataFrame(rows).astype({"study_accuracy": float, "sources": "Int64", "shared": "Int64"})
    reference = (data["trained_on"] == "original") & (data["tested_on"] == "original")
    deviations = [f" ± {sd}" if sd else "" for sd in number_texts(data["accuracy_sd"], ".3f")]
    printed = pd.DataFrame(
        {
            **_arm_texts(data),
            "Sources": number_texts(data["sources"], ",d"),
            "Shared": number_texts(data["shared"], ",d"),
            "Runs": number_texts(data["runs"], "d"),
            "Accuracy": [mean + sd for mean, sd in zip(number_texts(data["accuracy"], ".3f"), deviations, strict=True)],
            "95 % CI": interval_texts(data["accuracy_low"], data["accuracy_high"], ".3f"),
            "Macro F1": number_texts(data["macro_f1"], ".3f"),
            "Difference": number_texts(data["difference_to_original"].mask(reference), "+z.3f"),
            "Study": number_texts(data["study_accuracy"], ".3f"),
        }
    )
    known = data["study_accuracy"].notna().any()
    named = data["sources"].notna().any()
    note = (
        "Accuracy and macro F1: mean over the runs, ± the standard deviation over them. "
        "Difference: accuracy minus that of training and testing on original. "
    )
    note += (
        "Sources: what the images were made from; shared: images of a source that also has a training image; images of "
        "unknown source are left out of accuracies. 95 % CI: of the mean accuracy, over sources; none where they are "
        "too few. "
        if named
        else "95 % CI: of the mean accuracy over the images, whose sources are not known; if some share one, it is too "
        "narrow. "
    )
    note += f"Study: accuracy on its own validation images, {study.CITATION}. " if known else ""
    hidden = [*([] if known else ["Study"]), *([] if named else ["Sources", "Shared"])]
    return Table(
        name="comparison",
        title="Comparison",
        caption="Accuracy of every training variant, split and subset" + (", and the study's." if known else "."),
        data=data,
        printed=printed.drop(columns=hidden),
        note=note + "F1 scores of each class: comparison.csv.",
        text_columns=4,
    )


def differences_table(arms: list[Arm], plan: Plan) -> Table:
    """A row for each comparison of two arms; see `wbcsr.evaluate.differences.differences`."""
    data = differences(arms, plan)
    printed = pd.DataFrame(
        {
            "Split": data["split"],
            "Subset": data["subset"],
            "Question": data["question"].map(QUESTIONS),
            "Arm": [arm_label(*names) for names in zip(data["trained_on"], data["tested_on"], strict=True)],
            "Against": [
                arm_label(*names) for names in zip(data["against_trained_on"], data["against_tested_on"], strict=True)
            ],
            **_compared(data),
        }
    )
    return Table(
        name="differences",
        title="Differences",
        caption="Accuracy of an arm minus that of another on the same images.",
        data=data,
        printed=printed,
        note=_of_differences(data, "all comparisons of its split and subset"),
        text_columns=5,
    )


def recalls_table(arms: list[Arm], plan: Plan) -> Table:
    """A row for each class, and for the pair that the study is about; see `wbcsr.evaluate.differences.recalls`."""
    data = recalls(arms, plan)
    labels = dict(zip(plan.classes, class_labels(plan.classes), strict=True))
    pair = study.pair(plan.classes)
    if pair:
        labels[" and ".join(pair)] = " and ".join(labels[name] for name in pair)
    printed = pd.DataFrame(
        {
            "Split": data["split"],
            "Subset": data["subset"],
            "Measure": data["measure"],
            "Of": data["of"].map(labels),
            "Enlarged": number_texts(data["share"], ".3f"),
            "Original": number_texts(data["against"], ".3f"),
            **_compared(data),
        }
    )
    return Table(
        name="recalls",
        title="Recalls",
        caption=f"What {variant_label(plan.enhanced)} changes for each class." if plan.enhanced else NO_ENHANCED,
        data=data,
        printed=printed,
        note="Recall: share of a class's images that were found. Pair accuracy: share of both classes' images that "
        "were right; pair confusion: share that was taken for the other of the two. "
        + _of_differences(data, "all rows of its split and subset"),
        text_columns=4,
    )


def probabilities_table(arms: list[Arm]) -> Table:
    """A row for each arm: what its probabilities are worth; see `wbcsr.evaluate.probabilities.calibration_table`."""
    data = calibration_table(map(Probabilities.of, arms))
    printed = pd.DataFrame(
        {
            **_arm_texts(data),
            "ECE": number_texts(data["ece"], ".3f"),
            "Confidence": number_texts(data["confidence"], ".3f"),
            "Accuracy": number_texts(data["accuracy"], ".3f"),
            "AUC": number_texts(data["auc"], ".3f"),
            "AP": number_texts(data["average_precision"], ".3f"),
        }
    )
    return Table(
        name="calibration",
        title="Calibration",
        caption="How honest the probabilities are, and how well they rank the images of each class before the others.",
        data=data,
        printed=printed,
        note="Means over the seeds. ECE: expected calibration error in 15 bins, above 0 by chance alone where images "
        "are few. Confidence: mean of the largest probability. AUC, AP: area under the ROC curve and average "
        "precision, means over the classes; those of each class: calibration.csv.",
        text_columns=4,
    )


def _arm_texts(data: pd.DataFrame) -> dict[str, Any]:
    """The columns that say which arm a row is of, as text."""
    return {
        "Split": data["split"],
        "Trained on": data["trained_on"].map(variant_label),
        "Tested on": data["tested_on"].map(variant_label),
        "Subset": data["subset"],
        "Images": number_texts(data["images"], ",d"),
    }


def _compared(data: pd.DataFrame) -> dict[str, list[str]]:
    """The columns of numbers that `differences` and `recalls` share, as text."""
    return {
        "Images": number_texts(data["images"], ",d"),
        "Sources": number_texts(data["sources"], ",.0f"),
        "Difference": number_texts(data["difference"], "+z.3f"),
        "95 % CI": interval_texts(data["low"], data["high"], "+z.3f"),
        "p": p_values(data["p_sources"]),
        "p, Holm": p_values(data["p_holm"]),
        "p, McNemar": p_values(data["p_mcnemar"]),
    }


def _of_differences(data: pd.DataFrame, family: str) -> str:
    told = (
        "Differences are means over the seeds. 95 % CI over sources, none where too few differ; p: two-sided, arms "
        f"exchanged source by source; Holm: corrected for {family}; McNemar: of the first seed, takes images for "
        "independent and is too small where they share sources."
    )
    if data["sources"].isna().any():
        told += " No source is known, so every image counts as one of its own."
    return told


def cost_table(records: list[dict[str, Any]], comparison: pd.DataFrame, plan: Plan) -> Table:
    """A row for each arm: what it cost beside its accuracy on the test images; see `wbcsr.evaluate.cost.costs`.

    `records` are the provenances of all jobs, `comparison` is the data of `comparison_table`.
    """
    data = cost.costs(records, plan.own(comparison), plan.seeds)
    return Table(
        name="cost",
        title="Cost",
        caption="What each training variant cost, and what it brought in accuracy on the test images.",
        data=data,
        printed=cost.printed(data),
        note=" ".join(filter(None, [cost.per_thousand(data), cost.explanation(data)])),
        text_columns=2,
    )


def _title(name: str) -> str:
    return f"Table {name.removeprefix('table')}"


def _one_training(arm: Arm) -> str:
    trainings = {"paper": "one training, as in the study", "by_source": "one training for each fold"}
    once = trainings.get(arm.split, "one training")
    of = f"{arm.subset} images of the split {arm.split}; {once} (seed {arm.first[0]})."
    return f"Trained and tested on {variant_label(arm.trained_on)} images; {of}"
