from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from results import Results, arms_of, write_results
from wbcsr.dataset.split import leakage
from wbcsr.errors import InputError
from wbcsr.files import read_csv
from wbcsr.present.table import Table
from wbcsr.present.tables.accuracies import comparison_table
from wbcsr.present.tables.calibration import calibration_error_text, calibration_table
from wbcsr.present.tables.differences import differences_table, recalls_table
from wbcsr.present.tables.study import counts_table, scores_table
from wbcsr.present.tables.write import write_tables
from wbcsr.stats.calibration import Probabilities, calibrations
from wbcsr.stats.comparison import compare_arms, main_arm
from wbcsr.stats.cost import NUMBERS, TEXTS
from wbcsr.stats.counts import count_images, read_leakage
from wbcsr.stats.differences import differences, recalls
from wbcsr.stats.scores import score_rows
from wbcsr.study import published

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
    "endpoints",
    "correlation",
    "calibration",
    "controls",
    "misclassified",
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
    """48 images of each class and partition, two from each source; the predictions on enlarged images are worse.

    On enlarged images, the first three test images of each class are predicted as the next class, and one eosinophil of
    the validation images as a neutrophil.
    """
    variants = ["original", "bicubic_x4", "realesrgan_x4"]
    results = write_results(tmp_path, STUDY_CLASSES, variants, per_class=48, copies=2)
    wrong = {
        f"TEST/{name}/{number}.png": following
        for name, following in zip(STUDY_CLASSES, [*STUDY_CLASSES[1:], STUDY_CLASSES[0]], strict=True)
        for number in range(3)
    }
    wrong["TRAIN/EOSINOPHIL/0.png"] = "NEUTROPHIL"
    path = next(run.path for run in results.predictions if run.trained_on == run.tested_on == "realesrgan_x4")
    table = pd.read_csv(path)
    table["predicted"] = table["image"].map(wrong).fillna(table["predicted"])
    for name in STUDY_CLASSES:
        table[name] = (table["predicted"] == name).map({True: 0.7, False: 0.1})
    table.to_csv(path, index=False)
    return results


def test_text_is_left_aligned_and_totals_are_separated(study_results: Results, tmp_path: Path) -> None:
    write_all(study_results, tmp_path / "tables")
    texts = {
        "comparison": 3,
        "differences": 5,
        "endpoints": 5,
        "correlation": 3,
        "recalls": 4,
        "calibration": 3,
        "cost": 2,
    }
    # These results have no control, and no source that every classifier misclassifies.
    for name in [name for name in NAMES if name not in ("controls", "misclassified")]:
        lines = (tmp_path / "tables" / f"{name}.md").read_text(encoding="utf-8").splitlines()
        right = [cell.endswith(":") for cell in lines[3].strip("|").split("|")]
        expected = [False] * texts.get(name, 1) + [True] * (len(right) - texts.get(name, 1))
        if name == "differences":
            expected[7] = False  # the verdict, which follows the difference and its interval
        assert right == expected
    for name, above in (("table2", "Neutrophil & 48 & 48 & 96"), ("table4", "Neutrophil & 0.94 & ")):
        lines = (tmp_path / "tables" / f"{name}.tex").read_text().splitlines()
        (last,) = (number for number, line in enumerate(lines) if line.startswith(above))
        assert lines[last + 1] == r"\midrule"


