"""The report page: values computed from the results, and the template that shows them.

The page is one file that loads no other file: it contains its style, its script and its pictures. Names of classes and
files come from the user, and the template escapes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from wbcsr import present
from wbcsr.config import Config, first_of_each_network, is_synthetic, parse_variant
from wbcsr.files import read_csv, write_text
from wbcsr.present.cells import read_manifests
from wbcsr.present.figures.accuracies import ACCURACIES_CAPTION
from wbcsr.present.figures.curves import CURVES_CAPTION, RELIABILITY_CAPTION
from wbcsr.present.tables.accuracies import (
    comparison_table,
    cross_table,
    f1_table,
    leakage_table,
    share_of,
    summary_table,
)
from wbcsr.present.tables.calibration import calibration_table
from wbcsr.present.tables.controls import controls_table
from wbcsr.present.tables.cost import cost_table
from wbcsr.present.tables.differences import differences_table, recalls_table
from wbcsr.present.tables.endpoints import correlation_table, endpoints_table
from wbcsr.present.tables.misclassified import misclassified_table
from wbcsr.present.tables.study import study_tables
from wbcsr.provenance import without_folders
from wbcsr.report import answer, changes, engines, fidelity, finetuning, limits, method, numbers, pictures
from wbcsr.report.results import read_tables
from wbcsr.stats.counts import count_sources
from wbcsr.stats.records import read_records
from wbcsr.study import published
from wbcsr.study.labels import variant_label
from wbcsr.study.plan import Plan

ENVIRONMENT = Environment(
    loader=FileSystemLoader([Path(__file__).parent, Path(present.__file__).parent]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {
    "variant": variant_label,
    "in_words": numbers.counted,
    "thousands": "{:,}".format,
}
ENVIRONMENT.globals["share_of"] = share_of
RECORD_KEYS = ["rule", "wildcards", "versions", "machine", "started", "seconds"]


# The sections of the page by their `id`; an optional section is left out if the study has no results for it.
SECTIONS = {
    "reading": "How to read this",
    "accuracies": "Accuracies",
    "differences": "Differences",
    "probabilities": "Calibration",
    "cost": "Cost",
    "tables": "The study’s tables",
    "figures": "Figures",
    "cells": "Example cells",
    "misclassified": "Always misclassified",
    "fidelity": "Fidelity",
    "finetuning": "Fine-tuning",
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

    `figures` has each figure as .svg and .png. `provenances` are the records of all jobs, including those that compile
    engines and compare them with fp32. `weights` is empty if no network upscaled images. `manifests` have their images
    in the same folder; the first one lists original images. `fidelity` is fidelity.csv and fidelity.png, or empty.
    `changes` are changes.csv and counts.csv, or empty if the configuration has no enhanced variant. `benchmark` has a
    .csv, .svg and .provenance.json of each benchmark, or is empty.
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

    Raises InputError if a table or figure is missing, or if a file lacks a column or a key. Paths outside of the
    working folder are shown without their folders.
    """
    write_text(page, ENVIRONMENT.get_template("template.html.j2").render(context(inputs, without_folders(config))))


def facts(config: Config) -> dict[str, Any]:
    """The values that depend only on the configuration."""
    return {
        "config": config,
        "enhanced": Plan.of(config).enhanced,
        "networks": [parse_variant(variant)[0] for variant in first_of_each_network(config["variants"])],
        "drawn": is_synthetic(config),
        "of_study": limits.is_published(config),
        "subject": limits.subject(config),
        "published": published,
    }


def speed(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The section on speed. Only a page with this section imports the benchmarks, and torch with them."""
    if not paths:
        return []
    from wbcsr.report import benchmark

    return benchmark.section(paths)


def context(inputs: Inputs, config: Config) -> dict[str, Any]:
    """Everything that the template shows, as text, lists and dictionaries.

    `config` is the complete configuration (`wbcsr.config.schema.complete`).
    """
    plan = Plan.of(config)
    results = read_tables(inputs.tables, inputs.leakage)
    comparison = results["comparison"]
    figures = pictures.Figures(inputs.figures)
    photographs, charts = pictures.study_figures(figures, config)
    records = dict(zip(inputs.provenances, read_records(inputs.provenances, RECORD_KEYS), strict=True))
    jobs = list(records.values())
    images = read_manifests(inputs.manifests)
    sizes = read_csv(inputs.manifests[0], ["width", "height"])[["width", "height"]].value_counts()
    width, height = map(int, sizes.index[0])
    optional = {
        "fidelity": fidelity.section(inputs.fidelity),
        "finetuning": finetuning.section(results, inputs.fidelity, jobs, figures, config),
        "changes": changes.section(inputs.changes, figures, config),
        "speed": speed(inputs.benchmark),
    }
    return {
        **optional,
        **facts(config),
        "answer": answer.answer(results, config),
        "resolution": limits.resolution(plan.enhanced, width, height, config),
        "titles": SECTIONS | PARTS,
        "sections": [id for id in SECTIONS if optional.get(id, True)],
        "summary": summary_table(*(plan.own(plan.judged_rows(results[name])) for name in ("comparison", "endpoints"))),
        "forest": figures.picture("differences", "Differences with their 95\u00a0% intervals."),
        "controls": controls_table(results["controls"]) if len(results["controls"]) else None,
        "comparison": comparison_table(plan.own(comparison)),
        "accuracy": figures.picture("accuracy", ACCURACIES_CAPTION),
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
        "enlargements": figures.picture("enlargements", "One cell of each class in each variant."),
        "confusions": pictures.confusion_figures(figures, config),
        "examples": pictures.examples(images, plan),
        "misclassified": {
            "table": misclassified_table(results["misclassified"], plan),
            "pictures": pictures.misclassified(results["misclassified"], images, plan),
        },
        "settings": method.settings(config, jobs),
        "configuration": method.as_yaml(config),
        "weights": method.weights_table(inputs.weights),
        "engines": engines.describe_engines(records),
        "stages": method.stages_table(jobs),
        "machines": method.machines(jobs),
        "versions": method.versions(jobs),
        "rejected": method.rejections(inputs.rejected),
    }
