"""Images of a class with their manifest, as the workflow writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.files import sha256, write_csv
from wbcsr.upscale.store import MANIFEST_COLUMNS


def write_originals(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    """The images of a class, one for each (height, width), and their manifest."""
    folder.mkdir(parents=True)
    generator, rows = np.random.default_rng(0), []
    for number, (height, width) in enumerate(sizes):
        path = folder / f"{number}.png"
        path.write_bytes(imaging.encode_png(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)))
        rows.append([f"TRAIN/{folder.name}/{path.name}", path.name, width, height, sha256(path), sha256(path)])
    write_csv(folder / "manifest.csv", pd.DataFrame(rows, columns=MANIFEST_COLUMNS))
    return folder / "manifest.csv"


def originals(folder: Path, count: int = 6) -> Path:
    """A class folder with images of two shapes and several modes, and its manifest."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        shape = [(8, 12, 3), (6, 6), (8, 12, 4)][index % 3]
        name = f"_{index}_7.png"
        (folder / name).write_bytes(imaging.encode_png(generator.integers(0, 256, shape, dtype=np.uint8)))
        rows.append([f"TRAIN/A/{name}", name, shape[1], shape[0], sha256(folder / name), sha256(folder / name)])
    write_csv(folder / "manifest.csv", pd.DataFrame(rows, columns=MANIFEST_COLUMNS))
    return folder / "manifest.csv"
