from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score, recall_score

from legible import LONG_NAMES, assert_legible
from results import Results, arms_of, write_results
from wbcsr.errors import InputError
from wbcsr.files import write_csv
from wbcsr.imaging import encode_png
from wbcsr.present.cells import choose_cells, read_manifests
from wbcsr.present.figures.accuracies import draw_accuracies, draw_differences
from wbcsr.present.figures.classes import FIGURES, draw_classes
from wbcsr.present.figures.confusion import draw_confusion
from wbcsr.present.figures.photographs import draw_enlargements, draw_examples, draw_image
from wbcsr.present.figures.training import Training, draw_history, read_histories
from wbcsr.present.figures.write import Inputs, write_figures
from wbcsr.present.style import STYLE, draw_notice, house_style, save_figure
from wbcsr.stats import intervals
from wbcsr.stats.comparison import main_arm
from wbcsr.stats.differences import differences
from wbcsr.stats.endpoints import class_scores
from wbcsr.stats.predictions import Arm
from wbcsr.study import published
from wbcsr.study.labels import NOT_STORED, figure_names
from wbcsr.study.plan import Plan

VIOLET, PINK, BACKGROUND = (110, 60, 170), (200, 150, 150), (225, 220, 215)


def smear(centre: tuple[int, int], radius: int = 9) -> np.ndarray:
    """A 96×64 image with a pink disc, a black corner and a violet disc around `centre`."""
    pixels = np.full((64, 96, 3), BACKGROUND, np.uint8)
    cv2.circle(pixels, (80, 12), 10, PINK, -1)
    cv2.circle(pixels, centre, radius, VIOLET, -1)
    pixels[-6:, :6] = 0
    return pixels


def write_images(folder: Path, plan: Plan) -> list[Path]:
    """Two images for each class and variant; in the first, the edge of the image cuts through the cell."""
    manifests = []
    for variant in plan.variants:
        scale = int(variant[-1]) if variant[-1].isdigit() else 1
        for name in plan.classes:
            manifest = folder / "images" / variant / "TRAIN" / name / "manifest.csv"
            manifest.parent.mkdir(parents=True)
            for number, centre in enumerate([(95, 30), (50, 30)]):
                (manifest.parent / f"{number}.png").write_bytes(
                    encode_png(smear(centre).repeat(scale, 0).repeat(scale, 1))
                )
            rows = [{"image": f"TRAIN/{name}/{number}.jpeg", "file": f"{number}.png"} for number in range(2)]
            pd.DataFrame(rows).to_csv(manifest, index=False)
            manifests.append(manifest)
    return manifests


def write_histories(folder: Path, plan: Plan, epochs: int = 4) -> list[Training]:
    trainings = []
    for split, trained_on, seed in itertools.product(plan.splits, plan.variants, plan.seeds):
        path = folder / "runs" / split / trained_on / f"seed{seed}" / "history.csv"
        path.parent.mkdir(parents=True)
        numbers = np.arange(1, epochs + 1)
        table = pd.DataFrame({"epoch": numbers, "learning_rate": 0.1, "seconds": 1.0})
        for subset in ("train", "validation"):
            table[f"{subset}_loss"], table[f"{subset}_accuracy"] = 2 / numbers, 1 - 1 / (numbers + 1)
        table.to_csv(path, index=False)
        trainings.append(Training(split, trained_on, seed, path))
    return trainings


def write_differences(folder: Path, results: Results) -> Path:
    write_csv(folder / "differences.csv", differences(arms_of(results), results.plan))
    return folder / "differences.csv"


def draw_all(folder: Path, classes: list[str], variants: list[str]) -> Path:
    results = write_results(folder, classes, variants)
    inputs = Inputs(
        results.splits,
        results.sources,
        results.predictions,
        write_differences(folder, results),
        write_histories(folder, results.plan),
        write_images(folder, results.plan),
    )
    write_figures(inputs, results.plan, folder / "figures")
    return folder / "figures"


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Low resolution of figures, for speed."""
    monkeypatch.setitem(STYLE, "savefig.dpi", 40)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples, for speed."""
    monkeypatch.setattr(intervals, "RESAMPLES", 400)


@pytest.fixture
def style() -> object:
    with house_style():
        yield


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize(
    ("classes", "variants"), [(["Eos", "a_b $^$ 50%"], ["original", "realesrgan_x2"]), (LONG_NAMES, ["original"])]
)
def test_every_figure_of_the_configuration_is_written(tmp_path: Path, classes: list[str], variants: list[str]) -> None:
    folder = draw_all(tmp_path, classes, variants)
    names = figure_names(
        {
            "dataset": {"partitions": {"train": "TRAIN", "validation": None, "test": "TEST"}},
            "splits": ["paper"],
            "variants": variants,
            "dual": False,
            "train": {"extra_input_sizes": []},
        }
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{suffix}" for name in names for suffix in (".png", ".svg")
    )


