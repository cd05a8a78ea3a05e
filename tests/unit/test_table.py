"""A table is defined once and has the same content in every format."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader

from wbcsr import present
from wbcsr.present.table import (
    Column,
    Table,
    fixed,
    interval,
    latex_text,
    markdown_text,
    number,
    percent,
    points,
    read_table,
    text,
    write_table,
)

NAN = math.nan
DATA = pd.DataFrame(
    {
        **{"split": ["a", "a", "b"], "name": ["x", "y", "x"], "count": [1234, 5, NAN], "none": [NAN] * 3},
        **{"share": [0.5, 0.12345, NAN], "sd": [0.01, NAN, NAN], "low": [0.4, NAN, NAN], "high": [0.6, NAN, NAN]},
    }
)


def shown(column: Column) -> list[str]:
    return list(column.show(DATA))


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        (text("name", "", str.upper), ["X", "Y", "X"]),
        (number("count", "", ",.0f"), ["1,234", "5", ""]),
        (percent("share", "", spread="sd"), ["50.0 ± 1.0", "12.3", ""]),
        (points("share", ""), ["+50.0", "+12.3", ""]),
        (interval("low", "high", ".1f"), ["40.0–60.0", "–", "–"]),
        (interval("low", "high", "+.1f"), ["+40.0 to +60.0", "–", "–"]),
        (fixed("any", "", ["1", "2", "3"]), ["1", "2", "3"]),
    ],
)
def test_cells_of_each_kind_of_column(column: Column, cells: list[str]) -> None:
    assert shown(column) == cells


@pytest.mark.parametrize(("value", "cell"), [(-0.026, "−2.6"), (0.026, "+2.6"), (0.0004, "0.0"), (-0.0004, "0.0")])
def test_a_value_that_rounds_to_zero_has_no_sign(value: float, cell: str) -> None:
    assert list(points("value", "").show(pd.DataFrame({"value": [value]}))) == [cell]


def table(**more: object) -> Table:
    columns = [
        text("split", "Split"),
        text("name", "Name"),
        number("count", "Count", ",.0f", "Above"),
        number("none", "None", ".1f", "Above"),
        number("share", "Share", ".2f", "Above"),
    ]
    return Table("t", "Table", "Of <all>", DATA, columns, **more)  # type: ignore[arg-type]


def test_an_empty_column_is_left_out_in_every_format(tmp_path: Path) -> None:
    write_table(table(), tmp_path)
    assert [column.key for column in table().shown] == ["split", "name", "count", "share"]
    assert "None" not in (tmp_path / "t.md").read_text() + (tmp_path / "t.tex").read_text() + html(table())
    assert "none" in (tmp_path / "t.csv").read_text()


def test_a_table_without_rows_keeps_its_headings(tmp_path: Path) -> None:
    empty = Table("t", "Table", "Nothing", DATA.head(0), table().columns, summaries=[1, 2])
    write_table(empty, tmp_path)
    assert "None" in (tmp_path / "t.md").read_text()
    assert (tmp_path / "t.tex").read_text().count(r"\midrule") == 1
    assert "<table" not in html(empty)
    assert "Nothing" in html(empty)


def test_html_rows_are_grouped_in_blocks_with_their_common_values() -> None:
    shown = table(blocks=("split",), in_title=("count",), title_of=lambda row: f"Split {row['split']}")
    assert [column.key for column in shown.on_page] == ["name", "share"]
    assert shown.groups == [("", 1), ("Above", 1)]
    cells = shown.cells[[column.key for column in shown.on_page]].to_numpy()
    blocks = [(title, cells[rows].tolist()) for title, rows in shown.bodies]
    assert blocks == [("Split a", [["x", "0.50"], ["y", "0.12"]]), ("Split b", [["x", ""]])]


def html(table: Table) -> str:
    environment = Environment(loader=FileSystemLoader(Path(present.__file__).parent), autoescape=True)
    return environment.from_string('{% from "table.html.j2" import results %}{{ results(table) }}').render(table=table)


def test_html_has_headings_with_a_scope_and_escapes_text() -> None:
    page = html(table(marked=[(0, "share")], summaries=[2], source="a.csv", note="a & b"))
    assert page.count('scope="col"') == 4
    assert page.count('scope="colgroup"') == 1
    assert page.count('scope="row"') == 3
    assert "Of &lt;all&gt;" in page
    assert len(re.findall(r'<td class="number\s+right">0.50</td>', page)) == 1
    assert page.count('<tr class="summary first"') == 1
    assert "a &amp; b" in page
    assert "<code>a.csv</code>" in page


def test_latex_separates_totals_and_escapes_text(tmp_path: Path) -> None:
    data = pd.DataFrame({"name": ["A", "Total"], "n": [1, 1]})
    columns = [text("name", "Class"), number("n", "n", "d")]
    write_table(Table("t", "Table", "50 % of_it", data, columns, note="a & b", summaries=[1]), tmp_path)
    lines = (tmp_path / "t.tex").read_text().splitlines()
    assert lines[lines.index(r"A & 1 \\") : lines.index(r"\bottomrule")] == [r"A & 1 \\", r"\midrule", r"Total & 1 \\"]
    assert r"\caption{50 \% of\_it}" in lines
    assert any(r"a \& b" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b & 50 % of #1 {x} $y$", r"a\_b \& 50 \% of \#1 \{x\} \$y\$"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("<|>", r"\textless{}\textbar{}\textgreater{}"),
        ("−0.1 ± 2 ×4", r"$-$0.1 $\pm$ 2 $\times$4"),
        ("Éosinophile", "Éosinophile"),
    ],
)
def test_latex_escapes(text: str, escaped: str) -> None:
    assert latex_text(text) == escaped


@pytest.mark.parametrize(
    ("text", "escaped"), [("a|b", r"a\|b"), ("*_x_*", r"\*\_x\_\*"), ("<b>", r"\<b\>"), ("a, b & c", r"a, b \& c")]
)
def test_markdown_escapes(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


# A class may have any name that a folder may have, and no name may break a table.
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)


@settings(max_examples=60, derandomize=True)
@given(st.lists(WORDS.filter(str.strip), min_size=1, max_size=4), st.floats(-1, 1))
def test_no_text_breaks_a_table(tmp_path_factory: pytest.TempPathFactory, words: list[str], value: float) -> None:
    folder = tmp_path_factory.mktemp("table")
    data = pd.DataFrame({"class": words, "value": [value] * len(words)})
    columns = [text("class", "Class"), number("value", "Value", "+.2f")]
    write_table(Table("t", "T", "Words", data, columns), folder)
    read = read_table(folder / "t.csv", ["class", "value"], 1)
    assert list(read["class"]) == words
    assert list(read["value"]) == [value] * len(words)
    rows = [line for line in (folder / "t.tex").read_text(encoding="utf-8").split("\n") if line.endswith(r"\\")]
    assert len(rows) == 1 + len(words)
    assert all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows)
    rows = [line for line in (folder / "t.md").read_text(encoding="utf-8").split("\n") if line.startswith("|")]
    assert len(rows) == 2 + len(words)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