def test_scores_equal_a_calculation_by_hand(study_results: Results) -> None:
    """One of 16 eosinophils is predicted as a neutrophil: recall 15/16, precision of neutrophils 16/17."""
    plan = study_results.plan
    arm = main_arm(arms_of(study_results), plan, "realesrgan_x4")
    assert arm
    table = scores_table("table4", score_rows(arm.first[1]), "realesrgan_x4", plan)
    assert table.cells[["class", "precision", "recall", "f1", "support"]].to_numpy().tolist() == [
        ["Eosinophil", "1.00", "0.94", "0.97", "16"],
        ["Lymphocyte", "1.00", "1.00", "1.00", "16"],
        ["Monocyte", "1.00", "1.00", "1.00", "16"],
        ["Neutrophil", "0.94", "1.00", "0.97", "16"],
        ["Accuracy", "", "", "0.98", "64"],
        ["Macro average", "0.99", "0.98", "0.98", "64"],
        ["Weighted average", "0.99", "0.98", "0.98", "64"],
    ]
    # The study's own scores are shown next to ours.
    for name, printed in zip(STUDY_CLASSES, published.PRINTED_SCORES["realesrgan_x4"], strict=True):
        row = table.cells.set_index("class").loc[name.capitalize()]
        assert [row[f"study_{key}"] for key in ("precision", "recall", "f1")] == [f"{value:.2f}" for value in printed]
    assert table.data.iloc[0].tolist() == ["EOSINOPHIL", 1, 15 / 16, 30 / 31, 16]
    assert table.data["support"].dtype.kind == "i"


def cells_and_data(table: Table, **names: str) -> tuple[pd.Series, pd.Series]:
    """The one row of the table with these names, as printed and as data."""
    (at,) = (table.data[list(names)] == pd.Series(names)).all(axis=1).to_numpy().nonzero()[0]
    return table.cells.iloc[at], table.data.iloc[at]


ENHANCED = {"split": "paper", "trained_on": "realesrgan_x4", "tested_on": "realesrgan_x4"}
COMPARED = ["images", "sources", "difference", "low", "p_sources", "p_holm", "p_mcnemar"]


def test_the_printed_comparison(study_results: Results) -> None:
    """12 of 192 test images are wrong, and none has a duplicate in training; all 64 validation images have one."""
    plan = study_results.plan
    table = comparison_table(compare_arms(arms_of(study_results), read_leakage(study_results.leakage), plan))
    keys = ["images", "sources", "shared", "runs", "accuracy", "macro_f1", "difference_to_original", "study_accuracy"]
    cells, row = cells_and_data(table, **ENHANCED, subset="test")
    assert cells[keys].tolist() == ["192", "96", "0", "1", "93.8", "0.938", "−6.2", ""]
    assert cells["accuracy_low"] == f"{100 * row['accuracy_low']:.1f}–{100 * row['accuracy_high']:.1f}"
    assert row["unknown"] == 0
    cells, _ = cells_and_data(table, **ENHANCED, subset="validation")
    assert cells[keys].tolist() == ["64", "64", "64", "1", "98.4", "0.984", "−1.6", "89.3"]
    assert [title for title, _ in table.bodies] == [
        "Validation images, split paper: 64 images of 64 sources, 100.0\u00a0% (64 of 64) with a duplicate in training",
        "Test images, split paper: 192 images of 96 sources, 0.0\u00a0% with a duplicate in training",
    ]


def test_the_printed_differences(study_results: Results) -> None:
    """Eight sources and twelve images differ, all in one direction. The bicubic arms equal the original ones."""
    table = differences_table(differences(arms_of(study_results), study_results.plan))
    cells, row = cells_and_data(table, **ENHANCED, subset="test", question="enlargement")
    ends = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}".replace("-", "−")
    assert cells[COMPARED].tolist() == ["192", "96", "−6.2", ends, "0.016", "0.048", "<0.001"]
    assert (row["differing"], row["effective_sources"]) == (8, 96)


