"""Packages of results import each other in one direction only, and jobs import no large library without using it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "scripts" / "wbcsr"
# Each package may import those on its left, but not those on its right.
ORDER = ["study", "stats", "present", "report"]


def imported(package: str) -> set[str]:
    """The names of the sibling packages that a package imports."""
    found = set()
    for path in (PACKAGES / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "wbcsr":
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wbcsr."):
                found.add(str(node.module).split(".")[1])
    return found


@pytest.mark.parametrize("package", ORDER[:-1])
def test_no_package_imports_a_higher_one(package: str) -> None:
    above = {*ORDER[ORDER.index(package) + 1 :], "fidelity", "explain", "benchmark"}
    found = imported(package)
    assert found, "the package imports nothing: does it still exist?"
    assert found & above == set()


@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("upscale.compiling", ["torch"]),  # imported only in the process that compiles
        ("classify.compiling", ["torch"]),
        ("checks.gate", ["torch"]),  # an engine that is the fp32 network itself is not compared
        ("engines.doctor", ["torch"]),  # torch may be damaged
        ("upscale.interpolation", ["torch", "scipy", "sklearn"]),
        ("classify.pack", ["torch", "scipy", "sklearn"]),
        ("dataset.split", ["torch", "scipy", "sklearn"]),
        ("fidelity.table", ["torch", "skimage", "sklearn", "statsmodels"]),
        ("fidelity.figure", ["torch"]),
        ("finetune.figure", ["torch"]),
        ("weights.store", ["requests"]),  # needed only for a download
        ("present.tables.write", ["torch", "skimage", "matplotlib"]),
        ("report.page", ["torch", "skimage"]),
    ],
)
def test_a_job_imports_no_large_library_that_it_does_not_use(module: str, unused: list[str]) -> None:
    """Importing torch takes three seconds, scikit-learn or scikit-image one: longer than most jobs of a small study."""
    code = f"import sys; sys.path.insert(0, {str(PACKAGES.parent)!r}); import wbcsr.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(unused) == set()
