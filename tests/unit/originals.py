"""Images of a class with their manifest, as the workflow leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.files import sha256, write_csv
from wbcsr.upscale.shard import MANIFEST_COLUMNS


def write_originals(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """A class's images, one of each (height, width), and their manifest."""
    folder.mkdir(parents=True)
    generator, rows = np.random.default_rng(0), []
    for number, (height, width) in enumerate(sizes):
        path = folder / f"{number}.png"
        path.write_bytes(imaging.encode_png(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)))
        rows.append([f"TRAIN/{folder.name}/{path.name}", path.name, width, height, sha256(path), sha256(path)])
    write_csv(folder / "manifest.csv", pd.DataFrame(rows, columns=MANIFEST_COLUMNS))
    return folder / "manifest.csv"
