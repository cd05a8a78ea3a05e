"""Imports between the packages of results run one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "scripts" / "wbcsr"
# Each may import what stands to its left, and none of those to its right.
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
def test_no_package_imports_one_above_it(package: str) -> None:
    above = {*ORDER[ORDER.index(package) + 1 :], "fidelity", "explain", "benchmark"}
    found = imported(package)
    assert found, "imports nothing: is it still there?"
    assert found & above == set()
