"""A dry run needs Snakemake alone, and a mistake in the configuration is one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from studies import REPOSITORY, SMALL, run, write_config

# Stands in for an environment in which only Snakemake is installed.
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "cv2", "PIL", "sklearn", "scipy",
                                  "matplotlib", "safetensors", "tqdm", "basicsr", "realesrgan"}:
            raise ModuleNotFoundError(f"{name} is not installed here")
sys.meta_path.insert(0, Blocked())
"""


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if ".snakemake" not in path.parts}


@pytest.mark.parametrize("name", ["config.yaml", "quick.yaml", "demo.yaml", "answer.yaml"])
def test_dry_run_without_data_weights_or_torch(tmp_path: Path, name: str) -> None:
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "sitecustomize.py").write_text(BLOCKED)
    study = tmp_path / "study"
    study.mkdir()
    arguments = ["-n", "--cores", "1", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(study)]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--configfile", str(REPOSITORY / "config" / name)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "blocked")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert "make_report" in result.stdout
    assert tree(study) == set()


def planned(folder: Path, *targets: str) -> dict[str, str]:
    """How many jobs of each rule a dry run counts."""
    result = run(folder, "-n", *targets)
    assert result.returncode == 0, result.stdout
    return dict(re.findall(r"^(\w+) +(\d+)$", result.stdout, re.MULTILINE))


def test_the_number_of_jobs_follows_from_the_configuration(tmp_path: Path) -> None:
    study = {
        **SMALL,
        "cross": True,
        "shards": 3,
        "seeds": [0, 1],
        "variants": ["original", "realesrgan_x4", "realesrgan_x2"],
    }
    write_config(tmp_path, study)
    counts = planned(tmp_path)
    assert counts["upscale"] == counts["shrink"] == str(2 * 2 * 3)  # partitions, classes, shards
    assert counts["compile_upscaler"] == "1"  # x2 is x4, shrunk
    assert counts["train_classifier"] == str(4 * 2)  # three variants and dual, two seeds
    assert counts["predict"] == str(4 * 3 * 2)  # each is tested on all variants
    write_config(tmp_path, {**study, "cross": False})
    assert planned(tmp_path)["predict"] == str(5 * 2)  # dual is tested on both of its own


def test_folds_and_input_sizes_are_runs_of_their_own(tmp_path: Path) -> None:
    study = {
        **SMALL,
        "cross": True,
        "splits": ["paper", "by_source"],
        "by_source": {"parts": 4, "folds": 3},
        "sources": {"method": "images"},
        "train": {**SMALL["train"], "more_input_sizes": [48, 64]},
    }
    write_config(tmp_path, study)
    counts = planned(tmp_path)
    splits, sizes, variants = 1 + 3, 2, 3
    assert counts["split_dataset"] == str(splits)
    assert counts["pack_images"] == str(variants + 2 * sizes)  # original and the enhanced variant
    trained = (variants + 1) + (2 + 1) * sizes  # and dual
    for rule in ["train_classifier", "compile_classifier", "check_classifier"]:
        assert counts[rule] == str(splits * trained), rule
    tested = (variants + 1) * variants + (2 + 2) * sizes  # at further sizes, each on its own
    assert counts["predict"] == str(splits * tested)


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("results/splits/paper.csv", {"split_dataset"}),
        ("results/splits/by_source.csv", {"find_sources", "split_dataset"}),
        ("results/splits/by_source_fold2.csv", {"find_sources", "split_dataset"}),
        ("results/splits/leakage.csv", {"find_sources", "split_dataset", "audit_leakage"}),
        ("results/dataset/chosen.csv", {"find_sources", "choose_images"}),
    ],
)
def test_splits_leakage_and_a_choice_are_targets(tmp_path: Path, target: str, rules: set[str]) -> None:
    """Sources are looked for only where something needs them."""
    write_config(
        tmp_path,
        {**SMALL, "splits": ["paper", "by_source"], "by_source": {"folds": 2}, "sources": {"method": "images"}},
    )
    assert planned(tmp_path, target).keys() - {"job", "total"} == {"draw_archive", "ingest_dataset", *rules}


def test_without_an_enhanced_variant_no_labels_are_compared(tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, "variants": ["original"], "dual": False})
    result = run(tmp_path, "-n")
    assert result.returncode == 0, result.stdout
    assert "make_report" in result.stdout
    assert "explain_changes" not in result.stdout


def test_a_configuration_mistake_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    write_config(tmp_path, {**SMALL, "inferense": {"tile": 256}})
    before = tree(tmp_path)
    result = run(tmp_path)
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("error:")]
    assert errors == ["error: configuration: unknown key 'inferense'; the nearest known key is 'inference'"]
    assert "Traceback" not in result.stdout
    assert tree(tmp_path) == before


def test_the_readmes_graph_is_the_workflows(tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    drawn = {word for line in readme.splitlines() if "-->" in line for word in line.replace("-->", " ").split()}
    rules = subprocess.run(
        [sys.executable, "-m", "snakemake", "--list", "--snakefile", str(REPOSITORY / "Snakefile")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    targets = {
        "all",
        "dataset",
        "engines",
        "enhanced",
        "models",
        "tables",
        "figures",
        "report",
        "serve",
        "benchmark",
        "doctor",
    }
    targets |= {"benchmark_workflow"}  # like doctor, it reads no file of another rule
    assert targets <= set(rules)
    assert drawn == set(rules) - targets
