from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test_scores import Results, arms_of, write_results
from wbcsr.dataset.split import leakage
from wbcsr.errors import InputError
from wbcsr.evaluate.cost import NUMBERS, TEXTS
from wbcsr.evaluate.table import Table, latex_text, markdown_text, number_texts, read_table, write_table
from wbcsr.evaluate.tables import (
    comparison_table,
    counts_table,
    differences_table,
    main_arm,
    probabilities_table,
    read_leakage,
    recalls_table,
    scores_table,
    write_tables,
)
from wbcsr.files import read_csv

STUDY_CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
NAMES = [
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "comparison",
    "differences",
    "recalls",
    "calibration",
    "cost",
]


def write_all(results: Results, folder: Path, *provenances: Path) -> None:
    write_tables(
        results.images,
        results.sources,
        results.splits,
        results.leakage,
        results.predictions,
        provenances,
        results.plan,
        folder,
    )


def written(folder: Path, classes: list[str], variants: list[str], **more: object) -> Path:
    results = write_results(folder, classes, variants, **more)  # type: ignore[arg-type]
    write_all(results, folder / "tables")
    return folder / "tables"


def rows(path: Path) -> list[list[str]]:
    """The cells of the rows of a Markdown table, without its heading."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def study_results(tmp_path: Path) -> Results:
    """48 images a class and partition, two of a source, of which the enlarged ones do worse.

    Of the test images it takes the first three of each class for the next class, of the validation images one
    eosinophil for a neutrophil.
    """
    variants = ["original", "bicubic_x4", "realesrgan_x4"]
    results = write_results(tmp_path, STUDY_CLASSES, variants, per_class=48, copies=2)
    wrong = {
        f"TEST/{name}/{number}.png": following
        for name, following in zip(STUDY_CLASSES, [*STUDY_CLASSES[1:], STUDY_CLASSES[0]], strict=True)
        for number in range(3)
    }
    wrong["TRAIN/EOSINOPHIL/0.png"] = "NEUTROPHIL"
    path = next(path for path in results.predictions if path.match("realesrgan_x4/seed0/realesrgan_x4.csv"))
    table = pd.read_csv(path)
    table["predicted"] = table["image"].map(wrong).fillna(table["predicted"])
    for name in STUDY_CLASSES:
        table[name] = (table["predicted"] == name).map({True: 0.7, False: 0.1})
    table.to_csv(path, index=False)
    return results


COMPARED = ["Images", "Sources", "Difference", "95 % CI", "p", "p, Holm", "p, McNemar"]
ARM = ["Split", "Trained on", "Tested on", "Subset"]
# The headings of each table, words and numbers; and phrases that explain them.
HEADINGS: dict[str, tuple[list[str], list[str]]] = {
    "table2": (["Class"], ["Train", "Test", "Total", "Train, study", "Test, study", "Total, study"]),
    "table3": (["Class"], ["Precision", "Recall", "F1 score", "Support"]),
    "table4": (["Class"], ["Precision", "Recall", "F1 score", "Support"]),
    "table5": (["Actual"], ["Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil"]),
    "table6": (["Actual"], ["Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil"]),
    "comparison": (
        ARM,
        ["Images", "Sources", "Shared", "Runs", "Accuracy", "95 % CI", "Macro F1", "Difference", "Study"],
    ),
    "differences": (["Split", "Subset", "Question", "Arm", "Against"], COMPARED),
    "recalls": (["Split", "Subset", "Measure", "Of"], ["Enlarged", "Original", *COMPARED]),
    "calibration": (ARM, ["Images", "ECE", "Confidence", "Accuracy", "AUC", "AP"]),
}
PHRASES = {
    "table2": ["**Table 2.** Images", "as published in TRAIN (train) and TEST (test)", "Study: Nagarhalli"],
    "table4": [
        "**Table 4.** Precision, recall and F1 score of each class. Trained and tested on Real-ESRGAN ×4 images",
        "validation images of the split paper; one training, as in the study (seed 0).",
    ],
    "table6": ["**Table 6.** Confusion", "columns predicted. Trained and tested on Real-ESRGAN ×4 images"],
    "comparison": [
        *("**Comparison.** Accuracy of every training variant", ", and the study's.", "± the standard deviation"),
        *("Difference: accuracy minus that of", "Sources: what the images were made from", "source are left out"),
        *("too few. Study: accuracy on its own validation images", ". F1 scores of each class: comparison.csv."),
    ],
    "differences": [
        *("**Differences.** Accuracy of an arm minus that of another", "over the seeds. 95 % CI over sources"),
        *("exchanged source by source", "corrected for all comparisons of its split and subset;"),
        "independent and is too small where they share sources.",
    ],
    "recalls": [
        *("**Recalls.** What Real-ESRGAN ×4 changes for each class.", "Recall: share of a class's images"),
        *("pair confusion: share", "of the two. Differences are means", "corrected for all rows of its split"),
    ],
    "calibration": [
        *("**Calibration.** How honest the probabilities are", "expected calibration error in 15 bins"),
        *("mean of the largest probability", "area under the ROC curve", "calibration.csv."),
    ],
    "cost": ["**Cost.** What each training variant cost"],
}


def test_tables_say_what_they_show_and_have_words_to_the_left(study_results: Results, tmp_path: Path) -> None:
    write_all(study_results, tmp_path / "tables")
    texts = {name: (tmp_path / "tables" / f"{name}.md").read_text(encoding="utf-8") for name in NAMES}
    for name, (words, numbers) in HEADINGS.items():
        headings, below = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in texts[name].splitlines()[2:4]
        )
        assert headings == [*words, *numbers]
        assert [cell.endswith(":") for cell in below] == [False] * len(words) + [True] * len(numbers)
    assert [cell.endswith(":") for cell in texts["cost"].splitlines()[3].strip("|").split("|")][:3] == [
        False,
        False,
        True,
    ]
    lacking = [(name, phrase) for name, phrases in PHRASES.items() for phrase in phrases if phrase not in texts[name]]
    assert lacking == []
    for name, above in (("table2", "Neutrophil & 48 & 48 & 96"), ("table4", "Neutrophil & 0.94 & 1.00 & 0.97")):
        lines = (tmp_path / "tables" / f"{name}.tex").read_text().splitlines()
        (last,) = (number for number, line in enumerate(lines) if line.startswith(above))
        assert lines[last + 1] == r"\midrule"


def test_scores_by_hand(study_results: Results) -> None:
    """One of 16 eosinophils was taken for a neutrophil: recall 15/16, precision of neutrophils 16/17."""
    plan = study_results.plan
    table = scores_table("table4", main_arm(arms_of(study_results), plan, "realesrgan_x4"), plan)
    assert table.printed.to_numpy().tolist() == [
        ["Eosinophil", "1.00", "0.94", "0.97", "16"],
        ["Lymphocyte", "1.00", "1.00", "1.00", "16"],
        ["Monocyte", "1.00", "1.00", "1.00", "16"],
        ["Neutrophil", "0.94", "1.00", "0.97", "16"],
        ["Accuracy", "", "", "0.98", "64"],
        ["Macro average", "0.99", "0.98", "0.98", "64"],
        ["Weighted average", "0.99", "0.98", "0.98", "64"],
    ]
    assert table.data.iloc[0].tolist() == ["EOSINOPHIL", 1, 15 / 16, 30 / 31, 16]
    assert table.data["support"].dtype.kind == "i"


def printed_beside_data(table: Table, columns: int, *cells: str) -> tuple[list[str], pd.Series]:
    """The one row that begins with `cells`, so many columns of it, as it is printed and as it is."""
    (number,) = (at for at, row in enumerate(table.printed.to_numpy().tolist()) if row[: len(cells)] == [*cells])
    return table.printed.iloc[number].tolist()[columns:], table.data.iloc[number]


def test_the_comparison_as_it_is_printed(study_results: Results) -> None:
    """12 of 192 test images are wrong, none has a copy in training; all of the 64 validation images have."""
    table = comparison_table(arms_of(study_results), read_leakage(study_results.leakage), study_results.plan)
    arm = ["paper", "Real-ESRGAN ×4", "Real-ESRGAN ×4"]
    numbers, row = printed_beside_data(table, 4, *arm, "test")
    interval = f"{row['accuracy_low']:.3f}–{row['accuracy_high']:.3f}"
    assert numbers == ["192", "96", "0", "1", "0.938", interval, "0.938", "−0.062", ""]
    assert row["unknown"] == 0
    numbers, _ = printed_beside_data(table, 4, *arm, "validation")
    assert (numbers[:5], numbers[-2:]) == (["64", "64", "64", "1", "0.984"], ["−0.016", "0.893"])


def test_the_differences_as_they_are_printed(study_results: Results) -> None:
    """Eight sources differ, all to one side; of the images twelve. The bicubic arms equal the original ones."""
    table = differences_table(arms_of(study_results), study_results.plan)
    question = "Enlarged instead of original"
    numbers, row = printed_beside_data(table, 5, "paper", "test", question, "Real-ESRGAN ×4", "original")
    interval = f"{row['low']:+.3f} to {row['high']:+.3f}".replace("-", "−")
    assert numbers == ["192", "96", "−0.062", interval, "0.008", "0.023", "<0.001"]


def test_the_recalls_as_they_are_printed(study_results: Results) -> None:
    """Of each class two sources and three images differ; of the pair four and six, and half of them are confused."""
    table = recalls_table(arms_of(study_results), study_results.plan)
    numbers, _ = printed_beside_data(table, 4, "paper", "test", "recall", "Eosinophil")
    assert numbers == ["0.938", "1.000", "48", "24", "−0.062", "", "0.500", "1.000", "0.250"]
    numbers, _ = printed_beside_data(table, 4, "paper", "test", "pair accuracy", "Eosinophil and Neutrophil")
    assert numbers == ["0.938", "1.000", "96", "48", "−0.062", "", "0.125", "0.750", "0.031"]
    numbers, _ = printed_beside_data(table, 4, "paper", "test", "pair confusion", "Eosinophil and Neutrophil")
    assert numbers[:2] == ["0.031", "0.000"]


def test_the_calibration_as_it_is_printed(study_results: Results) -> None:
    table = probabilities_table(arms_of(study_results))
    numbers, row = printed_beside_data(table, 4, "paper", "Real-ESRGAN ×4", "Real-ESRGAN ×4", "test")
    assert row["ece"] == pytest.approx(0.9375 - 0.7)
    assert row["auc"] != row["average_precision"]
    areas = [f"{row['auc']:.3f}", f"{row['average_precision']:.3f}"]
    assert numbers == ["192", f"{row['ece']:.3f}", "0.700", "0.938", *areas]


@pytest.mark.parametrize("classes", [["a", "b"], [f"class_{number} of 8" for number in range(8)]])
def test_every_table_is_written_in_three_formats(tmp_path: Path, classes: list[str]) -> None:
    tables = written(tmp_path, classes, ["original", "realesrgan_x4"], dual=True)
    assert sorted(path.name for path in tables.iterdir()) == sorted(
        f"{name}{suffix}" for name in NAMES for suffix in (".csv", ".md", ".tex")
    )
    assert len(read_csv(tables / "table5.csv", ["actual", *classes])) == len(classes)


def test_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, STUDY_CLASSES, ["original", "bicubic_x2"]) for name in "12")
    assert all((first / path.name).read_bytes() == path.read_bytes() for path in second.iterdir())


def test_table2_counts_images_beside_the_study(tmp_path: Path) -> None:
    tables = written(tmp_path, STUDY_CLASSES, ["original"], per_class=5)
    data = pd.read_csv(tables / "table2.csv")
    assert data.columns.tolist() == ["class", "train", "test", "total", "study_train", "study_test", "study_total"]
    assert data.iloc[0].tolist() == ["EOSINOPHIL", 5, 5, 10, 2497, 623, 3120]
    assert data.iloc[-1].tolist() == ["total", 20, 20, 40, 9957, 2487, 12444]
    assert rows(tables / "table2.md")[-1] == ["Total", "20", "20", "40", "9,957", "2,487", "12,444"]


@pytest.mark.parametrize(
    ("classes", "study_rows", "printed_columns"),
    [
        (["BASOPHIL", "MONOCYTE"], [["", "", ""], ["2478", "620", "3098"], ["", "", ""]], 7),
        (["a", "b"], [[""] * 3] * 3, 4),
    ],
)
def test_table2_has_the_studys_counts_of_its_own_classes_only(
    tmp_path: Path, classes: list[str], study_rows: list[list[str]], printed_columns: int
) -> None:
    tables = written(tmp_path, classes, ["original"])
    assert read_csv(tables / "table2.csv", []).iloc[:, 4:].astype(str).to_numpy().tolist() == study_rows
    assert len(rows(tables / "table2.md")[0]) == printed_columns
    assert ("Nagarhalli" in (tables / "table2.tex").read_text()) == (printed_columns == 7)


def test_table2_without_partitions_counts_all_images(tmp_path: Path) -> None:
    plan = replace(write_results(tmp_path, ["B", "none", "A"], ["original"]).plan, partitions={"train": "ALL"})
    table = counts_table(pd.DataFrame({"class": ["A", "B", "A"], "partition": "ALL"}), plan)
    assert table.caption == "Images of each class."
    assert table.printed.to_dict("list") == {"Class": ["B", "none", "A", "Total"], "Total": ["1", "0", "2", "3"]}
    assert table.data["total"].tolist() == [1, 0, 2, 3]
    assert table.note == ""


def test_table2_counts_a_validation_partition(tmp_path: Path) -> None:
    partitions = {"train": "fit", "validation": "val", "test": "check"}
    plan = replace(write_results(tmp_path, ["B", "A"], ["original"]).plan, partitions=partitions)
    images = pd.DataFrame({"class": ["A", "B", "A", "A"], "partition": ["fit", "fit", "val", "check"]})
    table = counts_table(images, plan)
    assert all(f"{name} ({use})" in table.caption for use, name in partitions.items())
    counts = table.data.set_index("class")[["train", "validation", "test", "total"]]
    assert counts.to_numpy().tolist() == [[1, 0, 0, 1], [1, 1, 1, 3], [2, 1, 1, 4]]
    assert list(table.printed) == ["Class", "Train", "Validation", "Test", "Total"]


def test_tables_3_to_6_show_the_first_seed_of_the_first_split(tmp_path: Path) -> None:
    tables = written(
        tmp_path, ["A", "B"], ["original", "realesrgan_x4"], splits=("by_source", "paper"), seeds=(4, 9), per_class=6
    )
    data = pd.read_csv(tables / "table3.csv")
    assert data["class"].tolist() == ["A", "B", "accuracy", "macro average", "weighted average"]
    assert data["support"].tolist() == [2, 2, 4, 4, 4]
    assert data["f1"].tolist() == [1] * 5
    assert data.iloc[2][["precision", "recall"]].isna().all()
    for name, variant in (("table3", "original"), ("table6", "Real-ESRGAN ×4")):
        caption = (tables / f"{name}.md").read_text(encoding="utf-8").splitlines()[0]
        assert variant in caption
        assert "seed 4" in caption
        assert r"split by\_source; one training for each fold (seed 4)." in caption


def test_confusion_table_has_actual_rows(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B", "C"], ["original"])
    table = pd.read_csv(results.predictions[0])
    table.loc[table["image"] == "TRAIN/A/0.png", "predicted"] = "C"
    table.to_csv(results.predictions[0], index=False)
    write_all(results, tmp_path)
    assert rows(tmp_path / "table5.md") == [["A", "1", "0", "1"], ["B", "0", "2", "0"], ["C", "0", "0", "2"]]
    assert (tmp_path / "table5.csv").read_text() == "actual,A,B,C\nA,1,0,1\nB,0,2,0\nC,0,0,2\n"


def test_wide_confusion_table_is_printed_with_numbers_for_headings(tmp_path: Path) -> None:
    classes = [f"immature granulocyte {letter}" for letter in "abcd"]
    tables = written(tmp_path, classes, ["original"])
    assert read_csv(tables / "table5.csv", classes)["actual"].tolist() == classes
    text = (tables / "table5.md").read_text()
    assert [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]] == ["Actual", "1", "2", "3", "4"]
    assert rows(tables / "table5.md")[1] == ["2 immature granulocyte b", "0", "2", "0", "0"]


@pytest.mark.parametrize(("letters", "headings"), [(40, ["a" * 40, "b" * 40]), (41, ["1", "2"])])
def test_headings_are_numbers_where_names_do_not_fit_a_page(tmp_path: Path, letters: int, headings: list[str]) -> None:
    tables = written(tmp_path, ["a" * letters, "b" * letters], ["original"])
    line = (tables / "table5.md").read_text().splitlines()[2]
    assert [cell.strip() for cell in line.strip("|").split("|")] == ["Actual", *headings]


def test_a_class_may_have_the_name_of_a_heading(tmp_path: Path) -> None:
    tables = written(tmp_path, ["Actual", "actual"], ["original"])
    assert (tables / "table5.csv").read_text() == "actual,Actual,actual\nActual,2,0\nactual,0,2\n"
    assert rows(tables / "table5.md") == [["Actual", "2", "0"], ["actual", "0", "2"]]


def test_without_another_variant_tables_4_and_6_say_so(tmp_path: Path) -> None:
    tables = written(tmp_path, ["A", "B"], ["original"])
    assert (tables / "table4.csv").read_text() == "class,precision,recall,f1,support\n"
    assert (tables / "table6.csv").read_text() == "actual,A,B\n"
    for name in ("table4", "table6"):
        assert "no variant besides original" in (tables / f"{name}.md").read_text()
        assert "no variant besides original" in (tables / f"{name}.tex").read_text()
    assert (tables / "table4.tex").read_text().count(r"\midrule") == 1
    assert "no variant besides original" in (tables / "recalls.md").read_text()


def test_comparison_by_hand(tmp_path: Path) -> None:
    tables = written(tmp_path, STUDY_CLASSES, ["original", "realesrgan_x4"], dual=True, seeds=(0, 1))
    data = pd.read_csv(tables / "comparison.csv").set_index(["trained_on", "tested_on", "subset"])
    assert len(data) == 8
    row = data.loc[("realesrgan_x4", "realesrgan_x4", "validation")]
    # Seed 0 is right for all 8 validation images, seed 1 for half of them.
    assert (row["images"], row["runs"], row["accuracy"]) == (8, 2, 0.75)
    assert row["accuracy_sd"] == pytest.approx(0.125**0.5)
    # Eight validation images of as many sources, none of which has a training image; an interval needs ten sources.
    assert (row["sources"], row["shared"]) == (8, 0)
    assert row[["accuracy_low", "accuracy_high"]].isna().all()
    assert row["reason"] == "8 sources are worth 8.0 equally large ones; an interval needs 10"
    test = data.loc[("realesrgan_x4", "realesrgan_x4", "test")]
    assert test["accuracy_low"] < test["accuracy"] < test["accuracy_high"]
    assert row["macro_f1"] == pytest.approx(0.75)
    assert row["f1_MONOCYTE"] == pytest.approx(0.75)
    assert row["study_accuracy"] == pytest.approx(1777 / 1989)
    assert row["difference_to_original"] == 0
    assert data["study_accuracy"].notna().sum() == 2
    assert data.loc[("original", "original", "validation"), "study_accuracy"] == pytest.approx(1825 / 1989)
    printed = {tuple(row[1:4]): row for row in rows(tables / "comparison.md")}
    assert printed["original", "original", "validation"][8:] == ["0.750 ± 0.354", "", "0.750", "", "0.918"]
    assert printed["dual", "original", "validation"][8:] == ["0.750 ± 0.354", "", "0.750", "+0.000", ""]


def test_comparison_is_to_original_of_the_same_split_and_subset(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "bicubic_x2"], splits=("paper", "by_source"))
    worse = next(path for path in results.predictions if path.match("by_source/original/seed0/original.csv"))
    table = pd.read_csv(worse)
    table.loc[table["image"] == "TEST/A/0.png", "predicted"] = "B"
    table.to_csv(worse, index=False)
    comparison = comparison_table(arms_of(results), read_leakage(results.leakage), results.plan)
    data = comparison.data.set_index(["split", "trained_on", "subset"])["difference_to_original"]
    assert data["by_source", "bicubic_x2", "test"] == pytest.approx(1 / 12)
    assert data["paper", "bicubic_x2", "test"] == 0
    printed = comparison.printed.set_index(["Split", "Trained on", "Subset"])["Difference"]
    assert printed["by_source", "bicubic ×2", "test"] == "+0.083"
    assert printed["by_source", "original", "test"] == ""


def test_comparison_of_one_seed_has_no_spread(tmp_path: Path) -> None:
    tables = written(tmp_path, ["A", "B"], ["original"])
    assert pd.read_csv(tables / "comparison.csv")["accuracy_sd"].isna().all()
    assert rows(tables / "comparison.md")[0][8] == "1.000"


@pytest.mark.parametrize(("copies", "shared"), [(3, 4), (1, 0), (0, None)])
def test_comparison_tells_what_stands_behind_an_accuracy(tmp_path: Path, copies: int, shared: int | None) -> None:
    tables = written(tmp_path, ["A", "B"], ["original"], copies=copies)
    row = pd.read_csv(tables / "comparison.csv").iloc[0]
    text = (tables / "comparison.md").read_text(encoding="utf-8")
    # These classes are not the study's.
    assert "Study" not in text
    assert "subset." in text.splitlines()[0]
    if shared is None:
        assert row[["sources", "shared"]].isna().all()
        assert (row["images"], row["unknown"]) == (4, 4)
        assert "whose sources are not known; if some share one, it is too narrow. F1" in text
        assert "Sources" not in text
        assert "Shared" not in text
    else:
        assert (row["subset"], row["images"], row["sources"], row["shared"]) == ("validation", 4, 4, shared)
        assert "over sources" in text


def test_images_of_unknown_source_are_counted_apart(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    images = pd.read_csv(results.images)
    sources = pd.read_csv(results.sources)
    sources.loc[sources["image"] == "TEST/A/0.png", "source"] = ""
    sources.to_csv(results.sources, index=False)
    leakage("paper", images, sources, pd.read_csv(results.splits[0])).to_csv(results.leakage, index=False)
    write_all(results, tmp_path / "tables")
    (row,) = pd.read_csv(tmp_path / "tables" / "comparison.csv").query("subset == 'test'").itertuples()
    assert (row.images, row.unknown, row.sources) == (11, 1, 11)


def test_differences_without_sources_say_so(tmp_path: Path) -> None:
    tables = written(tmp_path, ["A", "B"], ["original", "bicubic_x2"], copies=0)
    for name in ("differences", "recalls"):
        text = (tables / f"{name}.md").read_text(encoding="utf-8")
        assert "where they share sources. No source is known, so every image" in text


def test_an_audit_of_other_images_is_refused(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    audit = pd.read_csv(results.leakage, keep_default_na=False)
    audit.assign(images=audit["images"] + 1).to_csv(results.leakage, index=False)
    with pytest.raises(InputError, match=r"has 5 validation images of the split paper, but 4 were .*audit_leakage`"):
        write_all(results, tmp_path / "tables")


def test_leakage_of_folds_adds_up(tmp_path: Path) -> None:
    header = "split,subset,class,images,sources,unknown,shared"
    lines = ["by_source,test,,10,4,1,0", "by_source_fold2,test,,12,5,0,0", "paper,test,,9,3,0,9"]
    (tmp_path / "leakage.csv").write_text("\n".join([header, *lines]))
    found = read_leakage(tmp_path / "leakage.csv")
    assert found.loc["by_source", "test", ""].tolist() == [22, 9, 1, 0]
    assert found.loc["paper", "test", ""].tolist() == [9, 3, 0, 9]


def test_the_cost_has_headings_of_two_levels(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x4"], dual=True)
    record = {
        **{"rule": "pack_images", "wildcards": {"variant": "original", "size": "96"}},
        "machine": {"processor": "Zuse_Z3", "gpu": {"name": "GPU Z3"}},
        "cost": {"cpu_seconds": 3.04, "gpu_seconds": 1.5, "memory_mib": 100.0, "gpu_memory_mib": 50.0},
    }
    provenance = tmp_path / "packed.provenance.json"
    provenance.write_text(json.dumps(record))
    write_all(results, tmp_path / "tables", provenance)
    data = read_csv(tmp_path / "tables" / "cost.csv", [*TEXTS, *NUMBERS])
    assert data["images_cpu_seconds"].tolist() == ["3.04", "", "", ""]
    text = (tmp_path / "tables" / "cost.md").read_text(encoding="utf-8")
    headings = [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]]
    assert headings[:6] == [
        *("Split", "Trained on", "Beyond original, CPU s", "Beyond original, GPU s"),
        *("Test accuracy, %", "Test accuracy, points"),
    ]
    first, *_, last = rows(tmp_path / "tables" / "cost.md")
    assert first[:4] == ["paper", "original", "–", "–"]
    assert last[1:6] == ["dual, on Real-ESRGAN ×4", "", "", "100.0", "0.0"]
    assert r"Measured on Zuse\_Z3 and GPU Z3." in text
    lines = (tmp_path / "tables" / "cost.tex").read_text(encoding="utf-8").splitlines()
    top = lines.index(r"\toprule")
    assert lines[top + 1].startswith(
        r"\multicolumn{2}{c}{} & \multicolumn{2}{c}{Beyond original} & \multicolumn{2}{c}{Test"
    )
    assert lines[top + 2].startswith(r"Split & Trained on & CPU s & GPU s & \% & points & CPU s")
    assert lines[top + 4].startswith(r"paper & original & -- & -- & 100.0 & -- &")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "lacks 'rule'"),
        ('{"rule": "predict", "machine": {}}', "lacks 'wildcards'"),
        ('{"rule": "predict", "wildcards": {}}', "lacks 'machine'"),
    ],
)
def test_a_broken_provenance_is_named(tmp_path: Path, content: str, words: str) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    broken = tmp_path / "broken.provenance.json"
    broken.write_text(content)
    with pytest.raises(InputError, match=rf"broken\.provenance\.json: {words}"):
        write_all(results, tmp_path / "tables", broken)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50 % of #1 {x} $y$", r"a\_b \& 50 \% of \#1 \{x\} \$y\$"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ("−0.1 ± 2 ×4", r"$-$0.1 $\pm$ 2 $\times$4"),
        ("Éosinophile", "Éosinophile"),
    ],
)
def test_latex_escapes(text: str, escaped: str) -> None:
    assert latex_text(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"), [("a|b", r"a\|b"), ("*_x_*", r"\*\_x\_\*"), ("<b>", r"\<b\>"), ("a, b & c", r"a, b \& c")]
)
def test_markdown_escapes(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


def test_awkward_class_names_survive_each_format(tmp_path: Path) -> None:
    classes = ['a, "b"', "50%_& $x$ ~^#", "|<i>|", "NA"]
    tables = written(tmp_path, classes, ["original"])
    assert read_csv(tables / "table5.csv", classes)["actual"].tolist() == classes
    body = (tables / "table5.tex").read_text(encoding="utf-8")
    assert r"50\%\_\& \$x\$ \textasciitilde{}\textasciicircum{}\# & 0 & 2 & 0 & 0 \\" in body
    assert r"\|\<i\>\| | " in (tables / "table5.md").read_text(encoding="utf-8").replace("  ", "")


def test_latex_sets_the_averages_off(tmp_path: Path) -> None:
    cells = pd.DataFrame({"Class": ["A", "Total"], "n": ["1", "1"]})
    write_table(Table("t", "Table", "50 % of_it", cells, cells, note="a & b", summary_rows=1), tmp_path)
    lines = (tmp_path / "t.tex").read_text().splitlines()
    assert lines[lines.index(r"A & 1 \\") : lines.index(r"\bottomrule")] == [r"A & 1 \\", r"\midrule", r"Total & 1 \\"]
    assert r"\caption{50 \% of\_it}" in lines
    assert any(r"a \& b" in line for line in lines)


def test_images_without_classes_are_an_error(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    results.images.write_text("image\n")
    with pytest.raises(InputError, match=r"images\.csv: lacks the column"):
        write_all(results, tmp_path / "tables")


# A class may be called anything that a folder may, and a table must not come apart by it.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(WORDS.filter(str.strip), min_size=1, max_size=4), st.floats(-1, 1))
def test_a_table_holds_together_whatever_its_words(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], number: float
) -> None:
    folder = tmp_path_factory.mktemp("table")
    data = pd.DataFrame({"class": words, "value": [number] * len(words)})
    printed = pd.DataFrame({"Class": words, "Value": number_texts(data["value"], "+.2f")})
    write_table(Table("t", "T", "Words", data, printed), folder)
    read = read_table(folder / "t.csv", ["class", "value"], 1)
    assert list(read["class"]) == words
    assert list(read["value"]) == [number] * len(words)
    rows = [line for line in (folder / "t.tex").read_text(encoding="utf-8").split("\n") if line.endswith(r"\\")]
    assert len(rows) == 1 + len(words)
    assert all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows)
    rows = [line for line in (folder / "t.md").read_text(encoding="utf-8").split("\n") if line.startswith("|")]
    assert len(rows) == 2 + len(words)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
