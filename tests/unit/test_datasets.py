"""config/datasets: each configuration reads a miniature of the layout in which its data set was published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pytest
import yaml

from bad_images import tiff
from defaults import LIMITS
from wbcsr.config import labels_file, partitions_of
from wbcsr.config.schema import complete
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.boxes import Boxes
from wbcsr.dataset.ingest import ingest
from wbcsr.dataset.sources import find_sources
from wbcsr.errors import InputError
from wbcsr.imaging import decode

CONFIG = Path(__file__).parents[2] / "config"
CONFIGURATIONS = {path.stem: path for path in (CONFIG / "datasets").glob("*.yaml")} | {"kaggle": CONFIG / "config.yaml"}


def picture(suffix: str, seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    if suffix == ".tiff":
        return tiff(np.dstack([pixels, pixels[:, :, 0] | 255]), photometric="rgb", extrasamples=["unspecified"])
    encode: Callable[[np.ndarray], bytes] = {
        ".jpg": imagecodecs.jpeg8_encode, ".jpeg": imagecodecs.jpeg8_encode, ".png": imagecodecs.png_encode,
        ".bmp": imagecodecs.bmp_encode,
    }[suffix]  # fmt: skip
    return bytes(encode(pixels))


@dataclass(frozen=True)
class Layout:
    """Published files (images by their suffix, and texts), and what is read: images by class, sources, rejections."""

    images: list[str]
    classes: dict[str, int]
    sources: int
    rejected: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def numbered(pattern: str, *names: str, each: int = 2) -> list[str]:
    return [pattern.format(name, number) for name in names for number in range(1, each + 1)]


KAGGLE = "data/archive/dataset2-master/dataset2-master/images/"
PBC = {"basophil": "BA", "eosinophil": "EO", "erythroblast": "ERB", "ig": "MY", "lymphocyte": "LY", "monocyte": "MO",
       "neutrophil": "SNE", "platelet": "PLATELET"}  # fmt: skip
AML = ["BAS", "EBO", "EOS", "KSC", "LYA", "LYT", "MMZ", "MOB", "MON", "MYB", "MYO", "NGB", "NGS", "PMB", "PMO"]
WBC = ["Basophil", "Eosinophil", "Lymphocyte", "Monocyte", "Neutrophil"]
STUDY = ["EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"]
SKIN = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
LISC = "data/LISC Database/"
SEGMENTED = "data/segmentation_WBC/"

LAYOUTS = {
    "kaggle": Layout(
        [
            *numbered(KAGGLE + "TRAIN/{}/_0_{}.jpeg", *STUDY),
            *numbered(KAGGLE + "TEST/{}/_1_{}.jpeg", *STUDY),
            *numbered(KAGGLE + "TEST_SIMPLE/{}/_2_{}.jpeg", *STUDY),
            *numbered("data/archive/dataset-master/dataset-master/JPEGImages/{}_0000{}.jpg", "BloodImage"),
        ],
        dict.fromkeys(STUDY, 4),
        0,
    ),
    "pbc": Layout(
        numbered("data/PBC_dataset_normal_DIB/{}_1038{}.jpg", *(f"{folder}/{start}" for folder, start in PBC.items())),
        {**dict.fromkeys(PBC.keys() - {"ig"}, 2), "immature granulocyte": 2},
        16,
    ),
    "raabin-wbc": Layout(
        [
            *numbered("data/raabin/Train/{0}/95-5-1-10-1_{1}_{0}.jpg", *WBC),
            *numbered("data/raabin/TestA/{0}/95-9-2-10-1_{1}_{0}.jpg", *WBC),
            *numbered("data/raabin/TestB/{}/9_{}.jpg", "Lymphocyte", "Neutrophil"),
        ],
        {**dict.fromkeys(WBC, 4), "Lymphocyte": 6, "Neutrophil": 6},
        0,
    ),
    "lisc": Layout(
        [
            *numbered(LISC + "Main Dataset/{}/{}.bmp", "Baso", "eosi", "lymp", "mixt", "mono", "neut"),
            *numbered(LISC + "Ground Truth Segmentation/{}/areaforexpert1/{}_expert.bmp", "eosi", "lymp"),
        ],
        dict.fromkeys(["basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil"], 2),
        10,
        rejected=2,
    ),
    "bccd": Layout(
        numbered("data/BCCD_Dataset/JPEGImages/{}_0000{}.jpg", "BloodImage"),
        {"white cell": 2, "red cell": 4, "platelet": 1},
        2,
        rejected=1,
        texts={
            f"data/BCCD_Dataset/Annotations/BloodImage_0000{number}.xml": "<annotation><filename>x</filename>"
            + "".join(
                f"<object><name>{name}</name><bndbox><xmin>{left}</xmin><ymin>1</ymin><xmax>{right}</xmax>"
                "<ymax>9</ymax></bndbox></object>"
                for name, left, right in boxes
            )
            + "</annotation>"
            for number, boxes in (
                (1, [("WBC", 1, 5), ("RBC", 0, 9), ("RBC", 4, 14), ("Platelets", 1, 2)]),
                (2, [("WBC", 1, 6), ("RBC", 2, 9), ("RBC", 3, 9), ("Platelets", 13, 14)]),
            )
        },
    ),
    "c-nmc-2019": Layout(
        [
            f"data/C-NMC_training_data/fold_{fold}/{kind}/UID_{person}{fold}_{number}_1_{kind}.bmp"
            for fold, (kind, person), number in product(range(3), (("all", ""), ("hem", "H")), (1, 2))
        ],
        {"leukaemic": 6, "normal": 6},
        6,
    ),
    "aml-matek": Layout(
        numbered("data/AML-Cytomorphology_LMU/AML-Cytomorphology/{0}/{0}_000{1}.tiff", *AML),
        {"basophil": 2, "eosinophil": 2, "erythroblast": 2, "lymphocyte": 4, "monocyte": 2, "neutrophil": 4, "blast": 4,
         "immature granulocyte": 8},
        28,
        rejected=2,
        texts={"data/AML-Cytomorphology_LMU/annotations.dat": "BAS/BAS_0001.tiff BAS nan nan\n"},
    ),
    "segmentation-wbc": Layout(
        [*numbered(SEGMENTED + "Dataset 1/00{1}{0}", ".bmp", ".png", each=6), SEGMENTED + "Dataset 2/001.bmp"],
        {"neutrophil": 2, "lymphocyte": 1, "monocyte": 1, "eosinophil": 1},
        5,
        rejected=1,
        texts={SEGMENTED + "Class Labels of Dataset 1.csv": "image ID,class label\n1,2\n2,1\n3,1\n4,3\n5,4\n6,5\n"},
    ),
    "ham10000": Layout(
        [f"data/HAM10000/HAM10000_images_part_{1 + number % 2}/ISIC_002430{number}.jpg" for number in range(8)],
        {**dict.fromkeys(SKIN, 1), "akiec": 2},
        7,
        texts={
            "data/HAM10000/HAM10000_metadata.csv": "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
            + "".join(f"HAM_{n % 7},ISIC_002430{n},{SKIN[n % 7]},histo,80.0,male,scalp\n" for n in range(8))
        },
    ),
    "bloodmnist": Layout(
        [],
        dict.fromkeys([*(name for name in PBC if name != "ig"), "immature granulocyte"], 3),
        0,
        arrays={
            f"{part}_{kind}": np.arange(8, dtype=np.uint8)[:, None] if kind == "labels"
            else np.random.default_rng(seed).integers(0, 256, (8, 28, 28, 3), dtype=np.uint8)
            for (seed, part), kind in product(enumerate(("train", "val", "test")), ("images", "labels"))
        },
    ),
}  # fmt: skip


def test_every_configuration_has_a_layout() -> None:
    assert LAYOUTS.keys() == CONFIGURATIONS.keys()


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_published_layout_is_read_by_configuration_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = LAYOUTS[name]
    monkeypatch.chdir(tmp_path)
    for seed, image in enumerate(layout.images):
        path = Path(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(path.suffix, seed))
    for file, text in layout.texts.items():
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(text)
    config = complete(yaml.safe_load(CONFIGURATIONS[name].read_text()), CONFIG / "schema.yaml")
    dataset = config["dataset"]
    archive = Path("data/archive") if name == "kaggle" else Path(dataset["archive"])
    if layout.arrays:
        Path("data").mkdir()
        np.savez(archive, **layout.arrays)
    labels = labels_file(dataset) and Path(str(labels_file(dataset)))
    folders = list(product(partitions_of(dataset).values(), dataset["classes"]))
    manifests = {folder: Path("results", *folder, "manifest.csv") for folder in folders}
    images, rejected = Path("results/images.csv"), Path("results/rejected.csv")
    ingest(archive, dataset, images, rejected, Path("results"), manifests, labels=labels or None)
    assert pd.read_csv(images)["class"].value_counts().to_dict() == layout.classes
    assert len(pd.read_csv(rejected)) == layout.rejected
    if config["sources"]["method"] != "auto":
        find_sources(images, [], archive, config["sources"], dataset, Path("sources.csv"), labels=labels or None)
        assert pd.read_csv("sources.csv")["source"].nunique() == layout.sources


GOOD_BOX = (
    "<annotation><object><name>A</name>"
    "<bndbox><xmin>2</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox></object>"
)


def test_a_box_is_cut_with_its_corners(tmp_path: Path) -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(6, 6)
    (tmp_path / "1.png").write_bytes(imagecodecs.png_encode(pixels))
    (tmp_path / "1.xml").write_text(f"{GOOD_BOX}</annotation>")
    boxes = Boxes(open_archive(tmp_path, LIMITS))
    np.testing.assert_array_equal(decode(boxes.read("A/1_000.png"), "x"), pixels[0:2, 1:4])


def test_files_beside_the_boxes_are_ignored_and_images_without_boxes_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """macOS adds a hidden file for each file of a zip."""
    for name in ("1.png", "__MACOSX/._1.png", "2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture(".png", 0))
    (tmp_path / "1.xml").write_text(f"{GOOD_BOX}</annotation>")
    (tmp_path / "__MACOSX/._1.xml").write_bytes(b"\0\5\x16\7")
    (tmp_path / "project.xml").write_text("<project/>")
    boxes = Boxes(open_archive(tmp_path, LIMITS))
    assert [*boxes.entries] == ["A/1_000.png"]
    assert "1 image without boxes in an XML file (first: 2.png)" in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("1.xml", GOOD_BOX, "'1.xml' cannot be read as Pascal VOC"),
        ("1.xml", f"{GOOD_BOX}</annotation>".replace("2<", "2.5<"), "'1.xml' cannot be read as Pascal VOC"),
        ("1.xml", f"{GOOD_BOX}</annotation>".replace("xmin", "x"), "'1.xml' cannot be read as Pascal VOC"),
        ("2.xml", f"{GOOD_BOX}</annotation>", "'2.xml' has 0 images of the name '2'"),
    ],
)
def test_boxes_that_cannot_be_read_are_an_error(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / "1.png").write_bytes(picture(".png", 0))
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        Boxes(open_archive(tmp_path, LIMITS))
