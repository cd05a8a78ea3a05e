"""A table, defined once: what its columns show, and its words. Written as CSV, Markdown and LaTeX, shown as HTML.

HTML is made by the macro `results` of `table.html.j2`. LaTeX needs the packages booktabs and graphicx.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_csv, write_csv, write_text
from wbcsr.present.text import interval_text, number_texts

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        **{character: "\\" + character for character in "&%$#_{}"},
        # Not every LaTeX set-up knows these characters outside of mathematics.
        "−": "$-$",
        "–": "--",
        "±": r"$\pm$",
        "×": r"$\times$",
        "→": r"$\to$",
        "Δ": r"$\Delta$",
    }
)


# The styles of columns of words: on one line, on several, and broken anywhere.
WORDS = ("text", "prose", "hash")


# The page folds tables of more rows.
LONG = 12


@dataclass(frozen=True)
class Column:
    """A column of a table: `show` gives the text of each cell from all rows of the table's data.

    `key` names the column in code, and `group` is a heading that it shares with its neighbours. `style` is `number`,
    `figure` (a number that may break into lines), or one of `WORDS`. `of_study` marks numbers that the study published.
    """

    key: str
    heading: str
    show: Callable[[pd.DataFrame], Iterable[str]]
    group: str = ""
    style: str = "number"
    of_study: bool = False

    @property
    def is_text(self) -> bool:
        return self.style in WORDS


def text(key: str, heading: str, label: Callable[[Any], str] = str, style: str = "text", group: str = "") -> Column:
    """The values in the data's column `key`, each as the words that `label` gives."""
    return Column(key, heading, lambda rows: map(label, rows[key]), group, style)


def each(
    key: str, heading: str, cell: Callable[[dict[str, Any]], str], group: str = "", style: str = "number"
) -> Column:
    """Cells that follow from several columns of the data: `cell` gives the text of a row."""
    return Column(key, heading, lambda rows: map(cell, rows.to_dict("records")), group, style)


def fixed(
    key: str, heading: str, texts: Sequence[str], group: str = "", style: str = "number", of_study: bool = False
) -> Column:
    """Cells that are text already."""
    return Column(key, heading, lambda rows: texts, group, style, of_study)


def number(
    key: str, heading: str, form: str, group: str = "", of_study: bool = False, scale: float = 1, spread: str = ""
) -> Column:
    """The numbers in the data's column `key`, times `scale`, in the format `form`; empty for none.

    `spread` names the column of their standard deviations, which are printed after the numbers if they are known.
    """

    def show(rows: pd.DataFrame) -> list[str]:
        texts = (number_texts(scale * rows[name], form) for name in filter(None, (key, spread)))
        return [" ± ".join(filter(None, parts)) for parts in zip(*texts, strict=True)]

    return Column(key, heading, show, group, of_study=of_study)


def percent(key: str, heading: str, of_study: bool = False, spread: str = "") -> Column:
    """Shares as percentages."""
    return number(key, f"{heading}, %", ".1f", of_study=of_study, scale=100, spread=spread)


def points(key: str, heading: str, group: str = "", form: str = "+.1f") -> Column:
    """Differences of shares in percentage points."""
    return number(key, f"{heading}, points", form, group, scale=100)


def interval(low: str, high: str, form: str, heading: str = "95 % CI", group: str = "") -> Column:
    """The intervals of a share or of a difference of shares, as percentages or percentage points."""
    return each(low, heading, lambda row: interval_text(100 * row[low], 100 * row[high], form), group)


