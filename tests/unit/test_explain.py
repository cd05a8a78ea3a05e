"""Changed predictions: which images changed, which are shown, and Grad-CAM computed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from legible import assert_legible
from wbcsr.classify import classifiers
from wbcsr.config import compared_variant
from wbcsr.config.schema import complete
from wbcsr.errors import InputError
from wbcsr.explain import LEAST_FIELDS, fields
from wbcsr.explain.changes import (
    FEW,
    choose,
    compared_images,
    count_changes,
    count_pairs,
    list_changes,
    read_predictions,
)
from wbcsr.explain.explain import ChangesSummary, Trained, explain_changes
from wbcsr.explain.figures import DARKEST, NO_MAP, View, draw_changes, overlay
from wbcsr.explain.grad_cam import enlarge, grad_cam
from wbcsr.imaging import encode_png
from wbcsr.present.style import STYLE, house_style
from wbcsr.report import changes
from wbcsr.report.page import ENVIRONMENT
from wbcsr.report.pictures import Figures

CLASSES = ["EOSINOPHIL", "NEUTROPHIL", "MONOCYTE"]
E, N, M = CLASSES
SIDE = 192  # the least for which a map is drawn
SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"


def predictions(folder: Path, name: str, rows: list[tuple[str, str, str, float, float]]) -> Path:
    """A predictions file with rows of image, class, predicted, and the probabilities of these two classes.

    The other classes share the remaining probability equally.
    """
    table = []
    for image, actual, predicted, probability, confidence in rows:
        values = {actual: probability} | {predicted: confidence}
        rest = (1 - sum(values.values())) / (len(CLASSES) - len(values))
        table.append(
            {"image": image, "class": actual, "predicted": predicted} | {c: values.get(c, rest) for c in CLASSES}
        )
    path = folder / name
    pd.DataFrame(table).to_csv(path, index=False)
    return path


# Image, class, then the predicted class, the actual class's probability and the confidence, on original and on enhanced
# images.
HAND_MADE = [
    ("a", E, (N, 0.2, 0.7), (E, 0.9, 0.9), "gained"),
    ("b", E, (E, 0.8, 0.8), (N, 0.1, 0.6), "lost"),
    ("c", N, (M, 0.1, 0.5), (E, 0.3, 0.6), "other"),
    ("d", N, (N, 0.9, 0.9), (N, 0.6, 0.6), None),
    ("e", M, (E, 0.2, 0.7), (E, 0.1, 0.8), None),
]


@pytest.fixture
def tables(tmp_path: Path) -> list[pd.DataFrame]:
    images = pd.DataFrame({"image": [row[0] for row in HAND_MADE], "subset": "test"})
    paths = [
        predictions(tmp_path, f"{which}.csv", [(row[0], row[1], *row[which]) for row in reversed(HAND_MADE)])
        for which in (2, 3)
    ]
    return [read_predictions(path, images, CLASSES) for path in paths]


def test_changes_agree_with_hand_made_predictions(tables: list[pd.DataFrame]) -> None:
    found = list_changes(*tables, ("original", "enhanced"))
    wanted = [
        (image, "test", actual, one[0], other[0], one[1], other[1], one[2], other[2], kind)
        for image, actual, one, other, kind in HAND_MADE
        if kind
    ]
    assert list(found.itertuples(index=False, name=None)) == wanted
    assert list(found.columns) == [
        *("image", "subset", "class", "predicted_original", "predicted_enhanced", "probability_original"),
        *("probability_enhanced", "confidence_original", "confidence_enhanced", "kind"),
    ]
    assert count_changes(*tables) == {"images": 5, "changed": 3, "gained": 1, "lost": 1, "other": 1}
    # With the two classifiers exchanged, gained and lost are exchanged.
    assert count_changes(*reversed(tables)) == {"images": 5, "changed": 3, "gained": 1, "lost": 1, "other": 1}
    assert count_changes(tables[0], tables[0])["changed"] == 0


def test_changes_between_all_pairs_of_seeds_are_counted(tables: list[pd.DataFrame]) -> None:
    one, other = tables
    counts = count_pairs({0: one, 1: one, 7: other}, {0: other, 1: other, 7: other}, ("original", "realesrgan_x4"))
    pairs = [(*row[:4], row[6]) for row in counts.itertuples(index=False, name=None)]
    assert pairs == [
        *(("original", seed, "realesrgan_x4", seed, changed) for seed, changed in ((0, 3), (1, 3), (7, 0))),
        *(("original", a, "original", b, changed) for a, b, changed in ((0, 1, 0), (0, 7, 3), (1, 7, 3))),
        *(("realesrgan_x4", a, "realesrgan_x4", b, 0) for a, b in ((0, 1), (0, 7), (1, 7))),
    ]
    assert set(counts["subsets"]) == {"test"}


@pytest.mark.parametrize(("tested", "subsets"), [(FEW - 1, {"test", "validation"}), (FEW, {"test"})])
def test_with_few_test_images_validation_images_are_included(tmp_path: Path, tested: int, subsets: set[str]) -> None:
    subset = ["train", "validation", *["test"] * tested]
    pd.DataFrame({"image": range(len(subset)), "subset": subset}).to_csv(tmp_path / "paper.csv", index=False)
    assert set(compared_images(tmp_path / "paper.csv")["subset"]) == subsets


def test_a_class_may_have_the_name_of_a_column(tmp_path: Path) -> None:
    images = pd.DataFrame({"image": ["b", "a"], "subset": ["test", "validation"]}, index=[7, 9])
    (tmp_path / "p.csv").write_text(
        "image,class,predicted,subset,source\na,subset,source,0.4,0.6\nb,source,source,0.3,0.7\n"
    )
    found = read_predictions(tmp_path / "p.csv", images, ["subset", "source"])
    assert list(found.itertuples(index=False, name=None)) == [
        ("b", "test", "source", "source", 0.7, 0.7),
        ("a", "validation", "subset", "source", 0.4, 0.6),
    ]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda table: table.drop([1, 3]),
            r"p\.csv: lacks 2 of 5 images \(first: b\); run once with --force -- .*p\.csv",
        ),
        (lambda table: pd.concat([table, table.head(1)]), r"p\.csv: has a twice"),
        (lambda table: table.replace({"predicted": {N: "BASOPHIL"}}), r"p\.csv: has the class 'BASOPHIL'"),
        (lambda table: table.drop(columns=M), r"p\.csv: lacks the column\(s\) MONOCYTE"),
        (lambda table: table.astype({E: str}).replace({E: {"0.2": "much"}}), r"p\.csv: has a probability that is not"),
    ],
    ids=["missing", "twice", "class", "column", "number"],
)
def test_unusable_predictions_give_one_line(
    tmp_path: Path, damage: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    path = predictions(tmp_path, "p.csv", [(row[0], row[1], *row[2]) for row in HAND_MADE])
    damage(pd.read_csv(path)).to_csv(path, index=False)
    images = pd.DataFrame({"image": list("abcde"), "subset": "test"})
    with pytest.raises(InputError, match=message) as error:
        read_predictions(path, images, CLASSES)
    assert "\n" not in str(error.value)


def test_an_image_with_two_classes_gives_one_line(tables: list[pd.DataFrame]) -> None:
    tables[1].loc[0, "class"] = M
    with pytest.raises(InputError, match="two files give a different classes"):
        list_changes(*tables, ("original", "enhanced"))


def changes_of(moves: dict[str, tuple[str, float]]) -> pd.DataFrame:
    """Changes with only the columns that `choose` uses: image → class and probability change from 0.5."""
    rows = [(image, name, "", 0.5, 0.5 + move) for image, (name, move) in moves.items()]
    return pd.DataFrame(rows, columns=["image", "class", "source", "probability_original", "probability_enhanced"])


MOVES = {
    **{"e1": (E, 0.1), "e2": (E, -0.4), "e3": (E, 0.3), "e4": (E, 0.3)},
    **{"n1": (N, 0.05), "n2": (N, 0.2), "m1": (M, -0.01)},
}


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (1, ["e2"]),
        (2, ["e2", "n2"]),
        (3, ["e2", "n2", "m1"]),  # each class before any second image of a class, even with a small change
        (4, ["e2", "e3", "n2", "m1"]),  # of two equal changes, the first by name
        (5, ["e2", "e3", "n2", "n1", "m1"]),
        (8, ["e2", "e3", "e4", "e1", "n2", "n1", "m1"]),
    ],
)
def test_the_selection_is_balanced_and_ranked_by_probability_change(number: int, wanted: list[str]) -> None:
    changes = changes_of(MOVES)
    assert list(choose(changes, CLASSES, number)["image"]) == wanted
    shuffled = changes.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(choose(shuffled, CLASSES, number), choose(changes, CLASSES, number))


def test_one_image_of_each_source_is_selected() -> None:
    changes = changes_of(MOVES)
    changes.loc[changes["image"].isin(["e1", "e2", "e3"]), "source"] = "photograph"
    assert list(choose(changes, CLASSES, 8)["image"]) == ["e2", "e4", "n2", "n1", "m1"]


def test_without_changes_nothing_is_selected() -> None:
    assert choose(changes_of({}), CLASSES, 4).empty


class Corner(nn.Module):
    """The red value of the top-left pixel supports class 0; all green values support class 1 and oppose class 2."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        seen = self.layer(x)
        return torch.stack([seen[:, 0, 0, 0], seen[:, 1].sum((1, 2)), -seen[:, 1].sum((1, 2))], dim=1)


