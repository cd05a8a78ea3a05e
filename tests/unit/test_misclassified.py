"""The sources that every classifier misclassifies, and their pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from results import Results, arms_of, write_results
from wbcsr.imaging import encode_png
from wbcsr.present.tables.misclassified import misclassified_table
from wbcsr.report import pictures
from wbcsr.stats.misclassified import NUMBERS, TEXTS, misclassified

CLASSES = ["EOSINOPHIL", "MONOCYTE", "NEUTROPHIL"]


def miss(results: Results, images: list[str], predicted: list[str]) -> None:
    """Make every run predict `predicted` in turn for the images, starting with another one in each run."""
    for number, run in enumerate(results.predictions):
        table = pd.read_csv(run.path).set_index("image")
        for place, image in enumerate(images):
            table.loc[image, "predicted"] = predicted[(number + place) % len(predicted)]
        table.reset_index().to_csv(run.path, index=False)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Three images of each source, and runs of two variants and two seeds, in the splits paper and by_source."""
    return write_results(
        tmp_path,
        CLASSES,
        ["original", "bicubic_x2"],
        splits=("paper", "by_source"),
        seeds=(0, 1),
        per_class=9,
        copies=3,
    )


def test_a_source_is_listed_only_if_every_run_misclassified_every_image(results: Results) -> None:
    first, second = ([f"TEST/NEUTROPHIL/{number}.png" for number in numbers] for numbers in ((3, 4, 5), (6, 7, 8)))
    assert misclassified(arms_of(results), results.plan).empty
    miss(results, [*first, *second], ["EOSINOPHIL", "EOSINOPHIL", "MONOCYTE"])
    # One image of the second source is recognised by one run of the split that counts.
    run = [run for run in results.predictions if run.split == "by_source"][-1]
    table = pd.read_csv(run.path)
    table.loc[table["image"] == second[1], "predicted"] = "NEUTROPHIL"
    table.to_csv(run.path, index=False)
    found = misclassified(arms_of(results), results.plan)
    assert list(found.columns) == [*TEXTS, *NUMBERS]
    (row,) = found.to_dict("records")
    assert (row["split"], row["subset"], row["source"]) == ("by_source", "test", "TEST/NEUTROPHIL/1")
    assert (row["class"], row["predicted"], row["image"]) == ("NEUTROPHIL", "EOSINOPHIL", first[0])
    # Four runs of three images; each run names the eosinophil twice.
    assert (row["images"], row["predictions"], row["share"]) == (3, 12, pytest.approx(8 / 12))
    cells = misclassified_table(found, results.plan).cells.iloc[0]
    assert (cells["class"], cells["predicted"], cells["share"]) == ("Neutrophil", "Eosinophil", "66.7")


def test_the_list_equals_a_search_image_by_image(results: Results) -> None:
    random, following = np.random.default_rng(0), dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True))
    for run in results.predictions:
        table = pd.read_csv(run.path)
        wrong = table["image"].str.extract(r"(\d+)\.png")[0].astype(int).lt(7) & (random.random(len(table)) < 0.9)
        table.loc[wrong, "predicted"] = table.loc[wrong, "class"].map(following)
        table.to_csv(run.path, index=False)
    right: dict[str, bool] = {}
    source_of = pd.read_csv(results.sources).set_index("image")["source"]
    for run in results.predictions:
        if run.split == "by_source":
            for _, row in pd.read_csv(run.path).iterrows():
                if row["image"].startswith("TEST/"):
                    source = source_of[row["image"]]
                    right[source] = right.get(source, False) or row["class"] == row["predicted"]
    expected = {source for source, any_right in right.items() if not any_right}
    assert expected
    assert set(misclassified(arms_of(results), results.plan)["source"]) == expected


def test_without_known_sources_every_image_counts(tmp_path: Path) -> None:
    results = write_results(tmp_path, ["A", "B"], ["original"], per_class=3, copies=0)
    miss(results, ["TEST/A/1.png"], ["B"])
    assert misclassified(arms_of(results), results.plan)[["source", "images"]].to_numpy().tolist() == [
        ["TEST/A/1.png", 1]
    ]


def test_at_most_twelve_pictures_are_shown_of_every_class(results: Results, tmp_path: Path) -> None:
    names = [(name, number) for name in ("EOSINOPHIL", "NEUTROPHIL") for number in range(20)][:25]
    data = pd.DataFrame(
        [("by_source", "test", f"{name}{n}", name, "MONOCYTE", f"TEST/{name}/{n}.png", 3, 6, 1.0) for name, n in names],
        columns=[*TEXTS, *NUMBERS],
    )
    (tmp_path / "one.png").write_bytes(encode_png(np.full((60, 600, 3), 200, np.uint8)))
    images = pd.DataFrame({"variant": "original", "image": data["image"], "path": tmp_path / "one.png"})
    found = pictures.misclassified(data, images, results.plan)
    assert len(found) == pictures.MOST_MISCLASSIFIED == 12
    # The second class has five rows, so seven of the first are shown.
    assert [picture["caption"].split(",")[0] for picture in found] == ["Eosinophil"] * 7 + ["Neutrophil"] * 5
    assert "Monocyte (three images). TEST/EOSINOPHIL/0.png" in found[0]["caption"]
    shown = Image.open(io.BytesIO(base64.b64decode(found[0]["source"].partition(",")[2])))
    assert (shown.format, shown.width) == ("JPEG", 480)
