"""Functions that compile Real-ESRGAN in a separate process, so that the job itself does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wbcsr.files import read_csv


def build_engine(weights: str, images: str, inference: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Build the engine of the network in `weights` for the image sizes in `images` (images.csv).

    Return value and errors are those of `wbcsr.engines.engine.build`.
    """
    from wbcsr.engines.engine import build
    from wbcsr.engines.source import Workload
    from wbcsr.upscale.upscaler import batches, source

    sizes = read_csv(images, ["image", "width", "height"]).groupby(["height", "width"]).size()
    workload = Workload({(int(height), int(width)): int(n) for (height, width), n in sizes.items()}, batches(inference))
    return build(source(Path(weights))[0], Path(engine), workload, inference)


def load_engine(weights: str, engine: str) -> None:
    """Load a compiled engine and run it once; errors as in `wbcsr.engines.engine.load`."""
    from wbcsr.engines.engine import load, run_once
    from wbcsr.upscale.upscaler import source

    run_once(load(source(Path(weights))[0], Path(engine)))
