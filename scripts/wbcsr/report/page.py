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
from wbcsr.config import Config
from wbcsr.files import write_text
from wbcsr.present.figures.curves import CURVES_CAPTION, RELIABILITY_CAPTION
from wbcsr.present.tables.accuracies import comparison_table, cross_table, f1_table, leakage_table
from wbcsr.present.tables.calibration import calibration_table
from wbcsr.present.tables.cost import cost_table
from wbcsr.present.tables.differences import differences_table, recalls_table
from wbcsr.present.tables.study import study_tables
from wbcsr.provenance import without_folders
from wbcsr.report import answer, changes, engines, fidelity, method, pictures, wording
from wbcsr.report.results import read_tables
from wbcsr.stats.counts import count_sources
from wbcsr.stats.records import read_records
from wbcsr.study import published
from wbcsr.study.plan import Plan

RECORD_KEYS = ["rule", "wildcards", "versions", "machine", "started", "seconds"]


@dataclass(frozen=True)
class Inputs:
    """The files that the page is made of.

    `figures` holds each figure as .svg and .png. `engines` are the files engine.json of super-resolution models and of
    runs, `qualities` the quality.json beside each; see `wbcsr.report.engines`. `weights` is empty where no network
    enlarged anything. The images of `manifests` lie beside them. `fidelity` is fidelity.csv and fidelity.png, or empty.
    `changes` are changes.csv and counts.csv, and empty where the configuration has no enhanced variant. `benchmark` is
    a .csv, .svg and .provenance.json of each benchmark, or empty.
    """

    tables: Sequence[Path]
    figures: Sequence[Path]
    provenances: Sequence[Path]
    engines: Sequence[Path]
    qualities: Sequence[Path]
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
    records = read_records(inputs.provenances, RECORD_KEYS)
    return {
        "subject": wording.subject(config),
        "drawn": wording.is_drawn(config),
        "answer": answer.answer(results, config),
        "leakage": leakage_table(count_sources(results["leakage"], comparison, plan), plan),
        "differences": differences_table(plan.judged_rows(results["differences"])),
        "recalls": recalls_table(plan.judged_rows(results["recalls"]), plan),
        "forest": figures.picture(
            "differences", "Every comparison of the table with its 95\u00a0% interval; hollow: none."
        ),
        "calibration": calibration_table(plan.own(plan.judged_rows(results["calibration"]))),
        "reliability": figures.picture(f"reliability_{plan.judged[0]}", RELIABILITY_CAPTION),
        "curves": figures.picture(f"curves_{plan.judged[0]}", CURVES_CAPTION),
        "cross": cross_table(comparison, plan) if config["cross_evaluate"] else None,
        "comparison": comparison_table(plan.own(comparison)),
        "f1_scores": f1_table(plan.own(comparison), plan),
        "accuracy": figures.picture("accuracy", "Accuracy of every training variant with its 95\u00a0% interval."),
        "price": wording.price(results["cost"], plan.enhanced, config),
        "cost": cost_table(results["cost"]),
        "tables": study_tables(results, plan),
        "fidelity": fidelity.section(inputs.fidelity),
        "photographs": photographs,
        "charts": charts,
        "confusions": pictures.confusion_figures(figures, config),
        "examples": pictures.examples(inputs.manifests, plan),
        "changes": changes.describe_changes(inputs.changes, figures, config),
        "speed": _speed(inputs.benchmark),
        "settings": method.settings(config, records),
        "configuration": method.as_yaml(config),
        "weights": method.weights_table(inputs.weights),
        "engines": engines.describe_engines(inputs.engines, inputs.qualities, records),
        "stages": method.stages_table(records),
        "machines": method.machines(records),
        "versions": method.versions(records),
        "rejected": method.rejections(inputs.rejected),
        "limitations": wording.limitations(plan.enhanced, config),
        "licences": wording.licences(plan.enhanced, config),
        "published": published,
    }


def _speed(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The section on speed; only where there is one does the page need what measured it, torch among it."""
    if not paths:
        return []
        from wbcsr.report import benchmark

    return benchmark.section(paths)
