"""A table as a paper prints it, and its numbers as text: CSV with every digit, Markdown, and LaTeX.

LaTeX needs the packages booktabs and graphicx.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from wbcsr.errors import InputError, make_again
from wbcsr.files import read_csv, write_csv, write_text

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


@dataclass(frozen=True)
class Table:
    """A table and its words.

    `data` goes into the CSV file as it is; `printed` holds the same rows as text, its first
    `text_columns` columns words and the others numbers; its headings may have two levels. The last
    `summary_rows` rows are set off from those above.
    """

    name: str
    title: str
    caption: str
    data: pd.DataFrame
    printed: pd.DataFrame
    note: str = ""
    text_columns: int = 1
    summary_rows: int = 0


def markdown_text(text: str) -> str:
    """Escape what Markdown or HTML would take for markup."""
    return re.sub(r"([\\`*_\[\]<>|~&#$])", r"\\\1", text)


def latex_text(text: str) -> str:
    """Escape what LaTeX would take for a command."""
    return text.translate(_LATEX)


def write_table(table: Table, folder: str | Path) -> None:
    """Write `<name>.csv`, `<name>.md` and `<name>.tex` into `folder`."""
    folder = Path(folder)
    write_csv(folder / f"{table.name}.csv", table.data)
    write_text(folder / f"{table.name}.md", _markdown(table))
    write_text(folder / f"{table.name}.tex", _latex(table))


def read_table(path: str | Path, columns: list[str], texts: int) -> pd.DataFrame:
    """A table that was written: its first `texts` columns are words, the others numbers, NaN where a cell is empty.

    InputError where a column is missing or has words for numbers.
    """
    table = read_csv(path, columns)
    try:
        numbers = table.iloc[:, texts:].replace("", None).apply(pd.to_numeric)
    except ValueError as error:
        raise InputError(f"{path}: has words for numbers ({error}); {make_again(path)}") from error
    return pd.concat([table.iloc[:, :texts], numbers], axis=1)


def number_texts(numbers: pd.Series, form: str) -> list[str]:
    """Each number in the format `form`, with a real minus sign; empty for none."""
    return ["" if pd.isna(number) else format(number, form).replace("-", "−") for number in numbers]


def p_values(values: pd.Series) -> list[str]:
    """P-values as a paper prints them."""
    return ["<0.001" if value < 0.001 else f"{value:.3f}" for value in values]


def interval_texts(lows: pd.Series, highs: pd.Series, form: str) -> list[str]:
    """The ends of intervals, each in the format `form`; empty for none."""
    ends = zip(number_texts(lows, form), number_texts(highs, form), strict=True)
    between = " to " if "+" in form else "–"
    return [f"{low}{between}{high}" if low else "" for low, high in ends]


def _levels(heading: str | tuple[str, ...]) -> tuple[str, ...]:
    """The levels of a column's heading, from the top."""
    return heading if isinstance(heading, tuple) else (heading,)


def _markdown(table: Table) -> str:
    cells = table.printed.map(markdown_text)
    cells.columns = [markdown_text(", ".join(filter(None, _levels(heading)))) for heading in cells.columns]
    numbers = len(cells.columns) - table.text_columns
    body = cells.to_markdown(
        index=False, disable_numparse=True, colalign=["left"] * table.text_columns + ["right"] * numbers
    )
    parts = [f"**{table.title}.** {markdown_text(table.caption)}", body, markdown_text(table.note)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _latex(table: Table) -> str:
    cells = table.printed.map(latex_text).rename(columns=latex_text)
    numbers = len(cells.columns) - table.text_columns
    columns = "l" * table.text_columns + "r" * numbers
    environment = "table*" if len(columns) > 7 else "table"  # the starred one spans the columns of a page
    lines = cells.to_latex(index=False, escape=False, column_format=columns, multicolumn_format="c").splitlines()
    if table.summary_rows:
        lines.insert(len(lines) - 2 - table.summary_rows, r"\midrule")
    return "\n".join(
        [
            "% needs the packages booktabs and graphicx",
            rf"\begin{{{environment}}}[htbp]",
            r"\centering",
            rf"\caption{{{latex_text(table.caption)}}}",
            rf"\label{{tab:{table.name}}}\par\smallskip",
            r"\setlength{\tabcolsep}{4pt}",
            # Shrinks a table that is wider than the text, and leaves the others alone.
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *lines[:-1],
            lines[-1] + "%",
            "}",
            *([rf"\par\smallskip{{\footnotesize {latex_text(table.note)}\par}}"] if table.note else []),
            rf"\end{{{environment}}}",
            "",
        ]
    )