def test_the_printed_recalls(study_results: Results) -> None:
    """In each class two sources and three images differ; in the pair four and six, and half of these are confused."""
    table = recalls_table(recalls(arms_of(study_results), study_results.plan), study_results.plan)
    keys = ["share", "against", *COMPARED]
    where = {"split": "paper", "subset": "test"}
    cells, _ = cells_and_data(table, **where, measure="recall", of="EOSINOPHIL")
    assert cells[keys].tolist() == ["93.8", "100.0", "48", "24", "−6.2", "–", "0.500", "1.000", "0.250"]
    cells, _ = cells_and_data(table, **where, measure="pair accuracy", of="EOSINOPHIL and NEUTROPHIL")
    assert cells[keys].tolist() == ["93.8", "100.0", "96", "48", "−6.2", "–", "0.125", "0.750", "0.031"]
    cells, _ = cells_and_data(table, **where, measure="pair confusion", of="EOSINOPHIL and NEUTROPHIL")
    assert cells[["share", "against"]].tolist() == ["3.1", "0.0"]
    # Two of 24 sources differ for a class, and four of 48 for the pair.
    assert "2 of 24 sources" in table.note
    assert "4 of 48 sources" in table.note


def test_the_printed_calibration(study_results: Results) -> None:
    table = calibration_table(calibrations(map(Probabilities.of, arms_of(study_results))))
    cells, row = cells_and_data(table, **ENHANCED, subset="test")
    assert row["ece"] == pytest.approx(0.9375 - 0.7)
    assert row["auc"] != row["average_precision"]
    areas = [f"{row['auc']:.3f}", f"{row['average_precision']:.3f}"]
    keys = ["images", "confidence", "accuracy", "auc", "average_precision"]
    assert cells[keys].tolist() == ["192", "70.0", "93.8", *areas]


@pytest.mark.parametrize(("images", "text"), [(199, ""), (200, "0.050")])
def test_the_calibration_error_of_few_images_is_not_shown(images: int, text: str) -> None:
    assert calibration_error_text(0.05, images) == text


@pytest.mark.parametrize("classes", [["a", "b"], [f"class_{number} of 8" for number in range(8)]])
def test_every_table_is_written_in_three_formats(tmp_path: Path, classes: list[str]) -> None:
    tables = written(tmp_path, classes, ["original", "realesrgan_x4"], dual=True)
    assert sorted(path.name for path in tables.iterdir()) == sorted(
        f"{name}{suffix}" for name in NAMES for suffix in (".csv", ".md", ".tex")
    )
    assert len(read_csv(tables / "table5.csv", ["actual", *classes])) == len(classes)


def test_the_same_results_give_identical_files(tmp_path: Path) -> None:
    first, second = (written(tmp_path / name, STUDY_CLASSES, ["original", "bicubic_x2"]) for name in "12")
    assert all((first / path.name).read_bytes() == path.read_bytes() for path in second.iterdir())


def test_table2_counts_images_next_to_the_study(tmp_path: Path) -> None:
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
def test_table2_has_the_studys_counts_only_for_its_classes(
    tmp_path: Path, classes: list[str], study_rows: list[list[str]], printed_columns: int
) -> None:
    tables = written(tmp_path, classes, ["original"])
    assert read_csv(tables / "table2.csv", []).iloc[:, 4:].astype(str).to_numpy().tolist() == study_rows
    assert len(rows(tables / "table2.md")[0]) == printed_columns
    assert ("Nagarhalli" in (tables / "table2.tex").read_text()) == (printed_columns == 7)


def test_table2_without_partitions_counts_all_images(tmp_path: Path) -> None:
    plan = replace(write_results(tmp_path, ["B", "none", "A"], ["original"]).plan, partitions={"train": "ALL"})
    images = pd.DataFrame({"class": ["A", "B", "A"], "partition": "ALL"})
    table = counts_table(count_images(images, plan), plan)
    assert table.cells.to_dict("list") == {"class": ["B", "none", "A", "Total"], "total": ["1", "0", "2", "3"]}
    assert table.data["total"].tolist() == [1, 0, 2, 3]
    assert table.note == ""


