"""The report page: a plain context computed from the results, and the template that it fills.

The page is one file that loads nothing: style and script stand in it, pictures are data URIs. Names of classes and
files are foreign text, which the template escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wbcsr import present
from wbcsr.config import Config, is_synthetic
from wbcsr.files import read_csv, write_text
from wbcsr.present.figures.curves import CURVES_CAPTION, RELIABILITY_CAPTION
from wbcsr.present.tables.accuracies import comparison_table, cross_table, f1_table, leakage_table, summary_table
from wbcsr.present.tables.calibration import calibration_table
from wbcsr.present.tables.controls import controls_table
from wbcsr.present.tables.cost import cost_table
from wbcsr.present.tables.differences import differences_table, recalls_table
from wbcsr.present.tables.endpoints import correlation_table, endpoints_table
from wbcsr.present.tables.study import study_tables
from wbcsr.provenance import without_folders
from wbcsr.report import answer, changes, checklist, engines, fidelity, limits, method, pictures
from wbcsr.report.results import read_tables
from wbcsr.stats.counts import count_sources
from wbcsr.stats.records import read_records
from wbcsr.study import published
from wbcsr.study.plan import Plan

RECORD_KEYS = ["rule", "wildcards", "versions", "machine", "started", "seconds"]


# The sections of the page by their `id`; the optional ones are left out where the study has none.
SECTIONS = {
    "reading": "How to read this",
    "accuracies": "Accuracies",
    "differences": "Differences",
    "probabilities": "Calibration",
    "cost": "Cost",
    "tables": "The study’s tables",
    "figures": "Figures",
    "cells": "Example cells",
    "fidelity": "Fidelity",
    "changes": "Changed labels",
    "speed": "Benchmarks",
    "method": "Methods",
    "checklist": "Checklist for reviewers",
    "limits": "Limitations, citation, licences",
}
# Parts of sections that the checklist refers to.
PARTS = {"rejected": "Excluded files", "table-leakage": "Data leakage"}


@dataclass(frozen=True)
class Inputs:
    """The files that the page is made of.

    `figures` holds each figure as .svg and .png. `provenances` are the records of all jobs, those of engines and of
    their comparison with fp32 among them. `weights` is empty where no network upscaled anything. The images of
    `manifests` lie beside them; the first manifest is of original images. `fidelity` is fidelity.csv and fidelity.png,
    or empty. `changes` are changes.csv and counts.csv, and empty where the configuration has no enhanced variant.
    `benchmark` is a .csv, .svg and .provenance.json of each benchmark, or empty.
    """

    tables: Sequence[Path]
    figures: Sequence[Path]
    provenances: Sequence[Path]
    weights: Sequence[Path]
    manifests: Sequence[Path]
    rejected: Path
    leakage: Path
    fidelity: Sequence[Path] = ()
    changes: Sequence[Path] = ()
    benchmark: Sequence[Path] = ()


def write_page(page: Path, inputs: Inputs, config: Config) -> None:
    """Write the report as one HTML file.

    InputError where a table or figure is missing, or a file is not what it should be. Paths out of the working folder
    are shown without their folders.
    """
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, Path(present.__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(page, environment.get_template("template.html.j2").render(context(inputs, without_folders(config))))


def context(inputs: Inputs, config: Config) -> dict[str, Any]:
    """Everything that the template shows, as text, lists and dictionaries.

    `config` is the complete configuration (`wbcsr.config.complete`).
    """
    plan = Plan.of(config)
    results = read_tables(inputs.tables, inputs.leakage)
    comparison = results["comparison"]
    figures = pictures.Figures(inputs.figures)
    photographs, charts = pictures.study_figures(figures, config)
    records = dict(zip(inputs.provenances, read_records(inputs.provenances, RECORD_KEYS), strict=True))
    jobs = list(records.values())
    sizes = read_csv(inputs.manifests[0], ["width", "height"])[["width", "height"]].value_counts()
    width, height = map(int, sizes.index[0])
    optional = {
        "fidelity": fidelity.section(inputs.fidelity),
        "changes": changes.describe_changes(inputs.changes, figures, config),
        "speed": _speed(inputs.benchmark),
    }
    return {
        **optional,
        "subject": limits.subject(config),
        "drawn": is_synthetic(config),
        "answer": answer.answer(results, config),
        "resolution": limits.resolution(plan.enhanced, width, height, config),
        "titles": SECTIONS | PARTS,
        "sections": [id for id in SECTIONS if optional.get(id, True)],
        "checklist": checklist.checklist(config, optional),
        "guidelines": checklist.GUIDELINES,
        "summary": summary_table(*(plan.own(plan.judged_rows(results[name])) for name in ("comparison", "endpoints"))),
        "forest": figures.picture("differences", "Differences with their 95\u00a0% intervals."),
        "controls": controls_table(results["controls"]) if len(results["controls"]) else None,
        "comparison": comparison_table(plan.own(comparison)),
        "accuracy": figures.picture("accuracy", "Accuracy of every training variant with its 95\u00a0% interval."),
        "leakage": leakage_table(count_sources(results["leakage"], comparison, plan), plan),
        "endpoints": endpoints_table(plan.own(plan.judged_rows(results["endpoints"])), plan),
        "correlation": correlation_table(plan.own(plan.judged_rows(results["correlation"]))),
        "f1_scores": f1_table(plan.own(comparison), plan),
        "differences": differences_table(plan.judged_rows(results["differences"])),
        "recalls": recalls_table(plan.judged_rows(results["recalls"]), plan),
        "cross": cross_table(comparison, plan) if config["cross_evaluate"] else None,
        "calibration": calibration_table(plan.own(plan.judged_rows(results["calibration"]))),
        "reliability": figures.picture(f"reliability_{plan.judged[0]}", RELIABILITY_CAPTION),
        "curves": figures.picture(f"curves_{plan.judged[0]}", CURVES_CAPTION),
        "cost": cost_table(results["cost"]),
        "tables": study_tables(results, plan),
        "photographs": photographs,
        "charts": charts,
        "confusions": pictures.confusion_figures(figures, config),
        "examples": pictures.examples(inputs.manifests, plan),
        "settings": method.settings(config, jobs),
        "configuration": method.as_yaml(config),
        "weights": method.weights_table(inputs.weights),
        "engines": engines.describe_engines(records),
        "stages": method.stages_table(jobs),
        "machines": method.machines(jobs),
        "versions": method.versions(jobs),
        "rejected": method.rejections(inputs.rejected),
        "limitations": limits.limitations(plan.enhanced, config),
        "licences": limits.licences(plan.enhanced, config),
        "published": published,
    }


def _speed(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The section on speed; only where there is one does the page need what measured it, torch among it."""
    if not paths:
        return []
        from wbcsr.report import benchmark

    return benchmark.section(paths)
