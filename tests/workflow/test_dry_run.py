"""A dry run needs only Snakemake, and a mistake in the configuration gives one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from studies import REPOSITORY, SMALL, run, write_config

# Simulates an environment in which only Snakemake is installed.
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "cv2", "PIL", "sklearn", "scipy",
                                  "matplotlib", "safetensors", "tqdm", "basicsr", "realesrgan", "spandrel",
                                  "einops"}:
            raise ModuleNotFoundError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocked())
"""


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".snakemake" not in path.parts}


def dry_run_with_snakemake_alone(study: Path, configuration: Path) -> None:
    blocked = study.with_name("blocked")
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED)
    arguments = ["-n", "--cores", "1", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(study)]
    before = tree(study)
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--configfile", str(configuration)],
        env={**os.environ, "PYTHONPATH": str(blocked)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "make_report" in result.stdout
    assert tree(study) == before


@pytest.mark.parametrize("name", ["config.yaml", "quick.yaml", "demo.yaml", "answer.yaml"])
def test_dry_run_without_data_weights_or_torch(tmp_path: Path, name: str) -> None:
    study = tmp_path / "study"
    study.mkdir()
    dry_run_with_snakemake_alone(study, REPOSITORY / "config" / name)


def test_dry_run_of_a_folder_without_torch(tmp_path: Path) -> None:
    """A dry run reads the list of files in the folder."""
    study = tmp_path / "study"
    (study / "cells" / "A").mkdir(parents=True)
    (study / "cells" / "A" / "1.png").write_bytes(b"")
    write_config(study, {**SMALL, "dataset": {"archive": "cells", "classes": ["A", "B"]}})
    dry_run_with_snakemake_alone(study, study / "config.yaml")


# Simulates an environment in which the library of another checkout is installed.
OTHER_LIBRARY = """
import os, sys
asked_for = os.environ["PYTHONPATH"].split(os.pathsep)
sys.path[:] = [*(path for path in sys.path if path in asked_for or not path.endswith("/scripts")), {other!r}]
"""


def test_jobs_use_the_library_next_to_the_snakefile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other" / "scripts"
    (other / "wbcsr").mkdir(parents=True)
    (other / "wbcsr" / "__init__.py").write_text("raise ImportError('of another checkout')")
    (other.parent / "sitecustomize.py").write_text(OTHER_LIBRARY.format(other=str(other)))
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    write_config(tmp_path / "study", SMALL)
    result = run(tmp_path / "study", "--", "data/drawn.zip")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("classifier", ["resnet50", "efficientnet_lite0"])
def test_imagenet_weights_belong_to_the_classifier(tmp_path: Path, classifier: str) -> None:
    write_config(tmp_path, {**SMALL, "train": {**SMALL["train"], "classifier": classifier, "init": "imagenet"}})
    result = run(tmp_path, "-n", "--", "models")
    assert result.returncode == 0, result.stdout
    assert f"Downloading the ImageNet weights of {classifier}" in result.stdout


def test_each_of_three_partitions_has_its_own_jobs(tmp_path: Path) -> None:
    """This also applies to synthetic images."""
    partitions = {"train": "train", "validation": "val", "test": "test"}
    dataset = {**SMALL["dataset"], "partitions": partitions}
    variants = ["original", "bicubic_x2", "realesrgan_x4"]
    write_config(tmp_path, {**SMALL, "dataset": dataset, "splits": ["published"], "variants": variants})
    counts = planned(tmp_path, "--", "enhanced", "results/splits/published.csv")
    assert (counts["make_synthetic_archive"], counts["interpolate"], counts["upscale"]) == ("1", "6", "6")


def planned(folder: Path, *targets: str) -> dict[str, str]:
    """The number of jobs of each rule in a dry run."""
    result = run(folder, "-n", *targets)
    assert result.returncode == 0, result.stdout
    return dict(re.findall(r"^(\w+) +(\d+)$", result.stdout, re.MULTILINE))


def test_the_number_of_jobs_follows_from_the_configuration(tmp_path: Path) -> None:
    study = {
        **SMALL,
        "cross_evaluate": True,
        "shards": 3,
        "seeds": [0, 1],
        "variants": ["original", "realesrgan_x4", "realesrgan_x2"],
    }
    write_config(tmp_path, study)
    counts = planned(tmp_path)
    assert counts["upscale"] == counts["shrink"] == str(2 * 2 * 3)  # partitions, classes, shards
    assert counts["compile_upscaler"] == "1"  # x2 is shrunk from x4
    assert counts["train_classifier"] == str(4 * 2)  # three variants and dual, two seeds
    assert counts["predict"] == str(4 * 3 * 2)  # each classifier is tested on all variants
    write_config(tmp_path, {**study, "cross_evaluate": False})
    assert planned(tmp_path)["predict"] == str(5 * 2)  # dual is tested on its two variants
    write_config(tmp_path, {**study, "store": "none"})
    counts = planned(tmp_path)
    assert (counts["upscale"], "shrink" in counts) == (str(2 * 2 * 2 * 3), False)  # no files to shrink


def test_each_network_of_the_user_makes_variants(tmp_path: Path) -> None:
    models = {"mine": {"path": "own.pth", "sha256": "0" * 64}, "realsr_df2k": {"path": "own.pth", "sha256": "0" * 64}}
    variants = ["original", "realesrgan_x4", "realesrgan_x2", "mine_x4", "mine_x2", "realsr_df2k_x4"]
    write_config(tmp_path, {**SMALL, "variants": variants, "models": models})
    (tmp_path / "own.pth").touch()
    counts = planned(tmp_path)
    # The scale of the user's network is not known before it is read, so mine_x2 is not shrunk from mine_x4.
    assert (counts["upscale"], counts["shrink"]) == (str(4 * 2 * 2), str(2 * 2))
    assert counts["fetch_weights"] == counts["compile_upscaler"] == counts["check_upscaler"] == "3"
    assert counts["train_classifier"] == str(len(variants) + 1)  # and dual


def test_one_network_is_fine_tuned_for_all_variants_of_its_name(tmp_path: Path) -> None:
    """It starts from the usual network, and is checked and measured like any other one."""
    dataset = {**SMALL["dataset"], "photographs": "dataset-master/dataset-master/JPEGImages"}
    variants = ["original", "finetuned_x4", "finetuned_x2"]
    write_config(tmp_path, {**SMALL, "dataset": dataset, "splits": ["by_source"], "variants": variants})
    counts = planned(tmp_path)
    made = {"fetch_weights", "estimate_degradation", "finetune_upscaler", "make_finetuning_figure"}
    taken = {"compile_upscaler", "check_upscaler", "measure_fidelity"}
    assert {rule for rule, number in counts.items() if number == "1"} >= made | taken
    assert counts["upscale"] == str(2 * 2 * 2)  # variants, partitions, classes
    assert counts["train_classifier"] == str(len(variants) + 1)  # and dual


def test_each_fold_has_its_own_fine_tuned_network(tmp_path: Path) -> None:
    """It sees the photographs of its own fold, and its images are used by the runs of this fold only."""
    dataset = {**SMALL["dataset"], "photographs": "dataset-master/dataset-master/JPEGImages"}
    variants = ["original", "realesrgan_x4", "finetuned_x4"]
    folds = {"splits": ["by_source"], "by_source": {"parts": 4, "folds": 3}}
    write_config(tmp_path, {**SMALL, "dataset": dataset, "variants": variants, "dual": False, **folds})
    counts = planned(tmp_path)
    assert counts["finetune_upscaler"] == "3"
    assert counts["compile_upscaler"] == counts["check_upscaler"] == str(1 + 3)
    assert counts["upscale"] == str((1 + 3) * 2 * 2)  # partitions, classes
    assert counts["pack_images"] == str(2 + 3)
    for split, name in (("by_source", "finetuned"), ("by_source_fold3", "finetuned_by_source_fold3")):
        jobs = run(tmp_path, "-n", "--", f"results/weights/{name}.safetensors").stdout
        assert re.findall(r"Splitting the images: (\w+)|that the split (\w+)", jobs) == [(split, ""), ("", split)], jobs
        jobs = run(tmp_path, "-n", "--", f"results/runs/{split}/finetuned_x4/seed0/model.safetensors").stdout
        assert re.findall(r"Packing (\w+) at", jobs) == [f"{name}_x4"]


def test_folds_and_input_sizes_have_their_own_runs(tmp_path: Path) -> None:
    study = {
        **SMALL,
        "cross_evaluate": True,
        "variants": ["original", "bicubic_x2", "realesrgan_x4"],
        "splits": ["paper", "by_source"],
        "by_source": {"parts": 4, "folds": 3},
        "sources": {"method": "images"},
        "train": {**SMALL["train"], "extra_input_sizes": [48, 64]},
    }
    write_config(tmp_path, study)
    counts = planned(tmp_path)
    splits, sizes, variants = 1 + 3, 2, 3
    assert counts["split_dataset"] == str(splits)
    assert counts["pack_images"] == str(variants + 2 * sizes)  # original and the enhanced variant
    trained = (variants + 1) + (2 + 1) * sizes  # and dual
    for rule in ["train_classifier", "compile_classifier", "check_classifier"]:
        assert counts[rule] == str(splits * trained), rule
    tested = (variants + 1) * variants + (2 + 2) * sizes  # at further sizes, each is tested on its own variants
    assert counts["predict"] == str(splits * tested)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("results/splits/paper.csv", {"split_dataset"}),
        ("results/splits/by_source.csv", {"find_sources", "split_dataset"}),
        ("results/splits/by_source_fold2.csv", {"find_sources", "split_dataset"}),
        ("results/splits/leakage.csv", {"find_sources", "split_dataset", "audit_leakage"}),
        ("results/dataset/chosen.csv", {"find_sources", "subsample_images"}),
    ],
)
def test_splits_leakage_and_a_selection_are_targets(tmp_path: Path, target: str, rules: set[str]) -> None:
    """Sources are determined only if a target needs them."""
    write_config(
        tmp_path,
        {**SMALL, "splits": ["paper", "by_source"], "by_source": {"folds": 2}, "sources": {"method": "images"}},
    )
    assert planned(tmp_path, target).keys() - {"job", "total"} == {"make_synthetic_archive", "ingest_dataset", *rules}


