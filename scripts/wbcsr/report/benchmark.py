"""The report's section on speed: what the benchmarks measured, on which machine, with a figure each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from wbcsr.benchmark import packing, scaling, training, upscaling, workflow
from wbcsr.benchmark.measurements import Machine
from wbcsr.benchmark.results import frame
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_csv, read_json
from wbcsr.present.table import Table
from wbcsr.report.pictures import Figures

SUITES: Mapping[str, tuple[Callable[[pd.DataFrame, Machine], Table], list[str]]] = {
    "upscaling": (upscaling.upscaling_table, upscaling.COLUMNS),
    "training": (training.training_table, training.COLUMNS),
    "packing": (packing.packing_table, packing.COLUMNS),
    "scaling": (scaling.scaling_table, scaling.COLUMNS),
    "workflow": (workflow.workflow_table, workflow.COLUMNS),
}


def section(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """`table` and `picture` of each benchmark whose .csv, .svg and .provenance.json are among `paths`."""
    figures = Figures(paths)
    return [
        {"table": _table(path, *SUITES[path.stem]), "picture": figures.picture(path.stem, path.stem.capitalize())}
        for path in paths
        if path.suffix == ".csv"
    ]


def _table(path: Path, describe: Callable[[pd.DataFrame, Machine], Table], columns: list[str]) -> Table:
    found = read_csv(path, columns).replace("", None)
    provenance = path.with_suffix(".provenance.json")
    measured_on = read_json(provenance).get("measured_on")
    if not measured_on:
        raise InputError(f"{provenance}: names no machine; {how_to_regenerate(path)}")
    try:
        return describe(frame(found.to_dict("records"), columns), Machine(**measured_on))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: has words for numbers ({error}); {how_to_regenerate(path)}") from error