def test_grad_cam_equals_a_calculation_by_hand() -> None:
    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images[0, 0] = torch.eye(4)[0].outer(torch.eye(4)[0])  # red only in the corner
    network = Corner()
    found = grad_cam(network, network.layer, images, torch.tensor([0, 1, 2]))
    # The mean gradient of the corner's logit over 16 places is 1/16 for red and 0 for green.
    corner = torch.zeros(4, 4)
    corner[0, 0] = 1.0
    torch.testing.assert_close(found[0], corner)
    # The gradient of the sum of green is 1 for green, so the map is green itself, scaled to its maximum.
    torch.testing.assert_close(found[1], images[1, 1] / images[1, 1].max())
    # Everything opposes the last class.
    assert (found[2] == 0).all()
    assert not found.requires_grad


class SeesACorner(nn.Module):
    """Two convolutions that halve the image and see only one quarter of it."""

    def __init__(self, quarter: tuple[int, int]) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 4, 2, 2), nn.ReLU())
        self.head = nn.Linear(4, 2)
        mask = torch.zeros(16, 16)
        row, column = quarter
        mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 1
        self.register_buffer("mask", mask)
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.1 if parameter.ndim > 1 else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(x * self.mask).mean((2, 3)))


@pytest.mark.parametrize("quarter", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_map_of_a_network_that_sees_one_corner_is_bright_there(quarter: tuple[int, int]) -> None:
    network = SeesACorner(quarter)
    heat = grad_cam(network, network.block, torch.ones(1, 3, 16, 16), torch.tensor([1]))
    wanted = torch.zeros(1, 2, 2, 2, 2)
    wanted[0, quarter[0], :, quarter[1]] = 1
    torch.testing.assert_close(heat, wanted.reshape(1, 4, 4))
    # In the enlarged map, brightness decreases towards the dark quarters and is highest in this one.
    large = enlarge(heat, 16)[0]
    corner = [15 * part for part in quarter]
    assert large[corner[0], corner[1]] == 1
    assert large[15 - corner[0], 15 - corner[1]] == 0


def test_enlarging_keeps_a_constant_map() -> None:
    torch.testing.assert_close(enlarge(torch.full((2, 3, 3), 0.5), 7), torch.full((2, 7, 7), 0.5))


def test_the_overlay_is_dark_where_the_map_is_low() -> None:
    heat = np.zeros((4, 4), np.float32)
    heat[0] = 1
    shown = overlay(np.full((4, 4, 3), 200, np.uint8), heat)
    assert (shown[0] == 200).all()
    assert (shown[1:] == round(200 * DARKEST)).all()


# ---- from files to files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five test images, two trained networks, and the predictions of `HAND_MADE`."""
    folder = tmp_path_factory.mktemp("explain")
    names = [row[0] for row in HAND_MADE]
    actual = [row[1] for row in HAND_MADE]
    pd.DataFrame({"image": names, "subset": "test"}).to_csv(folder / "paper.csv", index=False)
    images = pd.DataFrame({"image": names, "partition": "TEST", "class": actual, "sha256": ""})
    images.assign(width=80, height=60).to_csv(folder / "images.csv", index=False)
    images[["image"]].assign(source="").to_csv(folder / "sources.csv", index=False)
    for number, variant in enumerate(("original", "realesrgan_x4")):
        pixels = np.random.default_rng(number).integers(0, 256, (len(names), SIDE, SIDE, 3), np.uint8)
        np.save(folder / f"{variant}.npy", pixels)
        images.to_csv(folder / f"{variant}.csv", index=False)
        state = classifiers.build(len(CLASSES), number, None).state_dict()
        classifiers.save(state, classifiers.Description(tuple(CLASSES), SIDE), folder / f"{variant}.safetensors")
        predictions(folder, f"{variant}_0.csv", [(row[0], row[1], *row[2 + number]) for row in HAND_MADE])
        predictions(folder, f"{variant}_1.csv", [(row[0], row[1], *row[2]) for row in HAND_MADE])
    return folder


def explain(study: Path, output: Path, number: int = 8) -> ChangesSummary:
    original, enhanced = (
        Trained(
            variant,
            study / f"{variant}.safetensors",
            study / f"{variant}.npy",
            study / f"{variant}.csv",
            {seed: study / f"{variant}_{seed}.csv" for seed in (0, 1)},
        )
        for variant in ("original", "realesrgan_x4")
    )
    files = [study / "paper.csv", study / "images.csv", study / "sources.csv"]
    return explain_changes(
        original, enhanced, *files, CLASSES, number, output / "changes.csv", output / "counts.csv", output, 1
    )


def test_files_are_complete_and_reproducible(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STYLE, "savefig.dpi", 40)
    for name in ("once", "twice"):
        summary = explain(study, tmp_path / name)
    assert (summary.images, summary.changed, summary.drawn) == (5, 3, 2)
    assert summary.kinds == {"gained": 1, "lost": 1, "other": 1}
    files = {path.name for path in (tmp_path / "once").iterdir()}
    figures = {f"changes_{kind}.{suffix}" for kind in ("gained", "lost") for suffix in ("png", "svg")}
    assert files == {"changes.csv", "counts.csv", *figures}
    for name in files:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()
    table = pd.read_csv(tmp_path / "once" / "changes.csv", keep_default_na=False, dtype=str)
    assert table[["image", "kind", "shown"]].values.tolist() == [
        ["a", "gained", "1"],
        ["b", "lost", "1"],
        ["c", "other", ""],
    ]
    counts = pd.read_csv(tmp_path / "once" / "counts.csv")
    assert counts["changed"].tolist() == [3, 0, 0, 3]


def view(label: str) -> View:
    heat = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    return View(np.full((SIDE, SIDE, 3), 200, np.uint8), heat, label, label)


@pytest.mark.parametrize(("side", "maps"), [(192, True), (161, True), (160, False), (32, False)])
def test_maps_of_fewer_than_six_fields_are_not_drawn_and_the_page_says_so(
    tmp_path: Path, side: int, maps: bool
) -> None:
    network, last = classifiers.build(2, 0, None), classifiers.Description(tuple("AB"), side).network.last[-1]
    layer = network.get_submodule(last)
    heat = grad_cam(network.eval(), layer, torch.rand(1, 3, side, side), torch.tensor([0]))
    assert heat.shape[1:] == (fields(side), fields(side))
    assert (fields(side) >= LEAST_FIELDS) == maps
    counts = counts_of(("original", 0, SR, 0, 1, 0, 0))
    found = section(tmp_path, counts, ["1"], train={"input_size": side})
    assert found is not None
    assert ("No Grad-CAM maps are drawn" in words_of(found)) == (not maps)
    assert ("Grad-CAM" in found["pictures"][0]["caption"]) == maps


def test_without_maps_only_the_inputs_are_drawn() -> None:
    names = {"image": ["a"], "class": E, "kind": "gained", "predicted_original": N, "predicted_enhanced": E}
    numbers = {f"{what}_{of}": 0.5 for what in ("probability", "confidence") for of in ("original", "enhanced")}
    views = {"a": replace(view(E), map=None)}
    sizes = pd.DataFrame({"width": 320, "height": 240}, index=["a"])
    with house_style():
        figure = draw_changes(pd.DataFrame(names).assign(**numbers), "gained", views, views, sizes, SR, CLASSES)
        assert_legible(figure)
    assert len(figure.axes) == 2
    assert NO_MAP in [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("number", [0, 1, 8])
@pytest.mark.parametrize("classes", [CLASSES, ["immature granulocyte, stage_1 of 8", "b", "a_b $^$ 50%"]])
def test_the_text_of_the_figure_is_legible(number: int, classes: list[str]) -> None:
    one, other = classes[:2]
    rows = pd.DataFrame(
        {
            **{"image": [f"i{n}" for n in range(number)], "class": other, "kind": "gained"},
            **{"predicted_original": one, "predicted_enhanced": other},
            **{"probability_original": 0.001, "probability_enhanced": 1.0},
            **{"confidence_original": 0.999, "confidence_enhanced": 1.0},
        }
    )
    views = {name: view(one) for name in rows["image"]}
    sizes = pd.DataFrame({"width": 320, "height": 240}, index=rows["image"])
    with house_style():
        figure = draw_changes(rows, "gained", views, views, sizes, "realesrgan_x4", classes)
        assert_legible(figure)
    pictures = [axis.get_window_extent() for axis in figure.axes]
    for text in figure.texts:
        assert not any(text.get_window_extent().overlaps(picture) for picture in pictures), text.get_text()


# ---- text of the report ----------------------------------------------------------------------------------------


def counts_of(*changed: tuple[str, int, str, int, int, int, int], images: int = 100) -> pd.DataFrame:
    """A counts.csv in memory: two variants and seeds, and the numbers of gained, lost and other changes."""
    names = ["first_variant", "first_seed", "second_variant", "second_seed", "gained", "lost", "other"]
    table = pd.DataFrame(changed, columns=names).assign(images=images, subsets="test")
    return table.assign(changed=table[["gained", "lost", "other"]].sum(axis=1))


SR = "realesrgan_x4"


def words_of(section: dict[str, Any]) -> str:
    """What the page says of the changes."""
    page = ENVIRONMENT.get_template("changes.html.j2")
    return re.sub(r"[ \n]+", " ", page.render(changes=section, results=lambda table: "", drawing=lambda *_: ""))


@pytest.mark.parametrize(("kinds", "share"), [((4, 6, 2), "12.0"), ((6, 5, 0), "11.0"), ((0, 0, 0), "0.0")])
def test_the_page_gives_the_counts(tmp_path: Path, kinds: tuple[int, int, int], share: str) -> None:
    found = section(tmp_path, counts_of(("original", 0, SR, 0, *kinds)), ["1", *[""] * sum(kinds)][: sum(kinds)])
    assert found is not None
    gained, lost, other = kinds
    for part in (f"{share}\u00a0%", f"{gained} gained", f"{lost} lost", f"{other} changed"):
        assert part in words_of(found)
    assert ("changes.csv" in words_of(found)) == (gained + lost > 0)


@pytest.mark.parametrize(
    ("between", "within", "order"),
    [([10], [], None), ([30, 31], [10, 12], "more"), ([30, 12], [10, 12], ""), ([3, 4], [10, 12], "less")],
)
def test_the_changes_are_compared_with_all_pairs_of_seeds(
    between: list[int], within: list[int], order: str | None
) -> None:
    rows = [("original", seed, SR, seed, 0, 0, count) for seed, count in enumerate(between)]
    rows += [(name, 0, name, 1, 0, 0, count) for name, count in zip(("original", SR), within, strict=False)]
    found = changes.yardstick(counts_of(*rows))
    if order is None:
        assert found is None
    else:
        mean = sum(between) / len(between) / 100
        assert found == {"original": within[0] / 100, "pairs": 1, "between": pytest.approx(mean), "order": order}


def section(folder: Path, counts: pd.DataFrame, shown: list[str], **more: Any) -> dict[str, Any] | None:
    table = pd.DataFrame({"image": range(len(shown)), "subset": "test", "class": E, "kind": "gained", "shown": shown})
    table.to_csv(folder / "changes.csv", index=False)
    counts.to_csv(folder / "counts.csv", index=False)
    paths = []
    for kind in ("gained", "lost"):
        paths.append(folder / f"changes_{kind}.png")
        paths[-1].write_bytes(encode_png(np.zeros((4, 6, 3), np.uint8)))
    return changes.section([folder / "changes.csv", folder / "counts.csv"], Figures(paths), complete(more, SCHEMA))


def test_the_section_has_counts_figures_and_the_caveat(tmp_path: Path) -> None:
    found = section(tmp_path, counts_of(("original", 0, SR, 0, 3, 0, 0)), ["1", "2", ""])
    assert found is not None
    assert "2 of 3 gained" in words_of(found)
    assert found["table"].cells["pair"].tolist()[0] == "original, seed 0 → Real-ESRGAN ×4, seed 0"
    assert [picture["alt"][:9] for picture in found["pictures"]] == ["two cells", "A notice "]
    assert found["fields"] == 7  # 224 pixels


def test_inconsistent_counts_give_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"counts\.csv: counts 3 changed labels, but .*changes\.csv lists 1; delete both"
    ):
        section(tmp_path, counts_of(("original", 0, SR, 0, 3, 0, 0)), ["1"])


def test_without_an_enhanced_variant_there_is_no_section() -> None:
    assert changes.section([], Figures([]), complete({}, SCHEMA)) is None


@pytest.mark.parametrize(
    ("variants", "compared"),
    [
        (["original"], None),
        (["original", "bicubic_x2", "lanczos_x2"], "lanczos_x2"),
        (["realesrgan_x2", "original", "bicubic_x4", "realesrgan_x4"], "realesrgan_x2"),
    ],
)
def test_the_variant_compared_with_original(variants: list[str], compared: str | None) -> None:
    assert compared_variant(variants) == compared
