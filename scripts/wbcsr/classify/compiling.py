"""Functions that compile a classifier in a separate process, so that the job itself does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcsr.files import read_csv


def build_engine(model: str, index: str, inference: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Build the engine of the classifier in `model`; the number of images is that of `index`.

    Return value and errors are those of `wbcsr.engines.engine.build`.
    """
    from wbcsr.classify.classifiers import ENGINE_BATCH, source
    from wbcsr.engines.engine import build
    from wbcsr.engines.source import Workload

    network, description = source(Path(model))
    side, images = description.input_size, len(read_csv(index, ["image"]))
    return build(network, Path(engine), Workload({(side, side): images}, ENGINE_BATCH), inference)


def load_engine(model: str, engine: str) -> None:
    """Load a compiled engine and run it once; errors as in `wbcsr.engines.engine.load`."""
    from wbcsr.classify.classifiers import source
    from wbcsr.engines.engine import load, run_once

    run_once(load(source(Path(model))[0], Path(engine)))
