from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from test_scores import Results, arms_of, write_results
from wbcsr.errors import InputError
from wbcsr.evaluate.cost import NUMBERS, TEXTS
from wbcsr.evaluate.table import Table, latex_text, markdown_text, write_table
from wbcsr.evaluate.tables import comparison_table, read_leakage, write_tables
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
        assert r"split by\_source" in caption


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


def test_without_another_variant_tables_4_and_6_say_so(tmp_path: Path) -> None:
    tables = written(tmp_path, ["A", "B"], ["original"])
    assert (tables / "table4.csv").read_text() == "class,precision,recall,f1,support\n"
    assert (tables / "table6.csv").read_text() == "actual,A,B\n"
    for name in ("table4", "table6"):
        assert "no variant besides original" in (tables / f"{name}.md").read_text()
        assert "no variant besides original" in (tables / f"{name}.tex").read_text()


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
    if shared is None:
        assert row[["sources", "shared"]].isna().all()
        assert "whose sources are not known" in text
        assert "Shared" not in text
    else:
        assert (row["subset"], row["images"], row["sources"], row["shared"]) == ("validation", 4, 4, shared)
        assert "over sources" in text


def test_an_audit_of_other_images_is_refused(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    audit = pd.read_csv(results.leakage, keep_default_na=False)
    audit.assign(images=audit["images"] + 1).to_csv(results.leakage, index=False)
    with pytest.raises(InputError, match=r"leakage\.csv: has 5 validation images of the split paper, but 4 were"):
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
    ("content", "words"), [("{}", "lacks 'rule'"), ('{"rule": "predict", "wildcards": {}}', "lacks 'machine'")]
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
