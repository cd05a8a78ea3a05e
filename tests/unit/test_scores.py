from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, f1_score

from results import arms_of, write_results
from wbcsr.errors import InputError
from wbcsr.stats.intervals import wilson_interval
from wbcsr.stats.scores import confusion, score
from wbcsr.study import published
from wbcsr.study.labels import class_labels, figure_names, variant_label
from wbcsr.study.plan import Plan


def matrix(counts: list[list[int]]) -> pd.DataFrame:
    names = list("ABCDEFGH")[: len(counts)]
    return pd.DataFrame(counts, index=names, columns=names)


def test_confusion_has_actual_rows_and_predicted_columns() -> None:
    found = confusion(["A", "A", "B", "C"], ["A", "B", "B", "A"], ["A", "B", "C"])
    assert found.to_numpy().tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert found.loc["C", "A"] == 1


def test_scores_equal_a_calculation_by_hand() -> None:
    scores = score(matrix([[3, 1], [2, 4]]))
    assert scores.accuracy == pytest.approx(0.7)
    assert scores.by_class.loc["A"].tolist() == pytest.approx([3 / 5, 3 / 4, 2 / 3, 4, 0.7])
    assert scores.by_class.loc["B"].tolist() == pytest.approx([4 / 5, 4 / 6, 8 / 11, 6, 0.7])
    assert scores.macro.tolist() == pytest.approx([0.7, (3 / 4 + 4 / 6) / 2, (2 / 3 + 8 / 11) / 2])
    assert scores.weighted.tolist() == pytest.approx([0.4 * 3 / 5 + 0.6 * 4 / 5, 0.7, 0.4 * 2 / 3 + 0.6 * 8 / 11])


@pytest.mark.parametrize(
    ("counts", "zeros"),
    [
        ([[2, 0, 1], [0, 0, 0], [0, 0, 3]], ["precision", "recall", "f1"]),  # B neither occurs nor is predicted
        ([[2, 1, 0], [0, 0, 0], [0, 0, 3]], ["precision", "recall", "f1"]),  # B is predicted but does not occur
        ([[2, 0, 0], [3, 0, 0], [0, 0, 3]], ["precision", "recall", "f1"]),  # B occurs but is never predicted
    ],
)
def test_a_class_without_images_or_predictions_scores_zero_without_a_warning(
    counts: list[list[int]], zeros: list[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(matrix(counts))
    assert scores.by_class.loc["B", zeros].tolist() == [0, 0, 0]
    assert scores.macro["f1"] == pytest.approx(scores.by_class["f1"].sum() / 3)


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("ABC")), min_size=1, max_size=40))
@settings(max_examples=40)
def test_scores_of_a_matrix_equal_those_of_the_predictions(pairs: list[tuple[str, str]]) -> None:
    actual, predicted = map(list, zip(*pairs, strict=True))
    scores = score(confusion(actual, predicted, list("ABC")))
    assert scores.accuracy == pytest.approx(accuracy_score(actual, predicted))
    weighted = f1_score(actual, predicted, labels=list("ABC"), average="weighted", zero_division=0)
    assert scores.weighted["f1"] == pytest.approx(weighted)
    assert scores.by_class["support"].to_dict() == {name: Counter(actual)[name] for name in "ABC"}


@pytest.mark.parametrize("variant", ["original", "realesrgan_x4"])
def test_the_studys_matrices_give_its_published_scores(variant: str) -> None:
    scores = score(published.matrix(variant))
    printed = scores.by_class[["precision", "recall", "f1"]].round(2)
    assert [tuple(row) for row in printed.to_numpy()] == published.PRINTED_SCORES[variant]
    assert round(scores.accuracy, 2) == published.PRINTED_ACCURACY[variant]
    assert scores.by_class["support"].tolist() == [499, 496, 495, 499]


def test_the_studys_counts_of_images() -> None:
    assert published.counts().sum().to_dict() == {"train": 9957, "test": 2487}


