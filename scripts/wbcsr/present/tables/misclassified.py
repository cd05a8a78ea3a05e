"""The table of the sources that every classifier misclassifies."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Table, number, percent, text
from wbcsr.present.tables.accuracies import SUBSET, subset_title
from wbcsr.study.plan import Plan


def misclassified_table(data: pd.DataFrame, plan: Plan) -> Table:
    """A row for each source; `data` comes from `wbcsr.stats.misclassified.misclassified`."""
    where = subset_title(pd.Series(dict(zip(("split", "subset"), plan.judged, strict=True))))
    return Table(
        "misclassified",
        "Always misclassified",
        f"{where}: sources of which every classifier misclassified every image.",
        data,
        [
            *SUBSET,
            text("source", "Source", style="prose"),
            text("class", "Class", plan.labels.__getitem__),
            text("predicted", "Predicted most often", plan.labels.__getitem__),
            percent("share", "Share of predictions"),
            number("predictions", "Predictions", ",.0f"),
            number("images", "Images", ",.0f"),
            text("image", "First image", style="prose"),
        ],
        note="Every classifier: of all training variants and seeds, on each variant that it was tested on. "
        "Predictions: of all these classifiers for all images of the source. Share of predictions: those that named "
        "the class that was predicted most often.",
        in_title=("split", "subset"),
        source="results/tables/misclassified.csv",
    )