def test_a_class_may_have_the_name_of_a_row_of_all_classes(tmp_path: Path) -> None:
    classes = ["total", "Accuracy", "macro average", "actual", "of"]
    tables = written(tmp_path, classes, ["original", "realesrgan_x4"])
    for name, column in (("table2", "class"), ("table3", "class"), ("table4", "class"), ("table5", "actual")):
        found = read_csv(tables / f"{name}.csv", [column])[column].tolist()
        assert found[: len(classes)] == classes
        labels = [row[0] for row in rows(tables / f"{name}.md")]
        for names in (found, labels):
            assert len({each.casefold() for each in names}) == len(names), name
    assert rows(tables / "table2.md")[-1][0] == "Total (all classes)"


def test_table2_counts_a_validation_partition(tmp_path: Path) -> None:
    partitions = {"train": "fit", "validation": "val", "test": "check"}
    plan = replace(write_results(tmp_path, ["B", "A"], ["original"]).plan, partitions=partitions)
    images = pd.DataFrame({"class": ["A", "B", "A", "A"], "partition": ["fit", "fit", "val", "check"]})
    table = counts_table(count_images(images, plan), plan)
    assert all(f"{name} ({use})" in table.caption for use, name in partitions.items())
    counts = table.data.set_index("class")[["train", "validation", "test", "total"]]
    assert counts.to_numpy().tolist() == [[1, 0, 0, 1], [1, 1, 1, 3], [2, 1, 1, 4]]
    assert [column.heading for column in table.shown] == ["Class", "Train", "Validation", "Test", "Total"]


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
    table = pd.read_csv(results.predictions[0].path)
    table.loc[table["image"] == "TRAIN/A/0.png", "predicted"] = "C"
    table.to_csv(results.predictions[0].path, index=False)
    write_all(results, tmp_path)
    assert rows(tmp_path / "table5.md") == [["A", "1", "0", "1"], ["B", "0", "2", "0"], ["C", "0", "0", "2"]]
    assert (tmp_path / "table5.csv").read_text() == "actual,A,B,C\nA,1,0,1\nB,0,2,0\nC,0,0,2\n"


def test_a_wide_confusion_table_has_numbers_as_headings(tmp_path: Path) -> None:
    classes = [f"immature granulocyte {letter}" for letter in "abcd"]
    tables = written(tmp_path, classes, ["original"])
    assert read_csv(tables / "table5.csv", classes)["actual"].tolist() == classes
    text = (tables / "table5.md").read_text()
    assert [cell.strip() for cell in text.splitlines()[2].split("|")[1:-1]] == ["Actual", "1", "2", "3", "4"]
    assert rows(tables / "table5.md")[1] == ["2 immature granulocyte b", "0", "2", "0", "0"]


@pytest.mark.parametrize(("letters", "headings"), [(40, ["a" * 40, "b" * 40]), (41, ["1", "2"])])
def test_headings_are_numbers_if_names_do_not_fit_the_page(tmp_path: Path, letters: int, headings: list[str]) -> None:
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
        assert "no variant other than original" in (tables / f"{name}.md").read_text()
        assert "no variant other than original" in (tables / f"{name}.tex").read_text()
    assert (tables / "table4.tex").read_text().count(r"\midrule") == 1
    assert "no variant other than original" in (tables / "recalls.md").read_text()