@pytest.mark.parametrize(
    ("arm", "accuracy"),
    [
        (("paper", "original", "original", "validation"), 1825 / 1989),
        (("paper", "realesrgan_x4", "realesrgan_x4", "validation"), 1777 / 1989),
        (("paper", "original", "original", "test"), None),
        (("by_source", "original", "original", "validation"), None),
        (("paper", "dual", "original", "validation"), None),
        (("paper", "realesrgan_x2", "realesrgan_x2", "validation"), None),
        (("paper", "bicubic_x4", "bicubic_x4", "validation"), None),
    ],
)
def test_the_studys_accuracy_is_given_only_for_arms_that_it_measured(
    arm: tuple[str, str, str, str], accuracy: float | None
) -> None:
    assert published.accuracy(*arm, [name.lower() for name in reversed(published.CLASSES)]) == pytest.approx(accuracy)
    assert published.accuracy(*arm, ["EOSINOPHIL", "BASOPHIL"]) is None


@pytest.mark.parametrize(("hits", "images"), [(0, 5), (5, 5), (1, 3), (447, 499), (1825, 1989)])
def test_wilson_interval_equals_scipy_for_whole_counts(hits: int, images: int) -> None:
    expected = binomtest(hits, images).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(hits / images, images) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_of_a_mean_lies_between_those_of_whole_counts() -> None:
    below, between, above = (wilson_interval(hits / 10, 10)[0] for hits in (7, 7.5, 8))
    assert below < between < above


def test_arms_are_ordered_as_in_the_plan(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["b", "a"], ["realesrgan_x2", "original"], True, ("paper", "by_source"), (7, 3))
    shuffled = replace(results, predictions=results.predictions[::-1])
    arms = arms_of(shuffled)
    assert [(arm.split, arm.trained_on, arm.tested_on, arm.subset) for arm in arms] == [
        (split, trained_on, tested_on, subset)
        for split in ("paper", "by_source")
        for trained_on, tested_on in [
            ("realesrgan_x2", "realesrgan_x2"),
            ("original", "original"),
            ("dual", "realesrgan_x2"),
            ("dual", "original"),
        ]
        for subset in ("validation", "test")
    ]
    assert all(list(arm.matrices) == ["seed 7", "seed 3"] for arm in arms)


def test_arms_count_each_subset_separately(tmp_path: Path) -> None:
    validation, test = arms_of(write_results(tmp_path, ["A", "B"], ["original"], seeds=(0, 1), per_class=6))
    assert (validation.images, test.images) == (4, 12)
    assert validation.accuracies.tolist() == [1, 0.5]
    assert test.accuracies == pytest.approx([1, 10 / 12])
    assert test.accuracy == pytest.approx(11 / 12)


def test_an_accuracy_interval_uses_known_sources(tmp_path: Path) -> None:
    copies, apart, unknown = (
        arms_of(
            write_results(tmp_path / str(copies), ["A", "B"], ["original"], per_class=60, seeds=(1, 0), copies=copies)
        )
        for copies in (4, 1, 0)
    )
    test = [arms[1].estimate for arms in (copies, apart, unknown)]
    assert [estimate.sources for estimate in test] == [30, 120, 120]
    assert [arms[1].has_sources for arms in (copies, apart, unknown)] == [True, True, False]
    # If no source is known, each image counts as a source.
    assert (test[1].low, test[1].high) == (test[2].low, test[2].high)


