"""Write all figures of a study, in the style of `wbcsr.present.style`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from wbcsr.present.cells import choose_cells, read_manifests
from wbcsr.present.figures.accuracies import draw_accuracies, draw_differences
from wbcsr.present.figures.classes import FIGURES, draw_classes
from wbcsr.present.figures.confusion import draw_confusion
from wbcsr.present.figures.curves import draw_curves, draw_reliability
from wbcsr.present.figures.photographs import draw_enlargements, draw_examples, draw_image
from wbcsr.present.figures.training import Training, draw_history, read_histories
from wbcsr.present.style import draw_notice, house_style, save_figure
from wbcsr.present.table import read_table
from wbcsr.stats.calibration import Probabilities, matched_arms
from wbcsr.stats.comparison import main_arm
from wbcsr.stats.differences import COLUMNS, TEXTS
from wbcsr.stats.endpoints import class_scores
from wbcsr.stats.predictions import Run, read_arms
from wbcsr.study import published
from wbcsr.study.labels import NO_ENHANCED, confusion_name
from wbcsr.study.plan import Plan


@dataclass(frozen=True)
class Inputs:
    """The files that the figures are made of.

    `splits` are the files <split>.csv, `sources` and `differences` the CSV files of these names, `runs` have the
    predictions and `trainings` the histories. `manifests` are those of all variants; each has its images in its folder.
    """

    splits: Sequence[str | Path]
    sources: str | Path
    runs: Sequence[Run]
    differences: str | Path
    trainings: Sequence[Training]
    manifests: Sequence[str | Path]


def write_figures(inputs: Inputs, plan: Plan, folder: str | Path) -> None:
    """Write every figure that `wbcsr.study.labels.figure_names` lists, as .png and .svg, into `folder`."""
    with house_style():
        for name, figure in _figures(inputs, plan):
            save_figure(figure, folder, name)


def _figures(inputs: Inputs, plan: Plan) -> Iterator[tuple[str, Figure]]:
    images = read_manifests(inputs.manifests)
    cells = choose_cells(images, plan)
    shown, variants = published.shown(plan.classes), ("original", plan.enhanced)
    yield "fig1", draw_examples(cells, plan)
    for name, variant in zip(("fig2", "fig3"), variants, strict=True):
        yield name, draw_image(cells[shown], shown, images, plan, variant) if variant else draw_notice(NO_ENHANCED)
    yield "enlargements", draw_enlargements(cells, images, plan)
    yield "fig9", draw_history(read_histories(inputs.trainings, plan), list(filter(None, variants)))
    arms = read_arms(inputs.runs, inputs.splits, inputs.sources, plan)
    own = [arm for arm in arms if plan.is_own(arm.trained_on, arm.tested_on)]
    scores = {arm.tested_on: class_scores(arm) for arm in (main_arm(arms, plan, name) for name in variants) if arm}
    for name, measure in FIGURES.items():
        yield name, draw_classes(scores, measure, plan)
    yield "accuracy", draw_accuracies(own, plan)
    compared = read_table(inputs.differences, COLUMNS, TEXTS)
    split, subset = plan.judged
    yield "differences", draw_differences(compared[(compared["split"] == split) & (compared["subset"] == subset)])
    probabilities = [Probabilities.of(arm) for arm in own]
    for split in plan.splits:
        matched = matched_arms(probabilities, split)
        yield f"reliability_{split}", draw_reliability(matched)
        yield f"curves_{split}", draw_curves(matched)
    for arm in own:
        yield confusion_name(arm.split, arm.trained_on, arm.tested_on, arm.subset), draw_confusion(arm, plan)
