"""Tables of what counts every source the same, and of how alike the images of a source are."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Table, interval, number, percent, text
from wbcsr.present.tables.accuracies import ARM, BY_SUBSET, SOURCES
from wbcsr.study.plan import Plan

MEASURES = {"macro recall": "Macro recall", "macro F1": "Macro F1", "recall": "Recall"}


def endpoints_table(data: pd.DataFrame, plan: Plan) -> Table:
    """A row for each arm and measure; `data` is of `wbcsr.stats.endpoints.endpoints`, or some rows of it."""
    return Table(
        "endpoints",
        "Scores by source",
        "Macro recall, macro F1 and recalls, in which every source of a class counts the same.",
        data,
        [
            *ARM,
            text("measure", "Measure", MEASURES.__getitem__),
            text("of", "Class", ({"": "All"} | plan.labels).__getitem__),
            SOURCES,
            percent("value", "Value"),
            interval("low", "high", ".1f"),
        ],
        note="Means over the seeds. Macro recall, also called balanced accuracy: mean of the recalls of the classes. "
        "95 % CI: over sources, none where they are too few; how much another training would shift all sources at once "
        "is not in it.",
        source="results/tables/endpoints.csv",
        **BY_SUBSET,
    )


def correlation_table(data: pd.DataFrame) -> Table:
    """A row for each arm; `data` is of `wbcsr.stats.correlation.correlations`, or some rows of it."""
    return Table(
        "correlation",
        "Correlation",
        "How alike the images of one source are in being classified correctly.",
        data,
        [
            *ARM,
            number("images", "Images", ",.0f"),
            number("sources", "Sources", ",.0f"),
            number("images_per_source", "Images of a source", ".1f"),
            number("within_sources", "Correlation within sources", ".2f"),
            number("design_effect", "Design effect", ".1f"),
            number("worth_images", "Worth, images", ",.0f"),
            number("with_original", "Correlation with original", ".2f"),
        ],
        note="Images of a source: of an image\u2019s own source, on average. Correlation within sources: intraclass "
        "correlation. Design effect: by how much it multiplies the variance of an accuracy; images divided by it are "
        "what they are worth as independent ones. Correlation with original: of the same image in the two arms.",
        source="results/tables/correlation.csv",
        **BY_SUBSET,
    )