@pytest.mark.parametrize("around", ["image", "cell"])
def test_controls_are_variants_like_others(tmp_path: Path, around: str) -> None:
    variants = ["original", "bicubic_x4", "realesrgan_x4", "ceiling", "sharpened_x4", "reduced_x2"]
    dataset = {**SMALL["dataset"], "photographs": "dataset-master/dataset-master/JPEGImages"}
    write_config(tmp_path, {**SMALL, "variants": variants, "view": {"around": around, "side": 32}, "dataset": dataset})
    output = run(tmp_path, "-n").stdout
    asked = re.search(r"^rule all:\n    input: (.*)$", output, re.MULTILINE)
    assert asked is not None, output
    assert "results/images/sharpened_x4/sharpening.provenance.json" in asked[1].split(", ")
    counts = planned(tmp_path)
    assert counts["match_sharpening"] == "1"
    assert counts["make_ceiling"] == counts["sharpen"] == str(2 * 2)  # partitions and classes
    assert counts["interpolate"] == str(2 * 2 * 2)  # bicubic and reduced
    assert counts["train_classifier"] == str(len(variants) + 1)  # and dual


def test_cells_are_cropped_only_with_view_around_cell(tmp_path: Path) -> None:
    """All other jobs are the same."""
    write_config(tmp_path, SMALL)
    image = planned(tmp_path)
    write_config(tmp_path, {**SMALL, "view": {"around": "cell", "side": 32}})
    cell = planned(tmp_path)
    assert {rule: number for rule, number in cell.items() if image.get(rule) != number} == {
        "cut_cells": "1",
        "make_cells_figure": "1",
        "total": str(int(image["total"]) + 2),
    }