def test_the_comparison_equals_a_calculation_by_hand(tmp_path: Path) -> None:
    tables = written(tmp_path, STUDY_CLASSES, ["original", "realesrgan_x4"], dual=True, seeds=(0, 1))
    data = pd.read_csv(tables / "comparison.csv").set_index(["trained_on", "tested_on", "subset"])
    assert len(data) == 8
    row = data.loc[("realesrgan_x4", "realesrgan_x4", "validation")]
    # Seed 0 is correct on all 8 validation images, seed 1 on half of them.
    assert (row["images"], row["runs"], row["accuracy"]) == (8, 2, 0.75)
    assert row["accuracy_sd"] == pytest.approx(0.125**0.5)
    # Eight validation images from eight sources, none of which has a training image; an interval needs ten sources.
    assert (row["sources"], row["shared"]) == (8, 0)
    assert row[["accuracy_low", "accuracy_high"]].isna().all()
    assert (row["reason"], row["effective_sources"]) == ("few_sources", 8)
    test = data.loc[("realesrgan_x4", "realesrgan_x4", "test")]
    assert test["accuracy_low"] < test["accuracy"] < test["accuracy_high"]
    assert row["macro_f1"] == pytest.approx(0.75)
    assert row["f1_MONOCYTE"] == pytest.approx(0.75)
    assert row["study_accuracy"] == pytest.approx(1777 / 1989)
    assert row["difference_to_original"] == 0
    assert data["study_accuracy"].notna().sum() == 2
    assert data.loc[("original", "original", "validation"), "study_accuracy"] == pytest.approx(1825 / 1989)
    printed = {tuple(row[1:3]): row for row in rows(tables / "comparison.md")}
    assert printed["validation", "original"][3:8] == ["75.0 ± 35.4", "–", "0.750", "–", "91.8"]
    assert printed["validation", "dual, tested on original"][3:8] == ["75.0 ± 35.4", "–", "0.750", "0.0", ""]


def test_the_difference_is_to_original_in_the_same_split_and_subset(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "bicubic_x2"], splits=("paper", "by_source"))
    worse = next(run.path for run in results.predictions if run.split == "by_source" and run.trained_on == "original")
    table = pd.read_csv(worse)
    table.loc[table["image"] == "TEST/A/0.png", "predicted"] = "B"
    table.to_csv(worse, index=False)
    comparison = comparison_table(compare_arms(arms_of(results), read_leakage(results.leakage), results.plan))
    data = comparison.data.set_index(["split", "trained_on", "subset"])["difference_to_original"]
    assert data["by_source", "bicubic_x2", "test"] == pytest.approx(1 / 12)
    assert data["paper", "bicubic_x2", "test"] == 0
    printed = comparison.cells.set_index(["split", "trained_on", "subset"])["difference_to_original"]
    assert printed["by_source", "bicubic ×2", "test"] == "+8.3"
    assert printed["by_source", "original", "test"] == "–"


def test_the_comparison_of_one_seed_has_no_standard_deviation(tmp_path: Path) -> None:
    tables = written(tmp_path, ["A", "B"], ["original"])
    assert pd.read_csv(tables / "comparison.csv")["accuracy_sd"].isna().all()
    assert rows(tables / "comparison.md")[0][3] == "100.0"


@pytest.mark.parametrize(("copies", "shared"), [(3, 4), (1, 0), (0, None)])
def test_the_comparison_gives_sources_and_duplicates_in_training(
    tmp_path: Path, copies: int, shared: int | None
) -> None:
    tables = written(tmp_path, ["A", "B"], ["original"], copies=copies)
    row = pd.read_csv(tables / "comparison.csv").iloc[0]
    headings = (tables / "comparison.md").read_text(encoding="utf-8").splitlines()[2]
    # These classes are not the study's.
    assert "Study" not in headings
    assert ("Sources" in headings, "Shared" in headings) == (bool(copies),) * 2
    if shared is None:
        assert row[["sources", "shared"]].isna().all()
        assert (row["images"], row["unknown"]) == (4, 4)
    else:
        assert (row["subset"], row["images"], row["sources"], row["shared"]) == ("validation", 4, 4, shared)


