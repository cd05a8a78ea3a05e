"""The parts of the configuration that tables, figures and report need."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from wbcsr.config import Config, compared_variant, is_synthetic, partitions_of, training_variants
from wbcsr.study.labels import class_labels, subsets_of


@dataclass(frozen=True)
class Plan:
    """The parts of the configuration that tables, figures and report need, each list in the configuration's order.

    `splits` are without folds. `partitions` maps `train`, `validation` (if there is one), `test` and the extra tests to
    the names of the folders in which the images were published; without published partitions it maps only `train`, to
    the name for all images. `trainings` are those of `wbcsr.config.training_variants`. `evaluation` is that section of
    the complete configuration. Results on `synthetic` images are not shown next to published ones.
    """

    classes: list[str]
    variants: list[str]
    splits: list[str]
    seeds: list[int]
    partitions: dict[str, str]
    trainings: dict[str, list[str]]
    evaluation: Config = field(default_factory=dict)
    synthetic: bool = False

    @classmethod
    def of(cls, config: Config) -> Plan:
        """The plan of a complete configuration."""
        dataset = config["dataset"]
        return cls(
            classes=dataset["classes"],
            variants=config["variants"],
            splits=config["splits"],
            seeds=config["seeds"],
            partitions=partitions_of(dataset),
            trainings=training_variants(config),
            synthetic=is_synthetic(config),
            evaluation=config["evaluation"],
        )

    @property
    def labels(self) -> dict[str, str]:
        """Each class as a reader sees it, see `class_labels`."""
        return dict(zip(self.classes, class_labels(self.classes), strict=True))

    @property
    def published_classes(self) -> list[str]:
        """The classes for which published values are shown; there are none for synthetic images."""
        return [] if self.synthetic else self.classes

    @property
    def subsets(self) -> list[str]:
        """The subsets that classifiers are tested on: validation, test and the extra tests."""
        return subsets_of(self.partitions)

    @property
    def enhanced(self) -> str | None:
        """The variant that is compared with `original`; see `compared_variant`."""
        return compared_variant(self.variants)

    def is_own(self, trained_on: str, tested_on: str) -> bool:
        """Whether a classifier was tested on images of the variant that it was trained on."""
        return tested_on in self.trainings[trained_on]

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table of arms (columns trained_on and tested_on) for which `is_own` is true."""
        names = zip(table["trained_on"], table["tested_on"], strict=True)
        return table[[self.is_own(*pair) for pair in names]]

    def judged_rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table that belong to the split and subset of `judged`."""
        split, subset = self.judged
        return table[(table["split"] == split) & (table["subset"] == subset)]

    def is_primary(self, split: str, subset: str, arm: tuple[str, str], against: tuple[str, str]) -> bool:
        """Whether this is the primary comparison: on test images, each variant with its own training."""
        primary = self.evaluation["primary"]
        wanted = (primary["split"], "test", (primary["variant"],) * 2, (primary["against"],) * 2)
        return (split, subset, arm, against) == wanted

    @property
    def judged(self) -> tuple[str, str]:
        """The split and subset on which the answer is based: those of the primary comparison."""
        return self.evaluation["primary"]["split"], "test"
