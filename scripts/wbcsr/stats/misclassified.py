"""Sources that every classifier misclassifies: their label may be wrong, or their cells unusual."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr.stats.predictions import Arm
from wbcsr.study.plan import Plan

TEXTS = ["split", "subset", "source", "class", "predicted", "image"]
NUMBERS = ["images", "predictions", "share"]


def misclassified(arms: list[Arm], plan: Plan) -> pd.DataFrame:
    """A row for each source of which every run of every arm misclassified every image, with `TEXTS` and `NUMBERS`.

    The images are those of the split and subset of `Plan.judged`. A source that shows several classes has a row for
    each of them that meets the condition. `predicted` is the class that was predicted most often, `predictions` the
    number of predictions (images times runs), and `share` the part of them that named this class. `image` is the first
    image. The rows are in the order of the classes, and then by the number of images, largest first. If no source is
    known, every image counts as a source.
    """
    block = [arm for arm in arms if (arm.split, arm.subset) == plan.judged]
    rows = block[0].independent
    recognised: npt.NDArray[np.bool_] = np.any(np.concatenate([arm.correct for arm in block]), axis=0)
    predicted = np.array([names[rows.index] for arm in block for names in arm.predicted.values()])
    found = []
    for (name, source), places in rows.reset_index(drop=True).groupby(["class", "source"]).indices.items():
        if not recognised[places].any():
            names, counts = np.unique(predicted[:, places], return_counts=True)
            texts = (*plan.judged, source, name, names[counts.argmax()], rows["image"].iloc[places].min())
            found.append((*texts, len(places), counts.sum(), counts.max() / counts.sum()))
    table = pd.DataFrame(found, columns=[*TEXTS, *NUMBERS])
    order = table["class"].map(plan.classes.index)
    return table.assign(order=order).sort_values(
        ["order", "images", "source"], ascending=[True, False, True], ignore_index=True
    )[[*TEXTS, *NUMBERS]]
