"""The report's section on speed: what the benchmarks measured, on which machine, with a figure each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wbcsr.benchmark import batches, classifying, packing, scaling, training, upscaling, workflow
from wbcsr.benchmark.machine import Machine
from wbcsr.benchmark.suite import Suite
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_csv, read_json
from wbcsr.present.table import Table
from wbcsr.report.pictures import Figures

SUITES = {
    "upscaling": upscaling.SUITE,
    "batches": batches.SUITE,
    "training": training.SUITE,
    "packing": packing.SUITE,
    "scaling": scaling.SUITE,
    "classifying": classifying.SUITE,
    "workflow": workflow.SUITE,
}


def section(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """`table` and `picture` of each benchmark whose .csv, .svg and .provenance.json are among `paths`."""
    figures = Figures(paths)
    return [
        {"table": _table(path, SUITES[path.stem]), "picture": figures.picture(path.stem, path.stem.capitalize())}
        for path in paths
        if path.suffix == ".csv"
    ]


def _table(path: Path, suite: Suite) -> Table:
    found = read_csv(path, suite.columns).replace("", None)
    provenance = path.with_suffix(".provenance.json")
    measured_on = read_json(provenance).get("measured_on")
    if not measured_on:
        raise InputError(f"{provenance}: names no machine; {how_to_regenerate(path)}")
    try:
        return suite.table(suite.frame(found.to_dict("records")), Machine(**measured_on))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: has words for numbers ({error}); {how_to_regenerate(path)}") from error
