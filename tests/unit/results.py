"""Result files of the earlier stages, from which statistics and tables are made."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr import config as configuration
from wbcsr.dataset.split import leakage
from wbcsr.stats.predictions import Arm, Run, read_arms
from wbcsr.study.plan import Plan


@dataclass(frozen=True)
class Results:
    """Result files of the earlier stages."""

    plan: Plan
    images: Path
    sources: Path
    leakage: Path
    splits: list[Path]
    predictions: list[Run]


def write_results(
    folder: Path,
    classes: list[str],
    variants: list[str],
    dual: bool = False,
    splits: tuple[str, ...] = ("paper",),
    seeds: tuple[int, ...] = (0,),
    per_class: int = 6,
    copies: int = 1,
    cross_evaluate: bool = False,
    sizes: tuple[int, ...] = (),
    extra: bool = False,
) -> Results:
    """Write results with `per_class` images of each class in each partition; every third TRAIN image is for validation.

    With `extra`, the partition OTHER is the extra test other_camera, which lacks the last class.

    Each run of `copies` consecutive images has one source; with 0, no source is known.

    Seed number k predicts the next class for the first k images of each class and subset, and the correct class for the
    others.
    """
    config = {
        "variants": variants,
        "dual": dual,
        "cross_evaluate": cross_evaluate,
        "train": {"extra_input_sizes": sizes},
    }
    trainings = configuration.training_variants(config)
    evaluation = {"margin": 0.03, "primary": {"metric": "macro_recall"}}
    given = {"variants": variants, "splits": list(splits), "evaluation": {"primary": defaultdict(lambda: None)}}
    evaluation["primary"] |= configuration.primary_comparison(given)
    partitions = {"train": "TRAIN", "test": "TEST", **({"other_camera": "OTHER"} if extra else {})}
    plan = Plan(classes, variants, list(splits), list(seeds), partitions, trainings, evaluation)
    rows = [
        {"image": f"{partition}/{name}/{number}.png", "partition": partition, "class": name, "number": number}
        for partition in partitions.values()
        for name in (classes[:-1] if partition == "OTHER" else classes)
        for number in range(per_class)
    ]
    images = pd.DataFrame(rows)
    images["subset"] = np.where(images["partition"] == "OTHER", "other_camera", "test")
    training = images["partition"] == "TRAIN"
    images.loc[training, "subset"] = np.where(images.loc[training, "number"] % 3 == 0, "validation", "train")
    folder.mkdir(parents=True, exist_ok=True)
    images[["image", "partition", "class"]].to_csv(folder / "images.csv", index=False)
    source = images["image"].str.rsplit("/", n=1).str[0] + "/" + (images["number"] // max(copies, 1)).astype(str)
    images["source"] = source if copies else ""
    images[["image", "source"]].to_csv(folder / "sources.csv", index=False)
    results = Results(plan, folder / "images.csv", folder / "sources.csv", folder / "leakage.csv", [], [])
    splits_of = {split: images[["image", "subset"]] for split in splits}
    audited = [leakage(name, images, images[["image", "source"]], split) for name, split in splits_of.items()]
    pd.concat(audited).to_csv(results.leakage, index=False)
    held = images[images["subset"] != "train"]
    rank = held.groupby(["subset", "class"]).cumcount()
    for split in splits:
        results.splits.append(folder / "splits" / f"{split}.csv")
        results.splits[-1].parent.mkdir(exist_ok=True)
        images[["image", "subset"]].to_csv(results.splits[-1], index=False)
        for trained_on, tested in configuration.tested_variants(config).items():
            for seed_number, seed in enumerate(seeds):
                for tested_on in tested:
                    wrong = rank < seed_number
                    following = held["class"].map(dict(zip(classes, [*classes[1:], classes[0]], strict=True)))
                    table = pd.DataFrame({"image": held["image"], "class": held["class"]})
                    table["predicted"] = held["class"].where(~wrong, following)
                    for name in classes:
                        table[name] = np.where(table["predicted"] == name, 0.7, 0.3 / (len(classes) - 1))
                    path = folder / "predictions" / split / trained_on / f"seed{seed}" / f"{tested_on}.csv"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    table.to_csv(path, index=False)
                    results.predictions.append(Run(split, trained_on, tested_on, seed, path))
    return results


def arms_of(results: Results) -> list[Arm]:
    return read_arms(results.predictions, results.splits, results.sources, results.plan)