def test_images_of_unknown_source_are_counted_but_not_in_the_accuracy(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"], per_class=30)
    sources = pd.read_csv(results.sources, keep_default_na=False)
    sources.loc[sources["image"] == "TEST/A/0.png", "source"] = ""
    sources.to_csv(results.sources, index=False)
    test = arms_of(results)[1]
    assert (test.images, test.estimate.images, test.correct.shape) == (60, 59, (1, 59))


def test_folds_of_a_split_form_one_arm(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"], splits=("by_source", "by_source_fold2"))
    results = replace(results, plan=replace(results.plan, splits=["by_source"]))
    with pytest.raises(InputError, match="two folds have the validation image"):
        arms_of(results)
    for number, path in enumerate(results.splits):
        half = pd.read_csv(path)
        half.loc[(half["subset"] != "train") & (half.index // 3 % 2 == number), "subset"] = "train"
        half.to_csv(path, index=False)
    validation, test = arms_of(results)
    assert (validation.split, validation.images, test.images) == ("by_source", 4, 12)
    assert (validation.accuracy, test.accuracy) == (1, 1)


def test_classes_called_na_or_by_numbers_are_kept(tmp_path: Path) -> None:
    arms = arms_of(write_results(tmp_path, ["NA", "1", "subset"], ["original"]))
    assert arms[0].first[1].to_numpy().tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def _drop_first(table: pd.DataFrame) -> pd.DataFrame:
    return table.iloc[1:]


def _double_first(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[:1]])


def _rename_class(table: pd.DataFrame) -> pd.DataFrame:
    return table.replace({"predicted": {"A": "basophil"}})


def _drop_predicted(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="predicted")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_first, "lacks 1 of 4 validation images"),
        (_double_first, "has an image twice"),
        (_rename_class, "has the class 'basophil'"),
        (_drop_predicted, "lacks the column"),
    ],
)
def test_damaged_predictions_are_an_error_that_names_the_file(tmp_path: Path, damage: object, message: str) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    path = results.predictions[0].path
    damage(pd.read_csv(path)).to_csv(path, index=False)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as error:
        arms_of(results)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "what"), [({"seeds": [5]}, "seed"), ({"splits": ["by_source"]}, "split"), ({"variants": []}, "variant")]
)
def test_predictions_that_are_not_configured_are_an_error(
    tmp_path: Path, change: dict[str, list[object]], what: str
) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    with pytest.raises(InputError, match=f"{what} is not in the configuration"):
        arms_of(replace(results, plan=replace(results.plan, **change)))


def test_a_split_without_a_test_image_is_an_error(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    table = pd.read_csv(results.splits[0])
    table[table["subset"] != "test"].to_csv(results.splits[0], index=False)
    with pytest.raises(InputError, match="has no test image"):
        arms_of(results)


@pytest.mark.parametrize(
    ("variants", "enhanced"),
    [
        (["original", "bicubic_x4", "realesrgan_x2", "realesrgan_x4"], "realesrgan_x2"),
        (["lanczos_x2", "bicubic_x4", "original"], "bicubic_x4"),
        (["original"], None),
    ],
)
def test_enhanced_variant(variants: list[str], enhanced: str | None) -> None:
    assert Plan(["A", "B"], variants, ["paper"], [0], {}, {}).enhanced == enhanced


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        ("original", "original"),
        ("dual", "dual"),
        ("bicubic_x4", "bicubic ×4"),
        ("lanczos_x2", "Lanczos ×2"),
        ("realesrgan_x8", "Real-ESRGAN ×8"),
    ],
)
def test_variant_labels(variant: str, label: str) -> None:
    assert variant_label(variant) == label


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (["EOSINOPHIL", "BAND CELL"], ["Eosinophil", "Band cell"]),
        (["ALL", "HEM", "NEUTROPHIL"], ["ALL", "HEM", "Neutrophil"]),
        (["EOSINOPHIL", "IgA"], ["EOSINOPHIL", "IgA"]),
        (["eos", "1"], ["eos", "1"]),
    ],
)
def test_class_labels(classes: list[str], labels: list[str]) -> None:
    assert class_labels(classes) == labels


def test_figure_names_follow_from_the_configuration() -> None:
    names = figure_names(
        {
            "dataset": {"partitions": {"train": "TRAIN", "validation": None, "test": "TEST"}},
            "splits": ["paper"],
            "variants": ["original", "realesrgan_x4"],
            "dual": True,
            "train": {"extra_input_sizes": []},
        }
    )
    assert names[:7] == ["fig1", "fig2", "fig3", "fig9", "fig10", "fig11", "fig12"]
    assert names[7:10] == ["enlargements", "accuracy", "differences"]
    assert "confusion_paper_dual_on_realesrgan_x4_test" in names
    assert len(names) == len(set(names)) == 10 + 2 + 4 * 2
