"""The documentation pages: keys, messages and rules on them exist in the code, and no page is too long."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wbcsr.report.numbers import points

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted((REPOSITORY / "docs").glob("*.md"))
SCHEMA = yaml.safe_load((REPOSITORY / "config" / "schema.yaml").read_text())


def load_hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", REPOSITORY / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOOKS = load_hooks()


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short(page: Path) -> None:
    assert len(HOOKS.on_page_markdown(page.read_text()).splitlines()) <= 300


def test_every_page_is_in_the_readmes_table() -> None:
    linked = set(re.findall(r"\(docs/([\w-]+\.md)", (REPOSITORY / "README.md").read_text()))
    assert linked == {page.name for page in PAGES} - {"index.md"}


def test_the_readmes_picture_is_small() -> None:
    (picture,) = re.findall(r"!\[.*\]\((.*)\)", (REPOSITORY / "README.md").read_text())
    assert (REPOSITORY / picture).stat().st_size <= 200_000


def keys(schema: dict[str, Any], section: str = "") -> Iterator[tuple[str, str]]:
    """Section and name of every key that is not a section."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from keys(inner, f"{section}.{name}".lstrip("."))
        else:
            yield section, name


def test_the_reference_has_every_key_once_in_its_section() -> None:
    found = []
    section = ""
    for line in HOOKS.configuration().splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ").replace("Keys without a section", "")
        elif line.startswith("| `"):
            found.append((section, line.split("`")[1]))
    assert sorted(found) == sorted(keys(SCHEMA))


def test_the_reference_is_a_valid_markdown_table() -> None:
    """Four cells in each row, and nothing that a browser would read as a tag."""
    rows = [line for line in HOOKS.configuration().splitlines() if line.startswith("| `")]
    assert [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != 5] == []
    assert [row for row in rows if re.search(r"<\w", re.sub(r"`[^`]*`", "", row))] == []


def test_a_row_of_the_reference_has_bounds_and_default() -> None:
    (row,) = [line for line in HOOKS.configuration().splitlines() if line.startswith("| `epochs` ")]
    assert "| integer, 1 to 1000 | `20` |" in row


@cache
def texts() -> frozenset[str]:
    """Every string in the library; an f-string is split at its values."""
    trees = [ast.parse(path.read_text()) for path in (REPOSITORY / "scripts" / "wbcsr").rglob("*.py")]
    constants = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return frozenset(text for text in constants if isinstance(text, str))


def errors(page: str) -> list[str]:
    """The error messages that a page's tables explain: the texts of first cells that begin with error:."""
    text = (REPOSITORY / "docs" / page).read_text()
    # The message comes from the operating system; only the remedy is ours.
    return [error.replace("no space left on device", "…") for error in re.findall(r"^\| `error: (.+?)`", text, re.M)]


def reasons() -> list[str]:
    """The reasons of rejected.csv that the page on troubleshooting explains."""
    (section,) = re.findall(
        r"^## Rejected images\n(.+?)^## ", (REPOSITORY / "docs" / "troubleshooting.md").read_text(), re.M | re.S
    )
    return re.findall(r"^\| `(.+?)`", section, re.M)


@pytest.mark.parametrize("error", sorted({*errors("troubleshooting.md"), *errors("slurm.md"), *reasons()}))
def test_a_page_explains_only_messages_that_exist(error: str) -> None:
    """Each piece between values occurs in a string of the library; a message may be composed of several strings."""
    pieces = [piece for piece in re.split("…|: |; ", error) if re.search(r"\w{3}", piece)]
    assert pieces
    assert [piece for piece in pieces if not any(piece in text for text in texts())] == []


def test_the_rule_graph_shows_the_study() -> None:
    graph = HOOKS.rule_graph()
    assert graph.startswith("```mermaid\n")
    edges = set(re.findall(r"^    r_(\w+)\[\1\] --> r_(\w+)\[\2\]$", graph, re.MULTILINE))
    assert len(edges) == graph.count("-->")
    assert {("download_archive", "ingest_dataset"), ("make_tables", "make_figures")} <= edges
    # This edge follows from upscale → pack_images → train_classifier.
    assert ("upscale", "train_classifier") not in edges


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda edge: edge[0] < edge[1])))
def test_the_drawn_edges_keep_the_same_paths(edges: set[tuple[int, int]]) -> None:
    def closure(some: set[tuple[int, int]]) -> set[tuple[int, int]]:
        more = some | {(a, d) for a, b in some for c, d in some if b == c}
        return some if more == some else closure(more)

    drawn = HOOKS.direct(sorted(edges))
    assert closure(set(drawn)) == closure(edges)
    assert all(closure(set(drawn) - {edge}) != closure(edges) for edge in drawn)


def cells_of(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_the_answer_in_the_readme_is_the_published_one() -> None:
    folder = REPOSITORY / "docs" / "answer" / "cells"
    published, readme = folder.joinpath("README.md").read_text(), (REPOSITORY / "README.md").read_text()
    differences = pd.read_csv(folder / "tables" / "differences.csv")
    (row,) = differences.query("family == 'primary' and subset == 'test'").to_dict("records")
    interval = [points(row[key]) for key in ("metric_difference", "metric_low", "metric_high")]
    said = "({} points, 95 % interval {} to {})".format(*interval)
    for text in (published, readme):
        assert said in " ".join(text.split())
    own = differences.query("subset == 'test' and against_tested_on == 'original'").set_index("tested_on")
    assert own.loc["ceiling", "verdict"] == "equivalent"
    for variant in ("ceiling", "reduced_x4"):
        low, high = (points(own.loc[variant, key]) for key in ("metric_low", "metric_high"))
        assert f"{low} to {high})" in readme
    rows = [cells_of(line) for line in published.splitlines() if line.startswith("| ")]
    summary = [cells for cells in rows if len(cells) == 5][:7]
    controls = ["ceiling", "sharpened bicubic ×4", "reduced ÷4"]
    assert [cells[0] for cells in summary[1:]] == ["original", "bicubic ×4", "Real-ESRGAN ×4", *controls]
    shown = [cells_of(line) for line in readme.splitlines() if line.strip().startswith("| ")]
    assert [cells for cells in summary if cells not in shown] == []
    comparison = pd.read_csv(folder / "tables" / "comparison.csv").query("subset == 'test'")
    assert [f"{100 * accuracy:.1f}" for accuracy in comparison["accuracy"]] == [cells[1] for cells in summary[1:]]