def test_without_an_enhanced_variant_no_predictions_are_compared(tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, "variants": ["original"], "dual": False})
    result = run(tmp_path, "-n")
    assert result.returncode == 0, result.stdout
    assert "make_report" in result.stdout
    assert "explain_changes" not in result.stdout


@pytest.mark.parametrize(("primary", "split"), [(None, "by_source"), ("paper", "paper")])
def test_changed_labels_are_those_of_the_primary_comparison(tmp_path: Path, primary: str | None, split: str) -> None:
    more = {"splits": ["paper", "by_source"], "sources": {"method": "images"}}
    write_config(tmp_path, {**SMALL, **more, "evaluation": {"primary": {"split": primary}}})
    output = run(tmp_path, "-n", "results/changes/changes.csv").stdout
    assert set(re.findall(r"Training on \w+, split (\w+),", output)) == {split}, output


def test_a_configuration_mistake_gives_one_line_and_writes_nothing(tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, "inferense": {"tile": 256}})
    before = tree(tmp_path)
    result = run(tmp_path)
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert errors == ["error: configuration: unknown key 'inferense'; the nearest known key is 'inference'"]
    assert "Traceback" not in result.stdout
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"train: {epochs: 3}\nseeds: [1]\ntrain: {batch_size: 8}\n",
            "line 3: duplicate key train, first set in line 1",
        ),
        (b"train:\n\tepochs: 3\n", "line 2: "),
        (b"# Gr\xf6\xdfe\n", "line 1: is not UTF-8 text"),
        (b'custom: "my\\quotes.csv"\n', "line 1: "),
        (b"", "line 1: has no keys"),
    ],
)
@pytest.mark.parametrize("name", ["config.yaml", "profile.yaml"])
def test_a_file_that_yaml_would_misread_gives_one_line_with_its_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    """Snakemake reads a configuration file before the Snakefile, and ends with a traceback or without a line number."""
    write_config(tmp_path, SMALL)
    (tmp_path / name).write_bytes(content)
    result = run(tmp_path, "-n", *(["--profile", str(tmp_path / name)] if name == "profile.yaml" else []))
    assert result.returncode == 1
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {tmp_path / name}, {message}")
    assert "Traceback" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        (("--software-deployment-method", "apptainer"), "", "option .* apptainer: the key container is null"),
        (("--software-deployment-method", "env-modules"), "", "option .* env-modules: no rule names modules"),
        (("--config", "container=a.sif"), "", "configuration: container: .*/a.sif does not exist"),
        ((), "module", "PYTHONPATH: .*/module has tqdm, "),
    ],
)
def test_software_that_jobs_would_silently_not_use_gives_one_line(
    arguments: tuple[str, ...], path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "tqdm.py").touch()
    if path:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / path))
    write_config(tmp_path, SMALL)
    result = run(tmp_path, *arguments, "--", "data/drawn.zip")
    assert result.returncode == 1
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert re.match(f"error: {message}", errors[0])
    assert not (tmp_path / "data").exists()


# Stands for Apptainer: records options and image, and runs the command with a Python that only the image has.
APPTAINER = """#!/bin/sh
[ "$1" = --version ] && echo "apptainer version 1.3.0" && exit
echo "$@" >> {folder}/calls.txt
while [ "$1" != {folder}/image.sif ]; do shift; done
shift
PATH={folder}/inside:$PATH exec "$@"
"""


def test_all_jobs_run_in_the_configured_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("bin", "inside"):
        (tmp_path / folder).mkdir()
    programs = {
        "bin/apptainer": APPTAINER.format(folder=tmp_path),
        "inside/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "image.sif").touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    write_config(tmp_path, {**SMALL, "container": str(tmp_path / "image.sif")})
    options = ("--software-deployment-method", "apptainer", "--apptainer-args=--nv")
    result = run(tmp_path, *options, "--", "results/dataset/images.csv")
    assert result.returncode == 0, result.stdout
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert [re.findall(r"--nv.*\.(\w+)\.py", call) for call in calls] == [
        ["make_synthetic_archive"],
        ["ingest_dataset"],
    ]
