"""What the configuration asks for, as tables, figures and report need it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from wbcsr.config import Config, compared_variant, is_synthetic, partitions_of, training_variants
from wbcsr.study.labels import subsets_of


@dataclass(frozen=True)
class Plan:
    """What the configuration asks for, each list in the order of the configuration.

    `splits` are without folds; `partitions` maps `train`, `validation` where there is one, `test` and each extra test
    to the names of the folders that the images were published in, or `train` alone to the name of all images;
    `trainings` is of
    `wbcsr.config.training_variants`; `evaluation` is that section of the complete configuration. Results on `synthetic`
    images are not shown next to published ones.
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
    def published_classes(self) -> list[str]:
        """The classes for which published values are shown: none on synthetic images."""
        return [] if self.synthetic else self.classes

    @property
    def subsets(self) -> list[str]:
        """The subsets that classifiers are tested on: validation, test and the extra tests."""
        return subsets_of(self.partitions)

    @property
    def enhanced(self) -> str | None:
        """What is laid beside `original`; see `compared_variant`."""
        return compared_variant(self.variants)

    def is_own(self, trained_on: str, tested_on: str) -> bool:
        """Whether a classifier that was trained on the one was tested on the same images, and not across variants."""
        return tested_on in self.trainings[trained_on]

    def own(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table of arms, by its columns trained_on and tested_on, for which `is_own` holds."""
        names = zip(table["trained_on"], table["tested_on"], strict=True)
        return table[[self.is_own(*pair) for pair in names]]

    def judged_rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a table that are of the split and subset of `judged`."""
        split, subset = self.judged
        return table[(table["split"] == split) & (table["subset"] == subset)]

    def is_primary(self, split: str, subset: str, arm: tuple[str, str], against: tuple[str, str]) -> bool:
        """Whether this is the primary comparison: of test images, each variant with its own training."""
        primary = self.evaluation["primary"]
        wanted = (primary["split"], "test", (primary["variant"],) * 2, (primary["against"],) * 2)
        return (split, subset, arm, against) == wanted

    @property
    def judged(self) -> tuple[str, str]:
        """Split and subset that the answer is read from: those of the primary comparison."""
        return self.evaluation["primary"]["split"], "test"
