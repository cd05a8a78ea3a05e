"""Write all tables of a study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wbcsr.files import read_csv
from wbcsr.present.table import write_table
from wbcsr.present.tables.accuracies import comparison_table
from wbcsr.present.tables.calibration import calibration_table
from wbcsr.present.tables.controls import controls_table
from wbcsr.present.tables.cost import cost_table
from wbcsr.present.tables.differences import differences_table, recalls_table
from wbcsr.present.tables.endpoints import correlation_table, endpoints_table
from wbcsr.present.tables.misclassified import misclassified_table
from wbcsr.present.tables.study import study_tables
from wbcsr.stats.calibration import Probabilities, calibrations
from wbcsr.stats.comparison import compare_arms, main_arm
from wbcsr.stats.controls import controls
from wbcsr.stats.correlation import correlations
from wbcsr.stats.cost import costs
from wbcsr.stats.counts import count_images, read_leakage
from wbcsr.stats.differences import differences, recalls
from wbcsr.stats.endpoints import endpoints
from wbcsr.stats.misclassified import misclassified
from wbcsr.stats.predictions import Run, read_arms
from wbcsr.stats.records import read_records
from wbcsr.stats.scores import confusion_rows, score_rows
from wbcsr.study.plan import Plan


def write_tables(
    images: str | Path,
    sources: str | Path,
    splits: Iterable[str | Path],
    leakage: str | Path,
    runs: Iterable[Run],
    provenances: Iterable[str | Path],
    plan: Plan,
    folder: str | Path,
) -> None:
    """Write every table, each as .csv, .md and .tex, into `folder`.

    `images`, `sources` and `leakage` are the CSV files of these names, `splits` the files <split>.csv; `runs` have the
    predictions, and `provenances` are the records of all jobs. Raises InputError if a file lacks a column or a key.
    """
    arms = read_arms(runs, splits, sources, plan)
    records = read_records(map(Path, provenances), ["rule", "wildcards", "machine"])
    comparison = compare_arms(arms, read_leakage(leakage), plan)
    first = [main_arm(arms, plan, variant) for variant in ("original", plan.enhanced)]
    matrices = [arm.first[1] if arm else None for arm in first]
    study = {
        "table2": count_images(read_csv(images, ["partition", "class"]), plan),
        "table3": score_rows(matrices[0]),
        "table4": score_rows(matrices[1]),
        **{
            name: confusion_rows(matrix, plan.classes)
            for name, matrix in zip(("table5", "table6"), matrices, strict=True)
        },
    }
    for table in (
        *study_tables(study, plan),
        comparison_table(comparison),
        differences_table(differences(arms, plan)),
        recalls_table(recalls(arms, plan), plan),
        endpoints_table(endpoints(arms), plan),
        correlation_table(correlations(arms)),
        calibration_table(calibrations(map(Probabilities.of, arms))),
        controls_table(controls(arms, plan)),
        misclassified_table(misclassified(arms, plan), plan),
        cost_table(costs(records, plan.own(comparison), plan.seeds)),
    ):
        write_table(table, folder)