@dataclass(frozen=True)
class Table:
    """A table and its words; a column in which no row has anything is left out.

    `data` is written to the CSV file unchanged. `summaries` are the numbers of rows that summarise the rows above them.
    `marked` are cells in bold on the page, each by its row number and column key. On the page, rows with equal values
    in the columns `blocks` form a block; `title_of` makes the block's title from its first row. The columns `blocks`
    and `in_title` are in this title and are not columns on the page. `source` is the file with all numbers.
    """

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    columns: Sequence[Column]
    note: str = ""
    summaries: Collection[int] = ()
    marked: Collection[tuple[int, str]] = ()
    blocks: Sequence[str] = ()
    in_title: Sequence[str] = ()
    title_of: Callable[[pd.Series], str] = lambda row: ""
    source: str = ""

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The text of all cells, columns by key."""
        every = pd.DataFrame({column.key: list(column.show(self.data)) for column in self.columns}, dtype=object)
        return every if every.empty else every.loc[:, (every != "").any()]

    @property
    def is_long(self) -> bool:
        """Whether the page folds it."""
        return len(self.data) > LONG

    @property
    def shown(self) -> list[Column]:
        """The columns of `cells`."""
        return [column for column in self.columns if column.key in self.cells]

    @property
    def on_page(self) -> list[Column]:
        """The columns that the page shows."""
        return [column for column in self.shown if column.key not in {*self.blocks, *self.in_title}]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The group headings on the page, each with the number of its columns; empty if no column has a group."""
        found = [(group, len(list(columns))) for group, columns in groupby(self.on_page, lambda column: column.group)]
        return found if any(group for group, _ in found) else []

    @property
    def bodies(self) -> Iterator[tuple[str, list[int]]]:
        """The blocks of rows on the page: each with its title and the numbers of its rows."""
        data = self.data.reset_index(drop=True)
        blocks = data.groupby(list(self.blocks), sort=False, dropna=False).indices.values() if self.blocks else None
        for rows in blocks or [data.index.to_numpy()]:
            if len(rows):
                yield self.title_of(data.iloc[rows[0]]), rows.tolist()


def markdown_text(text: str) -> str:
    """Escape characters that are markup in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|~&#$])", r"\\\1", text)


def latex_text(text: str) -> str:
    """Escape characters that are commands in LaTeX."""
    return text.translate(_LATEX)


def write_table(table: Table, folder: str | Path, data: pd.DataFrame | None = None) -> None:
    """Write `<name>.csv`, `<name>.md` and `<name>.tex` into `folder`; the CSV has `data` if it is given."""
    folder = Path(folder)
    write_csv(folder / f"{table.name}.csv", table.data if data is None else data)
    write_text(folder / f"{table.name}.md", _markdown(table))
    write_text(folder / f"{table.name}.tex", _latex(table))


def read_table(path: str | Path, columns: list[str], texts: int) -> pd.DataFrame:
    """Read a table that was written: its first `texts` columns are words, the others numbers; an empty cell is NaN.

    Raises InputError if a column is missing, or has words instead of numbers.
    """
    table = read_csv(path, columns)
    try:
        numbers = table.iloc[:, texts:].replace("", None).apply(pd.to_numeric)
    except ValueError as error:
        raise InputError(f"{path}: has words for numbers ({error}); {how_to_regenerate(path)}") from error
    return pd.concat([table.iloc[:, :texts], numbers], axis=1)


def _markdown(table: Table) -> str:
    cells = table.cells.map(markdown_text)
    cells.columns = [markdown_text(", ".join(filter(None, [column.group, column.heading]))) for column in table.shown]
    align = ["left" if column.is_text else "right" for column in table.shown]
    body = cells.to_markdown(index=False, disable_numparse=True, colalign=align)
    parts = [f"**{markdown_text(table.title)}.** {markdown_text(table.caption)}", body, markdown_text(table.note)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _latex(table: Table) -> str:
    cells = table.cells.map(latex_text)
    headings = [(latex_text(column.group), latex_text(column.heading)) for column in table.shown]
    has_groups = any(group for group, _ in headings)
    cells.columns = pd.MultiIndex.from_tuples(headings) if has_groups else [heading for _, heading in headings]
    align = "".join("l" if column.is_text else "r" for column in table.shown)
    environment = "table*" if len(align) > 7 else "table"  # the starred one spans the columns of a page
    lines = cells.to_latex(index=False, escape=False, column_format=align, multicolumn_format="c").splitlines()
    first = len(lines) - 2 - len(cells)  # of the rows, below which there are \bottomrule and \end{tabular}
    for number in reversed(range(len(cells))):
        if number in table.summaries and number - 1 not in table.summaries:
            lines.insert(first + number, r"\midrule")
    return "\n".join(
        [
            "% needs the packages booktabs and graphicx",
            rf"\begin{{{environment}}}[htbp]",
            r"\centering",
            rf"\caption{{{latex_text(table.caption)}}}",
            rf"\label{{tab:{table.name}}}\par\smallskip",
            r"\setlength{\tabcolsep}{4pt}",
            # Shrinks a table only if it is wider than the text.
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *lines[:-1],
            lines[-1] + "%",
            "}",
            *([rf"\par\smallskip{{\footnotesize {latex_text(table.note)}\par}}"] if table.note else []),
            rf"\end{{{environment}}}",
            "",
        ]
    )