@pytest.mark.usefixtures("coarse", "style")
def test_the_same_results_give_identical_files(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original", "realesrgan_x2"], seeds=(0, 1))
    images = read_manifests(write_images(tmp_path, results.plan))
    cells, arms = choose_cells(images, results.plan), arms_of(results)
    for folder in (tmp_path / "first", tmp_path / "second"):
        save_figure(draw_enlargements(cells, images, results.plan), folder, "enlargements")
        save_figure(draw_image(cells["A"], "A", images, results.plan, "realesrgan_x2"), folder, "fig3")
        save_figure(draw_accuracies(arms, results.plan), folder, "accuracy")
        save_figure(draw_confusion(arms[0], results.plan), folder, "confusion")
    first, second = (sorted((tmp_path / name).iterdir()) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.usefixtures("style")
def test_png_has_300_dpi_and_svg_no_date(tmp_path: Path) -> None:
    save_figure(draw_notice("nothing"), tmp_path, "empty")
    with Image.open(tmp_path / "empty.png") as image:
        assert image.width == 1050
        assert round(image.info["dpi"][0]) == 300
    assert "<dc:date>" not in (tmp_path / "empty.svg").read_text()


def test_cells_at_the_edge_are_not_shown(tmp_path: Path) -> None:
    plan = Plan(["A", "B"], ["original"], ["paper"], [0], {"train": "TRAIN", "test": "TEST"}, {})
    cells = choose_cells(read_manifests(write_images(tmp_path, plan)), plan)
    assert {name: cell.image for name, cell in cells.items()} == {"A": "TRAIN/A/1.jpeg", "B": "TRAIN/B/1.jpeg"}


def test_a_class_whose_cells_all_touch_the_edge_is_shown_by_its_first_image(tmp_path: Path) -> None:
    plan = Plan(["A"], ["original"], ["paper"], [0], {"train": "TRAIN", "test": "TEST"}, {})
    images = read_manifests(write_images(tmp_path, plan))
    for path in images["path"]:
        path.write_bytes(encode_png(np.full((40, 60, 3), PINK, np.uint8)))
    cell = choose_cells(images, plan)["A"]
    assert (cell.image, cell.box) == ("TRAIN/A/0.jpeg", (0, 0, 60, 40))
    draw_enlargements({"A": cell}, images, plan)


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize("classes", [LONG_NAMES[:2], LONG_NAMES])
def test_figures_with_long_class_names_are_legible(tmp_path: Path, classes: list[str]) -> None:
    plan = Plan(classes, ["original", "bicubic_x2"], ["paper"], [0], {"train": "TRAIN", "test": "TEST"}, {})
    images = read_manifests(write_images(tmp_path, plan))
    cells = choose_cells(images, plan)
    assert_legible(draw_examples(cells, plan))
    assert_legible(draw_enlargements(cells, images, plan))
    for variant in plan.variants:
        assert_legible(draw_image(cells[classes[0]], classes[0], images, plan, variant))


@pytest.mark.usefixtures("style")
def test_an_image_is_drawn_at_both_sizes_pixel_by_pixel(tmp_path: Path) -> None:
    plan = Plan(["A", "EOSINOPHIL"], ["original", "realesrgan_x4"], ["paper"], [0], {"train": "TRAIN", "test": ""}, {})
    images = read_manifests(write_images(tmp_path, plan))
    cell = choose_cells(images, plan)["EOSINOPHIL"]
    drawn = {}
    for variant in plan.variants:
        save_figure(draw_image(cell, "EOSINOPHIL", images, plan, variant), tmp_path, variant)
        drawn[variant] = np.asarray(Image.open(tmp_path / f"{variant}.png").convert("RGB"))
    # The larger image has 384×256 pixels: five dots each, of the 2,160 of a page's width.
    for variant, pixels in (("original", cell.pixels), ("realesrgan_x4", smear((50, 30)).repeat(4, 0).repeat(4, 1))):
        expected = pixels.repeat(5, 0).repeat(5, 1)
        height, width = expected.shape[:2]
        found = drawn[variant][-height:, :width]
        assert np.abs(found.astype(int) - expected)[2:-2, 2:-2].max() <= 1, variant


@pytest.mark.parametrize(
    ("classes", "name"), [(["b", "Eosinophil"], "Eosinophil"), (["MONOCYTE", "BASOPHIL"], "MONOCYTE")]
)
def test_figures_2_and_3_show_an_eosinophil_or_else_the_first_class(classes: list[str], name: str) -> None:
    assert published.shown(classes) == name


@pytest.mark.usefixtures("style")
def test_enlargements_show_the_same_field_of_view(tmp_path: Path) -> None:
    plan = Plan(
        ["A", "B"], ["original", "bicubic_x2", "realesrgan_x4"], ["paper"], [0], {"train": "TRAIN", "test": ""}, {}
    )
    images = read_manifests(write_images(tmp_path, plan))
    figure = draw_enlargements(choose_cells(images, plan), images, plan)
    crops = [axis.get_images()[0].get_array() for axis in figure.axes]
    sides = [crop.shape[0] for crop in crops]
    assert sides == [sides[0]] * 2 + [2 * sides[0]] * 2 + [4 * sides[0]] * 2
    assert all(np.array_equal(crop[::2, ::2], crops[0]) for crop in crops[2:4])
    assert all(np.array_equal(crop[::4, ::4], crops[0]) for crop in crops[4:])
    assert_legible(figure)


def test_an_image_missing_in_a_variant_is_an_error(tmp_path: Path) -> None:
    plan = Plan(["A", "B"], ["original", "realesrgan_x2"], ["paper"], [0], {"train": "TRAIN", "test": "TEST"}, {})
    manifests = write_images(tmp_path, plan)
    images = read_manifests(manifests[:2])
    with pytest.raises(InputError, match="no manifest of the variant realesrgan_x2"):
        draw_enlargements(choose_cells(images, plan), images, plan)


@pytest.mark.usefixtures("style")
def test_a_variant_of_which_no_image_is_stored_gives_a_notice(tmp_path: Path) -> None:
    plan = Plan(["A", "B"], ["original", "realesrgan_x2"], ["paper"], [0], {"train": "TRAIN", "test": "TEST"}, {})
    manifests = write_images(tmp_path, plan)
    for manifest in manifests[2:]:
        pd.read_csv(manifest).assign(file="").to_csv(manifest, index=False)
    images = read_manifests(manifests)
    cells = choose_cells(images, plan)
    for figure in (
        draw_enlargements(cells, images, plan),
        draw_image(cells["A"], "A", images, plan, "realesrgan_x2"),
    ):
        assert [text.get_text() for text in figure.texts] == [NOT_STORED]
        assert_legible(figure)
    assert draw_image(cells["A"], "A", images, plan, "original").axes


def test_a_class_without_a_training_image_is_an_error(tmp_path: Path) -> None:
    plan = Plan(["A", "B"], ["original"], ["paper"], [0], {"train": "TRAIN", "test": "TEST"}, {})
    images = read_manifests(write_images(tmp_path, plan)[:1])
    with pytest.raises(InputError, match="class B"):
        choose_cells(images, plan)


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize("epochs", [1, 5])
def test_the_epoch_of_the_kept_model_is_marked(tmp_path: Path, epochs: int) -> None:
    plan = Plan(["A", "B"], ["original"], ["paper"], [0, 1], {}, {})
    histories = read_histories(write_histories(tmp_path, plan, epochs=epochs), plan)
    figure = draw_history(histories, ["original"])
    for axis, value in zip(figure.axes, (1 - 1 / (epochs + 1), 2 / epochs), strict=True):
        [kept] = [line for line in axis.lines if line.get_label() == "kept epoch of each seed"]
        assert list(kept.get_xdata()) == [epochs, epochs]
        assert list(kept.get_ydata()) == pytest.approx([value, value])
    assert_legible(figure)


@pytest.mark.usefixtures("style")
def test_of_epochs_with_equal_accuracy_the_one_with_the_lower_loss_is_marked(tmp_path: Path) -> None:
    """Training keeps the same one; the panels of accuracy and of loss mark the same epoch."""
    plan = Plan(["A", "B"], ["original"], ["paper"], [0], {}, {})
    histories = read_histories(write_histories(tmp_path, plan, epochs=3), plan)
    histories["validation_accuracy"], histories["validation_loss"] = [0.5, 0.5, 0.25], [1.0, 0.9, 0.8]
    for axis in draw_history(histories, ["original"]).axes:
        assert [line.get_ydata()[0] for line in axis.lines if list(line.get_xdata()) == [2]] in ([0.5], [0.9])


@pytest.mark.usefixtures("style")
def test_the_history_has_a_row_of_panels_for_each_variant(tmp_path: Path) -> None:
    plan = Plan(["A", "B"], ["original", "realesrgan_x4"], ["paper"], [0], {}, {})
    histories = read_histories(write_histories(tmp_path, plan), plan)
    figure = draw_history(histories, plan.variants)
    assert [axis.get_ylabel() for axis in figure.axes] == [
        f"{quantity}, {variant} images"
        for variant in ("original", "Real-ESRGAN ×4")
        for quantity in ("Accuracy", "Loss")
    ]
    assert_legible(figure)
    with pytest.raises(InputError, match="trained on dual"):
        draw_history(histories, ["dual"])


STUDY_CLASSES = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]


def drawn_by_class(folder: Path, classes: list[str], measure: str, **more: object) -> tuple[list[Arm], Figure]:
    """Two seeds of which the second, in Real-ESRGAN, also takes every third image for one of the first class."""
    results = write_results(
        folder, classes, ["original", "realesrgan_x4"], seeds=(0, 1), per_class=60, copies=2, **more
    )  # type: ignore[arg-type]
    worse = next(run.path for run in results.predictions if run.trained_on == "realesrgan_x4" and run.seed == 1)
    table = pd.read_csv(worse)
    table.loc[table.index % 3 == 0, "predicted"] = classes[0]
    table.to_csv(worse, index=False)
    arms = [main_arm(arms_of(results), results.plan, variant) for variant in results.plan.variants]
    scores = {arm.tested_on: class_scores(arm) for arm in arms}
    return arms, draw_classes(scores, measure, results.plan)


SCIKIT_LEARN = {
    "accuracy": lambda actual, predicted, name: accuracy_score(actual == name, predicted == name),
    "recall": lambda actual, predicted, name: recall_score(actual == name, predicted == name),
    "f1": lambda actual, predicted, name: f1_score(actual == name, predicted == name),
}


@pytest.mark.usefixtures("style", "few_resamples")
@pytest.mark.parametrize("measure", FIGURES.values())
def test_bars_of_classes_equal_scikit_learn_and_have_intervals(tmp_path: Path, measure: str) -> None:
    arms, figure = drawn_by_class(tmp_path, STUDY_CLASSES, measure)
    (axis,) = figure.axes
    assert [container.get_label() for container in axis.containers] == ["original", "Real-ESRGAN ×4"]
    for arm, bars in zip(arms, axis.containers, strict=True):
        actual = arm.rows["class"].to_numpy()
        expected = [
            np.mean([SCIKIT_LEARN[measure](actual, predicted, name) for predicted in arm.predicted.values()])
            for name in STUDY_CLASSES
        ]
        assert [bar.get_width() for bar in bars] == pytest.approx(expected)
    intervals = [line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2]
    for bar, (low, high) in zip([bar for bars in axis.containers for bar in bars], intervals, strict=True):
        assert low < bar.get_width() < high or (measure == "recall" and np.isnan(low) == np.isnan(high))
    assert_legible(figure)


@pytest.mark.usefixtures("style", "few_resamples")
@pytest.mark.parametrize(
    ("measure", "eosinophil"),
    [
        ("accuracy", [1 - 136 / 1989, 1 - 172 / 1989]),
        ("recall", [447 / 499, 423 / 499]),
        ("f1", [2 * 447 / (499 + 531), 2 * 423 / (499 + 519)]),
    ],
)
def test_bars_of_classes_are_next_to_the_studys_values(tmp_path: Path, measure: str, eosinophil: list[float]) -> None:
    """By hand from the study's confusion matrices: rows and columns of the eosinophils."""
    _, figure = drawn_by_class(tmp_path, STUDY_CLASSES, measure)
    hollow = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in hollow] == pytest.approx(eosinophil)
    _, other = drawn_by_class(tmp_path / "other", ["A", "B"], measure)
    assert not [line for line in other.axes[0].lines if line.get_marker() == "D"]


