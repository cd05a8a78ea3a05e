"""A dry run needs Snakemake alone, and a mistake in the configuration is one line."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize("name", ["config.yaml", "quick.yaml", "demo.yaml"])
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


def test_the_number_of_jobs_follows_from_the_configuration(tmp_path: Path) -> None:
    study = {**SMALL, "shards": 3, "seeds": [0, 1], "variants": ["original", "realesrgan_x4", "realesrgan_x2"]}
    write_config(tmp_path, study)
    result = run(tmp_path, "-n")
    counts = dict(line.split() for line in result.stdout.splitlines() if len(line.split()) == 2 and line[-1].isdigit())
    assert counts["upscale"] == counts["shrink"] == str(2 * 2 * 3)  # partitions, classes, shards
    assert counts["compile_upscaler"] == "1"  # x2 is x4, shrunk
    assert counts["train_classifier"] == str(4 * 2)  # three variants and dual, two seeds
    assert counts["predict"] == str(5 * 2)  # dual is tested on both


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
    targets = {"all", "dataset", "engines", "enhanced", "models", "tables", "report", "serve", "benchmark", "doctor"}
    assert targets <= set(rules)
    assert drawn == set(rules) - targets
