"""Tables of scores that give each source the same weight, and of the correlation between images of one source."""

from __future__ import annotations

import pandas as pd

from wbcsr.present.table import Table, interval, number, percent, text
from wbcsr.present.tables.accuracies import ARM, BY_SUBSET, SOURCES
from wbcsr.study.plan import Plan

MEASURES = {"macro recall": "Macro recall", "macro F1": "Macro F1", "recall": "Recall"}


def endpoints_table(data: pd.DataFrame, plan: Plan) -> Table:
    """A row for each arm and measure; `data` comes from `wbcsr.stats.endpoints.endpoints`, or is a part of it."""
    return Table(
        "endpoints",
        "Scores by source",
        "Macro recall, macro F1 and recalls; every source of a class has the same weight.",
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
        "95 % CI: computed over sources; none if there are too few. It does not include the variation between "
        "trainings.",
        source="results/tables/endpoints.csv",
        **BY_SUBSET,
    )


def correlation_table(data: pd.DataFrame) -> Table:
    """A row for each arm; `data` comes from `wbcsr.stats.correlation.correlations`, or is a part of it."""
    return Table(
        "correlation",
        "Correlation",
        "Whether images of one source tend to be classified correctly together.",
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
        note="Images of a source: mean over the images of the size of their source. Correlation within sources: "
        "intraclass correlation. Design effect: the factor by which this correlation increases the variance of an "
        "accuracy. Worth, images: images divided by the design effect. Correlation with original: between the two "
        "arms, on the same images.",
        source="results/tables/correlation.csv",
        **BY_SUBSET,
    )