@pytest.mark.usefixtures("style", "few_resamples")
def test_bars_of_many_classes_with_long_names_are_legible(tmp_path: Path) -> None:
    assert_legible(drawn_by_class(tmp_path, LONG_NAMES, "f1")[1])


def test_a_history_with_a_damaged_cell_is_an_error(tmp_path: Path) -> None:
    plan = Plan(["A", "B"], ["original"], ["paper"], [0], {}, {})
    (run,) = write_histories(tmp_path, plan)
    run.history.write_text(run.history.read_text().replace("0.5", "half"))
    with pytest.raises(InputError, match="not a number"):
        read_histories([run], plan)


def results_of(folder: Path, classes: list[str], **more: object) -> Results:
    return write_results(folder, classes, ["original", "bicubic_x4", "realesrgan_x4"], dual=True, **more)  # type: ignore[arg-type]


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize(
    "classes",
    [
        ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"],
        LONG_NAMES[:2],
        LONG_NAMES,
        [f"metamyelocyte{number}withoutanyspace" for number in range(6)],
    ],
)
def test_confusion_matrix_is_legible(tmp_path: Path, classes: list[str]) -> None:
    results = results_of(tmp_path, classes)
    longest = max(arms_of(results), key=lambda arm: len(arm.trained_on + arm.tested_on))
    assert_legible(draw_confusion(longest, results.plan))


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize(("classes", "rotation"), [(LONG_NAMES[:2], 0), ([f"metamyelocyte{n}" for n in range(4)], 45)])
def test_class_names_below_a_confusion_matrix_are_rotated_instead_of_broken(
    tmp_path: Path, classes: list[str], rotation: int
) -> None:
    results = write_results(tmp_path, classes, ["original"])
    labels = draw_confusion(arms_of(results)[0], results.plan).axes[0].get_xticklabels()
    assert [label.get_rotation() for label in labels] == [rotation] * len(classes)
    assert [label.get_text().replace("_\n", "_").replace("\n", " ") for label in labels] == classes


