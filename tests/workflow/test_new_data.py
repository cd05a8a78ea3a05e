"""Synthetic data sets of other kinds, from the archive to the report, with only a configuration."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from studies import BY_ITSELF, REPOSITORY, SMALL, copy_study, run, write_config

# Names that a shell, a pattern, a table or a page could misinterpret.
NAMES = [
    "blast cell", "-rf", "früh ☂", "$(touch injected)", "a;touch injected", "it's", 'say "so"', "50%", "#1", "&amp",
    "a.b+c*", "class|other",
]  # fmt: skip


def cell(seed: int, colour: float, size: tuple[int, int]) -> np.ndarray:
    """A round object on noise, with the colour of its class; RGB of `size` (width, height)."""
    rng = np.random.default_rng(seed)
    pixels = cv2.GaussianBlur(rng.integers(150, 250, (size[1], size[0], 3), dtype=np.uint8), (0, 0), 1.5)
    hue = np.uint8([[[int(colour * 170), 200, 160]]])
    shade = tuple(map(int, cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]))
    return cv2.circle(pixels, (size[0] // 2, size[1] // 2), min(size) // 3, shade, -1)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def rotated(image: Image.Image) -> bytes:
    """A JPEG file that is stored rotated, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, "JPEG", exif=exif)


# Suffix → function that encodes an image; each class has one image of each.
KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpg": lambda image: saved(image, "JPEG"),
    "cmyk.jpeg": lambda image: saved(image.convert("CMYK"), "JPEG"),
    "rotated.jpg": rotated,
    "png": lambda image: saved(image, "PNG"),
    "palette.png": lambda image: saved(image.quantize(32), "PNG"),
    "alpha.png": lambda image: saved(image.convert("RGBA"), "PNG"),
    "grey.png": lambda image: saved(image.convert("L"), "PNG"),
    "16.png": lambda image: cv2.imencode(".png", np.asarray(image).astype(np.uint16) * 257)[1].tobytes(),
    "bmp": lambda image: saved(image, "BMP"),
    "tif": lambda image: saved(image, "TIFF"),
    "WEBP": lambda image: saved(image, "WEBP", lossless=True),
}