def test_images_of_unknown_source_are_counted_separately(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    images = pd.read_csv(results.images)
    sources = pd.read_csv(results.sources)
    sources.loc[sources["image"] == "TEST/A/0.png", "source"] = ""
    sources.to_csv(results.sources, index=False)
    leakage("paper", images, sources, pd.read_csv(results.splits[0])).to_csv(results.leakage, index=False)
    write_all(results, tmp_path / "tables")
    (row,) = pd.read_csv(tmp_path / "tables" / "comparison.csv").query("subset == 'test'").itertuples()
    assert (row.images, row.unknown, row.sources) == (11, 1, 11)


def test_a_leakage_audit_of_other_images_is_rejected(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    audit = pd.read_csv(results.leakage, keep_default_na=False)
    audit.assign(images=audit["images"] + 1).to_csv(results.leakage, index=False)
    with pytest.raises(InputError, match=r"has 5 validation images of the split paper, but 4 were .*audit_leakage`"):
        write_all(results, tmp_path / "tables")


def test_leakage_of_folds_is_added_up(tmp_path: Path) -> None:
    header = "split,subset,class,images,sources,unknown,shared"
    lines = ["by_source,test,,10,4,1,0", "by_source_fold2,test,,12,5,0,0", "paper,test,,9,3,0,9"]
    (tmp_path / "leakage.csv").write_text("\n".join([header, *lines]))
    found = read_leakage(tmp_path / "leakage.csv")
    assert found.loc["by_source", "test", ""].tolist() == [22, 9, 1, 0]
    assert found.loc["paper", "test", ""].tolist() == [9, 3, 0, 9]


def test_leakage_of_an_extra_test_is_that_of_its_worst_fold(tmp_path: Path) -> None:
    header = "split,subset,class,images,sources,unknown,shared"
    lines = ["by_source,other,,10,4,1,0", "by_source_fold2,other,,10,4,1,3"]
    (tmp_path / "leakage.csv").write_text("\n".join([header, *lines]))
    assert read_leakage(tmp_path / "leakage.csv").loc["by_source", "other", ""].tolist() == [10, 4, 1, 3]


def test_an_extra_test_has_its_own_rows_and_lacks_a_class(tmp_path: Path) -> None:
    tables = written(tmp_path, ["A", "B", "C"], ["original", "realesrgan_x4"], seeds=(0, 1), per_class=12, extra=True)
    found = {name: pd.read_csv(tables / f"{name}.csv", keep_default_na=False) for name in ("comparison", "endpoints")}
    for table in found.values():
        assert set(table["subset"]) == {"validation", "test", "other_camera"}
    comparison = pd.read_csv(tables / "comparison.csv").query("subset == 'other_camera'")
    assert comparison["images"].tolist() == [24] * 2
    assert comparison["f1_C"].isna().all()
    # The second seed is wrong for one of twelve images of either class, which B is not taken for.
    assert comparison["accuracy"].tolist() == pytest.approx([1 - 1 / 24] * 2)
    recalls = found["endpoints"].query("subset == 'other_camera' and measure == 'recall'")
    assert recalls["of"].tolist() == ["A", "B"] * 2
    assert (recalls["low"].astype(float) < 1 - 1 / 24).all()
    assert pd.read_csv(tables / "table2.csv").set_index("class")["other_camera"].tolist() == [12, 12, 0, 24]
    assert r"| other\_camera |" in (tables / "comparison.md").read_text()
    differences = pd.read_csv(tables / "differences.csv").query("subset == 'other_camera'")
    assert set(differences["family"]) == {"secondary"}


def test_the_cost_table_has_two_levels_of_headings(tmp_path: Path) -> None:
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


def test_unusual_class_names_are_kept_in_each_format(tmp_path: Path) -> None:
    classes = ['a, "b"', "50%_& $x$ ~^#", "|<i>|", "NA"]
    tables = written(tmp_path, classes, ["original"])
    assert read_csv(tables / "table5.csv", classes)["actual"].tolist() == classes
    body = (tables / "table5.tex").read_text(encoding="utf-8")
    assert r"50\%\_\& \$x\$ \textasciitilde{}\textasciicircum{}\# & 0 & 2 & 0 & 0 \\" in body
    assert r"\|\<i\>\| | " in (tables / "table5.md").read_text(encoding="utf-8").replace("  ", "")


def test_images_without_classes_are_an_error(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    results.images.write_text("image\n")
    with pytest.raises(InputError, match=r"images\.csv: lacks the column"):
        write_all(results, tmp_path / "tables")