@pytest.mark.usefixtures("style")
def test_confusion_matrix_shows_counts_and_shares_of_the_row(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"])
    arm = arms_of(results)[0]
    rows = pd.DataFrame({"image": list("1234"), "class": "A", "source": ""})
    figure = draw_confusion(replace(arm, rows=rows, predicted={"seed 0": np.array(list("ABBB"))}), results.plan)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1\n25.0 %", "3\n75.0 %", "0", "0"]
    assert figure.axes[0].get_images()[0].get_array().tolist() == [[0.25, 0.75], [0, 0]]


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize("per_class", [4, 20])
def test_differences_are_legible_and_name_both_arms(tmp_path: Path, per_class: int) -> None:
    """With too few sources, there is no interval to draw."""
    variants = ["original", "bicubic_x4", "lanczos_x4", "realesrgan_x4"]
    results = write_results(
        tmp_path, ["A", "B"], variants, dual=True, cross_evaluate=True, per_class=per_class, sizes=(448,)
    )
    worse = next(run.path for run in results.predictions if run.trained_on == run.tested_on == "bicubic_x4")
    table = pd.read_csv(worse)
    table.loc[table.index % 3 == 0, "predicted"] = "A"
    table.to_csv(worse, index=False)
    data = differences([arm for arm in arms_of(results) if arm.subset == "test"], results.plan)
    assert len(data) == 3 + 2 + 2 + 1 + 6 + 5
    drawn = data["metric_low"].notna().sum()
    assert bool(drawn) == (per_class == 20)
    figure = draw_differences(data)
    assert_legible(figure)
    if drawn:
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert labels[0] == "bicubic ×4 − original"
        assert len(labels) == drawn < len(data)
        intervals = [line for line in figure.axes[0].lines if len(set(line.get_xdata())) == 2]
        assert len(intervals) == drawn


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize("splits", [("paper",), ("paper", "by_source")])
def test_accuracies_show_every_arm(tmp_path: Path, splits: tuple[str, ...]) -> None:
    classes = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
    results = results_of(tmp_path, classes, splits=splits, seeds=(0, 1), per_class=30)
    figure = draw_accuracies(arms_of(results), results.plan)
    assert len(figure.axes) == len(splits)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [
        "original",
        "bicubic ×4",
        "Real-ESRGAN ×4",
        "dual, tested on original",
        "dual, tested on Real-ESRGAN ×4",
    ]
    hollow = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [line.get_xdata()[0] for line in hollow] == pytest.approx([1825 / 1989, 1777 / 1989])
    assert_legible(figure)


@pytest.mark.usefixtures("style")
@pytest.mark.parametrize(("per_class", "subsets"), [(30, ["validation", "test"]), (6, ["test"]), (2, [])])
def test_an_accuracy_without_an_interval_is_not_drawn(tmp_path: Path, per_class: int, subsets: list[str]) -> None:
    """Of 30 images of each class, 10 sources are in the validation; of 6, too few are; of 2, the test has too few."""
    results = write_results(tmp_path, ["A", "B"], ["original", "bicubic_x4"], per_class=per_class)
    figure = draw_accuracies(arms_of(results), results.plan)
    intervals = [line for axis in figure.axes for line in axis.lines if len(line.get_xdata()) == 2]
    dots = [line for axis in figure.axes for line in axis.lines if line.get_marker() in ("o", "s")]
    assert len(intervals) == len(dots) == 2 * len(subsets)
    assert [text.get_text() for legend in figure.legends for text in legend.get_texts()] == subsets
    assert_legible(figure)