def test_twelve_classes_of_mixed_sizes_and_formats(tmp_path: Path) -> None:
    """Folders <class>/<image> without partitions; each image is its own source."""
    archive = tmp_path / "cells; touch injected"
    sizes = [(24, 24), (40, 24), (32, 48), (4000, 24)]
    for number, name in enumerate(NAMES):
        folder = archive / unicodedata.normalize("NFD", name)  # as macOS writes names
        folder.mkdir(parents=True)
        for copy, (ending, encode) in enumerate(KINDS.items()):
            pixels = cell(100 * number + copy, number / len(NAMES), sizes[(number + copy) % len(sizes)])
            (folder / f"{copy}.{ending}").write_bytes(encode(Image.fromarray(pixels)))
        (folder / "notes.txt").write_text("no image")
    # First in sorted order, so that it is read before the limit is reached.
    (folder / "!torn.jpg").write_bytes(KINDS["jpg"](Image.fromarray(pixels))[:-200])
    study = {
        "dataset": {"archive": str(archive), "classes": NAMES, "partitions": None, "limit_per_class": 11},
        "sources": {"method": "each"},
        "splits": ["by_source"],
        "by_source": {"parts": 3},
        "variants": ["original", "bicubic_x2"],
        "dual": False,
        "cross_evaluate": True,
        "train": {**SMALL["train"], "classifier": "resnet50", "epochs": 1, "batch_size": 16},
    }
    write_config(tmp_path, {**SMALL, **study})
    result = run(tmp_path, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    results = tmp_path / "results"
    for path in results.rglob("*"):
        if path.suffix in (".json", ".csv", ".html", ".md", ".tex", ".svg"):
            assert str(tmp_path) not in path.read_text(), f"{path} tells where its user works"
    images = pd.read_csv(results / "dataset" / "images.csv", keep_default_na=False)
    assert images["class"].value_counts().to_dict() == dict.fromkeys(NAMES, len(KINDS))
    assert set(images["partition"]) == {"ALL"}
    rejected = pd.read_csv(results / "dataset" / "rejected.csv")
    assert sorted(rejected["image"].str.rpartition("/")[2]) == ["!torn.jpg", *["notes.txt"] * len(NAMES)]
    upright = images[images["image"].str.endswith("rotated.jpg")]
    drawn = [sizes[(number + 2) % len(sizes)] for number in range(len(NAMES))]
    assert list(zip(upright["height"], upright["width"], strict=True)) == drawn
    table = pd.read_csv(results / "tables" / "comparison.csv")
    assert set(table["tested_on"]) == {"original", "bicubic_x2"}
    asked = pd.read_csv(results / "tables" / "differences.csv").query("subset == 'test'")["question"].tolist()
    assert asked == ["enlargement", "cross", "cross"]
    counts = pd.read_csv(results / "tables" / "table2.csv", keep_default_na=False)
    assert list(counts["class"]) == [*NAMES, "total"]
    assert counts["total"].iloc[-1] == len(NAMES) * len(KINDS)
    page = (results / "report" / "index.html").read_text()
    assert "$(touch injected)" in page
    assert "&amp;amp" in page
    assert not list(tmp_path.rglob("injected"))


def test_labels_and_groups_from_a_csv_file_with_a_custom_split(tmp_path: Path) -> None:
    """Twelve patients whose cells have the same names in separate folders, with a custom split."""
    classes, rows, split = ["ill", "well"], [], []
    for patient in range(12):
        folder = tmp_path / "clinic" / "scans" / f"patient{patient}"
        folder.mkdir(parents=True)
        for copy in range(3):
            pixels = cell(10 * patient + copy, patient % 2 / 2, (32, 32))
            cv2.imwrite(str(folder / f"{copy}.png"), pixels)
            label = classes[patient % 2]
            rows.append((f"patient{patient}/{copy}.png", label, f"p{patient}"))
            subset = ["train", "validation", "test"][patient // 2 % 3]
            split.append((f"ALL/{label}/patient{patient}_{copy}.png", subset))
    pd.DataFrame(rows, columns=["file", "label", "group"]).to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame(split, columns=["image", "subset"]).to_csv(tmp_path / "mine.csv", index=False)
    study = {
        "dataset": {"archive": "clinic", "labels": "labels.csv", "classes": classes, "partitions": None},
        "sources": {"method": "groups"},
        "splits": ["custom"],
        "custom": "mine.csv",
        "by_source": {"parts": 3},
        "variants": ["original"],
        "dual": False,
        "train": {**SMALL["train"], "epochs": 1},
    }
    write_config(tmp_path, {**SMALL, **study})
    results = tmp_path / "results"
    both = run(tmp_path, "--config", "splits=[custom, by_source]", "--", "results/splits/leakage.csv")
    assert both.returncode == 0, both.stdout
    leakage = pd.read_csv(results / "splits" / "leakage.csv", keep_default_na=False)
    assert leakage[leakage["class"] == ""].set_index(["split", "subset"])["shared"].to_dict() == {
        (name, subset): 0 for name in ("custom", "by_source") for subset in ("validation", "test")
    }
    sources = pd.read_csv(results / "dataset" / "sources.csv")
    assert set(sources["source"]) == {f"p{patient}" for patient in range(12)}
    taken = pd.read_csv(results / "splits" / "custom.csv")
    assert set(taken.itertuples(index=False, name=None)) == set(split)

    result = run(tmp_path, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    assert set(pd.read_csv(results / "tables" / "comparison.csv")["split"]) == {"custom"}
    page = (results / "report" / "index.html").read_text()
    assert "as the file mine.csv says" in page

    # If an input is missing, the run stops before any job, with one line.
    (tmp_path / "mine.csv").unlink()
    result = run(tmp_path, "--dry-run")
    assert result.returncode == 1
    assert "error: configuration: custom: " in result.stdout


def test_a_mistake_in_the_labels_is_printed_at_the_end_of_the_run(tmp_path: Path) -> None:
    """As a user sees it: one of the last lines that Snakemake prints."""
    (tmp_path / "clinic").mkdir()
    for name in "ab":
        cv2.imwrite(str(tmp_path / "clinic" / f"{name}.png"), cell(ord(name), 0.5, (32, 32)))
    (tmp_path / "labels.csv").write_text("file,label\nc.png,ill\nb.png,well\n")
    dataset = {"archive": "clinic", "labels": "labels.csv", "classes": ["ill", "well"], "partitions": None}
    study = {"dataset": dataset, "sources": {"method": "each"}, "splits": ["by_source"], "dual": False}
    write_config(tmp_path, {**SMALL, **study, "variants": ["original"]})
    result = run(tmp_path, "--", "results/dataset/images.csv")
    assert result.returncode == 1
    assert "lists 1 file (first: 'c.png')" in "\n".join(result.stdout.splitlines()[-20:])
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "results" / "dataset" / "images.csv").exists()


def test_published_partitions_in_the_working_folder(tmp_path: Path) -> None:
    """`archive: .` with published train, val and test, one class as a link into a store, complete up to the report.

    A second run makes nothing, even after the folder was copied or touched, or a file was added that is not an image.
    """
    study, store = tmp_path / "study", tmp_path / "store"
    classes, partitions = ["A", "B"], {"train": "train", "validation": "val", "test": "test"}
    for partition, number in (("train", 4), ("val", 2), ("test", 2)):
        for name, colour in zip(classes, (0.2, 0.7), strict=True):
            folder = store / partition if name == "B" else study / partition / name
            folder.mkdir(parents=True)
            for copy in range(number):
                pixels = cell(100 * len(partition) + copy, colour, (24, 24))
                (folder / f"{copy}.png").write_bytes(KINDS["png"](Image.fromarray(pixels)))
            if name == "B":
                (study / partition / name).symlink_to(folder)
    settings = {
        **SMALL,
        "dataset": {"archive": ".", "classes": classes, "partitions": partitions, "links": "../store"},
        "sources": {"method": "none"},
        "splits": ["published"],
        "variants": ["original"],
        "dual": False,
    }
    write_config(study, settings)
    result = run(study, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    results = study / "results"
    split = pd.read_csv(results / "splits" / "published.csv")
    assert split.groupby("subset").size().to_dict() == {"train": 8, "validation": 4, "test": 4}
    assert (split["image"].str.split("/").str[0].map({"train": "train", "val": "validation", "test": "test"})
            == split["subset"]).all()  # fmt: skip
    leakage = pd.read_csv(results / "splits" / "leakage.csv", keep_default_na=False)
    assert (leakage["unknown"] == leakage["images"]).all()
    counts = pd.read_csv(results / "tables" / "table2.csv").set_index("class")
    assert counts.loc["total", ["train", "validation", "test", "total"]].tolist() == [8, 4, 4, 16]
    page = (results / "report" / "index.html").read_text()
    assert "as they were published, each partition one subset" in page
    assert set(pd.read_csv(results / "tables" / "comparison.csv")["split"]) == {"published"}

    assert "Nothing to be done" in run(study, *BY_ITSELF).stdout
    for path in [*study.rglob("*.png"), *store.rglob("*.png"), *study.glob("*")]:
        if results not in path.parents:
            os.utime(path)
    (study / "notes.txt").write_text("no image")
    assert "Nothing to be done" in run(study, *BY_ITSELF).stdout
    (store / "test" / "0.png").write_bytes(KINDS["png"](Image.fromarray(cell(9, 0.7, (24, 24)))))
    assert "ingest_dataset" in run(study, "--dry-run").stdout
    (store / "test" / "0.png").unlink()
    (store / "test" / "0.png").symlink_to(tmp_path / "config.yaml")
    output = run(study).stdout
    assert "error: .: entry 'test/B/0.png' is a link to" in output
    assert (results / "dataset" / "images.csv").is_file()


def test_a_file_of_medmnist_as_published(tmp_path: Path) -> None:
    """config/datasets/bloodmnist.yaml on a file of its layout, up to the split; the rest is listed."""
    rng, arrays = np.random.default_rng(0), {}
    for name, size in (("train", 24), ("val", 8), ("test", 16)):
        arrays[f"{name}_images"] = rng.integers(0, 256, (size, 28, 28, 3), dtype=np.uint8)
        arrays[f"{name}_labels"] = (np.arange(size) % 8).astype(np.uint8)[:, None]
    (tmp_path / "data").mkdir()
    np.savez_compressed(tmp_path / "data" / "bloodmnist_128.npz", **arrays)
    (tmp_path / "config.yaml").write_text((REPOSITORY / "config" / "datasets" / "bloodmnist.yaml").read_text())
    result = run(tmp_path, *BY_ITSELF, "--", "results/splits/published.csv")
    assert result.returncode == 0, result.stdout
    split = pd.read_csv(tmp_path / "results" / "splits" / "published.csv")
    assert split.groupby("subset").size().to_dict() == {"train": 24, "validation": 8, "test": 16}
    assert "val/immature granulocyte/val_000003.png" in set(split["image"])
    rest = run(tmp_path, "--dry-run")
    assert rest.returncode == 0, rest.stdout
    assert re.search(r"^make_report +1$", rest.stdout, re.MULTILINE)
    (tmp_path / "data" / "bloodmnist_128.npz").write_bytes(b"PK")
    damaged = run(tmp_path, *BY_ITSELF, "--", "results/splits/published.csv")
    assert damaged.returncode == 1
    assert "error: data/bloodmnist_128.npz: is not a zip file, or is incomplete" in damaged.stdout


def test_a_published_table_as_it_is(tmp_path: Path) -> None:
    """config/datasets/ham10000.yaml on two images of each of its classes and lesions, in a tar file, to the splits."""
    skin, rows = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"], ["lesion_id,image_id,dx,age"]
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as packed:
        for number in range(70):
            entry = tarfile.TarInfo(f"HAM10000_images_part_{1 + number % 2}/ISIC_{number:07}.jpg")
            content = KINDS["jpg"](Image.fromarray(cell(number, number % 7 / 7, (24, 24))))
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
            rows.append(f"HAM_{number // 14}_{number % 7},ISIC_{number:07},{skin[number % 7]},80.0")
    (tmp_path / "data" / "HAM10000").mkdir(parents=True)
    (tmp_path / "data" / "HAM10000" / "HAM10000_metadata.csv").write_text("\n".join(rows))
    config = yaml.safe_load((REPOSITORY / "config" / "datasets" / "ham10000.yaml").read_text())
    config["dataset"]["archive"] = "images.tar.gz"
    write_config(tmp_path, config)
    result = run(tmp_path, *BY_ITSELF, "--", "dataset")
    assert result.returncode == 0, result.stdout
    images = pd.read_csv(tmp_path / "results" / "dataset" / "images.csv")
    assert images["class"].value_counts().to_dict() == dict.fromkeys(skin, 10)
    assert "ALL/akiec/ISIC_0000000.jpg" in set(images["image"])
    leakage = pd.read_csv(tmp_path / "results" / "splits" / "leakage.csv")
    assert (leakage["shared"] == 0).all()
    assert (leakage["unknown"] == 0).all()


def test_a_commit_of_a_git_repository(tmp_path: Path) -> None:
    """It is fetched, recorded, and fetched again for another commit."""
    repository = tmp_path / "cells"

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", "-C", repository, *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for number, name in enumerate("AB"):
        folder = repository / "images" / name
        folder.mkdir(parents=True)
        for copy in range(3):
            (folder / f"{copy}.png").write_bytes(KINDS["png"](Image.fromarray(cell(10 * number + copy, 0.2, (24, 24)))))
    git("init", "--quiet")
    commits = []
    for message in ("first", "second"):
        git("add", ".")
        git("commit", "--quiet", "--message", message)
        commits.append(git("rev-parse", "HEAD"))
        (repository / "images" / "A" / "0.png").unlink(missing_ok=True)
    study = {**SMALL, "splits": ["by_source"], "sources": {"method": "each"}}
    target = ["--", "results/dataset/images.csv"]
    for commit, images in zip(commits, (6, 5), strict=True):
        source = {"url": f"file://{repository}", "commit": commit, "folder": "images"}
        dataset = {"archive": "data/archive.zip", "classes": ["A", "B"], "partitions": None, "git": source}
        write_config(tmp_path / "study", {**study, "dataset": dataset})
        result = run(tmp_path / "study", *BY_ITSELF, *target)
        assert result.returncode == 0, result.stdout
        assert len(pd.read_csv(tmp_path / "study" / "results" / "dataset" / "images.csv")) == images
        provenance = json.loads((tmp_path / "study" / "results" / "dataset" / "provenance.json").read_text())
        assert provenance["files"]["commit"] == commit
        assert provenance["parameters"]["dataset"]["git"] == source
        assert "Nothing to be done" in run(tmp_path / "study", *target).stdout
    # An archive that is older than the script of the rule, as one that was copied with its time, is not downloaded.
    shutil.rmtree(repository)
    archive = tmp_path / "study" / "data" / "archive.zip"
    os.utime(archive, (1e9, 1e9))
    result = run(tmp_path / "study", *BY_ITSELF, *target)
    assert result.returncode == 0, result.stdout
    assert "nothing is downloaded" in result.stdout
    assert archive.is_file()


def test_a_second_test_partition_of_another_camera_is_tested_in_addition(tmp_path: Path) -> None:
    """To the report, in a split in folds; the camera saw one class of two."""
    for partition, classes, number in (("Train", "AB", 6), ("TestA", "AB", 3), ("Test B", "A", 4)):
        for name in classes:
            folder = tmp_path / "cells" / partition / name
            folder.mkdir(parents=True)
            for copy in range(number):
                colour = {"A": 0.2, "B": 0.7}[name]
                pixels = cell(100 * len(partition) + copy, colour, (24, 24))
                (folder / f"{partition[-1]}{name}{copy}.png").write_bytes(KINDS["png"](Image.fromarray(pixels)))
    partitions = {"train": "Train", "test": "TestA", "extra_tests": {"other_Camera": "Test B"}}
    study = {
        **SMALL,
        "dataset": {"archive": "cells", "classes": ["A", "B"], "partitions": partitions},
        "sources": {"method": "each"},
        "splits": ["by_source"],
        "by_source": {"parts": 3, "folds": 2},
        "variants": ["original"],
        "dual": False,
    }
    write_config(tmp_path, study)
    result = run(tmp_path, *BY_ITSELF)
    assert result.returncode == 0, result.stdout
    assert "extra test Test B: has no image of B" in result.stdout
    results = tmp_path / "results"
    for path in (results / "splits").glob("*.csv"):
        if path.name != "leakage.csv":
            split = pd.read_csv(path)
            own = split["image"].str.startswith("Test B/")
            assert (own == (split["subset"] == "other_Camera")).all()
            assert own.sum() == 4
    comparison = pd.read_csv(results / "tables" / "comparison.csv").query("subset == 'other_Camera'")
    assert set(comparison["images"]) == {4}
    # Each of two folds has a classifier that is tested on all of it.
    assert set(comparison["runs"]) == {2}
    assert comparison["f1_B"].isna().all()
    np.testing.assert_allclose(comparison["macro_f1"], comparison["f1_A"])
    endpoints = pd.read_csv(results / "tables" / "endpoints.csv", keep_default_na=False)
    extra = endpoints.query("subset == 'other_Camera' and measure == 'recall'")
    assert set(extra["of"]) == {"A"}
    counts = pd.read_csv(results / "tables" / "table2.csv").set_index("class")
    assert counts.loc["total", ["train", "test", "other_Camera", "total"]].tolist() == [12, 6, 4, 22]
    assert (results / "figures" / "confusion_by_source_original_on_original_other_Camera.png").is_file()
    page = (results / "report" / "index.html").read_text()
    assert "other_Camera (partition Test B): tested in addition" in page
    assert "Other_Camera images, split by_source" in page


LEAKAGE = "results/splits/leakage.csv"


@pytest.fixture(scope="module")
def split_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with labels and a custom split, complete up to LEAKAGE."""
    folder = tmp_path_factory.mktemp("split")
    rows = [f"{name}/{number}.png" for name in "AB" for number in range(3)]
    with zipfile.ZipFile(folder / "cells.zip", "w") as packed:
        for number, row in enumerate(rows):
            packed.writestr(row, KINDS["png"](Image.fromarray(cell(number, 0.2, (24, 24)))))
    (folder / "labels.csv").write_text("file,label\n" + "".join(f"{row},{row[0]}\n" for row in rows))
    subsets = dict(zip("012", ("train", "validation", "test"), strict=True))
    lines = [f"ALL/{row[0]}/{row.replace('/', '_')},{subsets[row[2]]}\n" for row in rows]
    (folder / "custom.csv").write_text("image,subset\n" + "".join(lines))
    dataset = {"archive": "cells.zip", "labels": "labels.csv", "classes": ["A", "B"], "partitions": None}
    study = {"dataset": dataset, "sources": {"method": "each"}, "splits": ["custom"], "custom": "custom.csv"}
    write_config(folder, {**SMALL, **study})
    result = run(folder, "--", LEAKAGE)
    assert result.returncode == 0, result.stdout
    return folder


@pytest.mark.parametrize(
    ("file", "rule"),
    [("custom.csv", "split_dataset"), ("labels.csv", "ingest_dataset"), ("cells.zip", "ingest_dataset")],
)
def test_a_file_replaced_by_an_older_one_is_detected(split_study: Path, tmp_path: Path, file: str, rule: str) -> None:
    """As after mv or rsync: other content with an older time than the results. Touching a file has no effect."""
    copy_study(split_study, tmp_path)
    path = tmp_path / file
    os.utime(path)
    assert "Nothing to be done" in run(tmp_path, "--", LEAKAGE).stdout
    path.write_bytes(path.read_bytes() + b"\n")
    os.utime(path, (1e9, 1e9))
    assert re.search(rf"^{rule} +1$", run(tmp_path, "--dry-run", "--", LEAKAGE).stdout, re.MULTILINE)


def test_a_changed_folder_is_ingested_again(tmp_path: Path) -> None:
    for name in ("A", "B"):
        for copy in range(3):
            target = tmp_path / "cells" / name / f"{copy}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(KINDS["png"](Image.fromarray(cell(copy, 0.2 if name == "A" else 0.7, (24, 24)))))
    dataset = {"archive": "cells", "classes": ["A", "B"], "partitions": None}
    write_config(tmp_path, {**SMALL, "dataset": dataset, "splits": ["by_source"], "sources": {"method": "each"}})
    table = tmp_path / "results" / "dataset" / "images.csv"
    target = ["--", str(table.relative_to(tmp_path))]
    assert run(tmp_path, *target).returncode == 0
    before = pd.read_csv(table).set_index("image")["sha256"]
    assert "Nothing to be done" in run(tmp_path, *target).stdout
    (tmp_path / "cells" / "A" / "1.png").write_bytes(KINDS["png"](Image.fromarray(cell(9, 0.2, (24, 24)))))
    (tmp_path / "cells" / "B" / "3.png").write_bytes(KINDS["png"](Image.fromarray(cell(3, 0.7, (24, 24)))))
    assert run(tmp_path, *target).returncode == 0
    after = pd.read_csv(table).set_index("image")["sha256"]
    assert set(after.index) - set(before.index) == {"ALL/B/3.png"}
    assert [image for image in before.index if before[image] != after[image]] == ["ALL/A/1.png"]
