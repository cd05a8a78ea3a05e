"""The answer of a finished study as a folder for a repository or a web page, without images of cells."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from wbcsr.config import Config
from wbcsr.files import write_text
from wbcsr.present.table import Table, markdown_text, write_table
from wbcsr.present.tables.accuracies import summary_table
from wbcsr.provenance import version, without_folders
from wbcsr.report import answer, method
from wbcsr.report.results import read_tables
from wbcsr.stats.records import read_records
from wbcsr.study.plan import Plan

# Figures without images of cells, by the beginnings of their names.
CHARTS = ("differences", "accuracy", "confusion", "curves", "reliability", "fig9", "fig10", "fig11", "fig12")
ON_THE_PAGE = ("differences", "accuracy")
IMAGES = "images.csv"


@dataclass(frozen=True)
class Inputs:
    """The files of a finished study that are published or needed for the page.

    `tables` are all files of results/tables, `figures` the .png files, `provenances` the records of all jobs; `images`
    is the list of images in `dataset.images`, or None if the study uses all.
    """

    tables: Sequence[Path]
    figures: Sequence[Path]
    provenances: Sequence[Path]
    leakage: Path
    images: Path | None


def publish(folder: Path, repository: Path, inputs: Inputs, config: Config) -> None:
    """Write `folder`: README.md (the answer, and how it was computed), config.yaml, tables and figures.

    `config` is the complete configuration. An existing folder is replaced. Raises InputError if a table is missing.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "tables").mkdir(parents=True)
    (temporary / "figures").mkdir()
    for path in inputs.tables:
        shutil.copyfile(path, temporary / "tables" / path.name)
    charts = [path for path in inputs.figures if path.name.startswith(CHARTS)]
    for path in charts:
        shutil.copyfile(path, temporary / "figures" / path.name)
    if inputs.images:
        shutil.copyfile(inputs.images, temporary / IMAGES)
    shown = yaml.safe_dump(without_folders(config), sort_keys=False, allow_unicode=True, width=100)
    write_text(temporary / "config.yaml", shown)
    write_text(temporary / "README.md", _page(temporary, repository, inputs, config))
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _page(folder: Path, repository: Path, inputs: Inputs, config: Config) -> str:
    plan = Plan.of(config)
    results = read_tables(inputs.tables, inputs.leakage)
    words = answer.answer(results, config)
    records = read_records(inputs.provenances, ["rule", "wildcards", "versions", "machine", "started", "seconds"])
    days = sorted({str(record["started"])[:10] for record in records})
    own = [plan.own(plan.judged_rows(results[name])) for name in ("comparison", "endpoints")]
    controls = (folder / "tables" / "controls.md").read_text("utf-8").strip()
    lines = [
        f"# Does super-resolution help? {config['view']['around'].capitalize()} view",
        f"**{markdown_text(words['lead'])}** {markdown_text(' '.join(words['sentences']))}",
        _markdown(folder, summary_table(*own)),
        *(f"![{name}](figures/{name}.png)" for name in ON_THE_PAGE),
        *([controls] if len(results["controls"]) else []),
        "## Limitations",
        "\n".join(f"- {markdown_text(caution)}" for caution in words["cautions"]),
        "## How it was computed",
        "\n".join(
            f"- {line}"
            for line in (
                f"Machine: {markdown_text('; '.join(method.machines(records)))}.",
                f"Date: {days[0]}{f' to {days[-1]}' if days[1:] else ''}.",
                f"Code: {_commit(repository)} wrote this page; jobs of earlier days may have run with earlier commits.",
                *(f"{name}: {markdown_text(value)}." for name, value in method.settings(config, records).items()),
            )
        ),
        _markdown(folder, method.stages_table(records)),
        "## Compute it again",
        _commands(config),
        "`tables` has every table of the study as CSV, Markdown and LaTeX, and `figures` has its charts. Images of "
        "cells are not published.",
    ]
    return "\n\n".join(lines) + "\n"


def _markdown(folder: Path, table: Table) -> str:
    """The Markdown text of a table; the table is also written into the folder of the other tables."""
    write_table(table, folder / "tables")
    return (folder / "tables" / f"{table.name}.md").read_text("utf-8").strip()


def _commit(repository: Path) -> str:
    """The commit of the code, with the suffix "-dirty" if files were changed after it; without git, the version."""
    command = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return f"commit {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}"
    except (OSError, subprocess.CalledProcessError):
        return f"version {version('wbcsr')}, not a git repository"


def _commands(config: Config) -> str:
    """The commands that repeat the study; the data set is not part of the folder."""
    dataset = config["dataset"]
    chosen = f"cp {IMAGES} {dataset['images']}    # the images that are used\n" if dataset["images"] else ""
    return (
        f"In a folder that has the data set ({dataset['archive']}) and this folder's files, with the repository in "
        f"REPOSITORY:\n\n```sh\n{chosen}snakemake --snakefile REPOSITORY/Snakefile --configfile config.yaml\n```"
    )
