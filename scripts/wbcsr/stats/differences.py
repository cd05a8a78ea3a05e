"""Paired comparisons of arms on the same images: which ones the question needs, with their intervals and tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from wbcsr.config import first_of_each_network, parse_training, parse_variant
from wbcsr.stats import verdicts
from wbcsr.stats.intervals import (
    Comparison,
    Estimate,
    Floats,
    compare,
    holm,
    macro_weights,
)
from wbcsr.stats.power import ASKED, power
from wbcsr.stats.predictions import Arm
from wbcsr.stats.training import Noise, shared_noise, training_noise
from wbcsr.study import published
from wbcsr.study.plan import Plan

COLUMNS = [
    *("split", "subset", "question", "trained_on", "tested_on", "against_trained_on", "against_tested_on", "reason"),
    *("family", "metric", "metric_reason", "finding", "verdict"),
    *("images", "sources", "effective_sources", "differing", "difference", "low", "high"),
    *("p_sources", "p_holm", "p_mcnemar"),
    *("seeds", "margin", "metric_difference", "metric_low", "metric_high", "metric_low90", "metric_high90"),
    *("metric_effective_sources", "metric_differing"),
    *("p_metric", "p_metric_holm", "p_tost", "largest_differing", "training_sd", "detectable"),
    *(f"sources_{100 * points:.0f}" for points in ASKED),
]
# The number of leading columns that hold text.
TEXTS = 13
RECALL_COLUMNS = [
    *("split", "subset", "measure", "of", "trained_on", "against_trained_on", "reason"),
    *("images", "sources", "effective_sources", "differing", "share", "against"),
    *("difference", "low", "high", "p_sources", "p_holm", "p_mcnemar"),
]
RECALL_TEXTS = 7
# Methods that enlarge without a network.
INTERPOLATED = ("bicubic", "lanczos", "sharpened")


class Pair(NamedTuple):
    """Two arms of one split and subset. The difference `arm` minus `against` answers `question`."""

    question: str
    arm: Arm
    against: Arm


def pairs(arms: list[Arm], plan: Plan) -> list[Pair]:
    """The comparisons that the arms of one split and subset allow, in the order of `wbcsr.study.labels.QUESTIONS`.

    Primary: the comparison that the configuration names, if no other question includes it. Enlargement: every variant
    against `original`, each tested on the variant it was trained on. Control: the first variant of each
    super-resolution network against the interpolated ones. Networks: the first of these variants against the others.
    Dual: training on both variants against training on each one. One network: the network trained on both variants,
    tested on upscaled images and on original ones; only one training takes part. Cross: testing on another variant than
    that of the training, against `original`. Size: each arm of a further input size against the same arm at the main
    size, and the upscaled variant against `original` at the further size.
    """
    by_name = {(arm.trained_on, arm.tested_on): arm for arm in arms}

    def names() -> Iterator[tuple[str, tuple[str, str], tuple[str, str]]]:
        original, networks = "original", first_of_each_network(plan.variants)
        others = [variant for variant in plan.variants if variant != original]
        for variant in others:
            yield "enlargement", (variant, variant), (original, original)
        for network in networks:
            for variant in others:
                if parse_variant(variant)[0] in INTERPOLATED:
                    yield "control", (network, network), (variant, variant)
        for network in networks[1:]:
            yield "networks", (networks[0], networks[0]), (network, network)
        for variant in plan.trainings.get("dual", []):
            yield "dual", ("dual", variant), (variant, variant)
        for variant in plan.trainings.get("dual", []):
            if variant != original:
                yield "one network", ("dual", variant), ("dual", original)
        for variant in others:
            yield "cross", (original, variant), (original, original)
        for variant in others:
            yield "cross", (variant, original), (original, original)
        for training, variants in plan.trainings.items():
            name, size = parse_training(training)
            for variant in variants if size else []:
                yield "size", (training, variant), (name, variant)
                if name not in (original, "dual"):
                    yield "size", (training, variant), (f"{original}_{size}px", original)

    primary = plan.evaluation["primary"]
    compared, asked = list(names()), ((primary["variant"],) * 2, (primary["against"],) * 2)
    if asked not in [(one, other) for _, one, other in compared]:
        compared.insert(0, ("primary", *asked))
    return [
        Pair(question, by_name[one], by_name[other])
        for question, one, other in compared
        if one in by_name and other in by_name
    ]


def differences(arms: list[Arm], plan: Plan) -> pd.DataFrame:
    """A row for each of `pairs`, of all splits and subsets, with `COLUMNS`.

    `difference` (a share of the images that `images` counts) is the mean over the seeds. `low` and `high` are the ends
    of its 95 % interval over sources; they are NaN if there is no interval, and `reason` says why; see
    `wbcsr.stats.intervals.compare`. `p_sources` is the p-value of the test over sources, `p_holm` the same p-value
    corrected for all comparisons of the split and subset, and `p_mcnemar` McNemar's p-value for the first seed.
    `sources` is NaN if no source is known; every image then counts as a source.

    The other columns refer to `metric`, which is macro recall over sources or accuracy: its difference with the ends of
    its 95 and 90 % intervals; `metric_effective_sources`, `metric_differing`, `p_metric` and `p_metric_holm` as above;
    `p_tost`, the p-value of equivalence within `margin`; and the `verdict` (`wbcsr.stats.verdicts.find`, with Holm's
    p-value). Validation images get no verdict. `finding` is the verdict that a sufficient number of seeds would give.
    `family` is primary for the
    comparison that the configuration names, and secondary for all others; Holm's correction treats each family
    separately. `largest_differing` is the upper bound of the share of sources on which the arms differ. `training_sd`
    is the standard deviation that the noise of the trainings adds to the difference (NaN if it cannot be estimated).
    `detectable` and `sources_1` to `sources_3` come from `wbcsr.stats.power.power`.
    """
    blocks = []
    for block in blocks_of(arms):
        judging = Judging(block, plan)
        rows = pd.DataFrame([judging.row(pair) for pair in pairs(block, plan)])
        blocks.append(judging.corrected(rows) if len(rows) else pd.DataFrame(columns=COLUMNS))
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def recalls(arms: list[Arm], plan: Plan) -> pd.DataFrame:
    """The effect of the enhanced variant on each class's recall, for each split and subset, with `RECALL_COLUMNS`.

    `measure` is `recall`, the share of a class's images that were classified correctly. If the data set has the two
    classes that the study is about, it is also `pair accuracy`, the accuracy on the images of both, and `pair
    confusion`, the share of them that was classified as the other of the two. `share` is the value with the enhanced
    images, `against` the value with the original ones; the other columns are as in `differences`, and the interval
    includes the noise of the trainings in the measure itself. The table is empty if
    there is no enlarged variant.
    """
    blocks = [pd.DataFrame(columns=RECALL_COLUMNS)]
    for block in blocks_of(arms):
        by_name = {(arm.trained_on, arm.tested_on): arm for arm in block}
        arm, against = by_name.get((str(plan.enhanced),) * 2), by_name.get(("original",) * 2)
        if arm and against:
            rows = [_recall_row(arm, against, *found) for found in _recalls(block, arm, against, plan)]
            blocks.append(_corrected(pd.DataFrame(rows)))
    return pd.concat(blocks, ignore_index=True)[RECALL_COLUMNS]


def blocks_of(arms: list[Arm]) -> Iterator[list[Arm]]:
    """The arms of each split and subset; the arms of one block were tested on the same images."""
    for key in dict.fromkeys((arm.split, arm.subset) for arm in arms):
        yield [arm for arm in arms if (arm.split, arm.subset) == key]


def _networks(block: list[Arm], plan: Plan) -> list[Arm]:
    """An arm of a block for each network, tested on a variant that the network was trained on."""
    return list({arm.trained_on: arm for arm in block if plan.is_own(arm.trained_on, arm.tested_on)}.values())


class Judging:
    """The comparisons of one block of arms, which have the same test images and the same noise of training."""

    def __init__(self, block: list[Arm], plan: Plan) -> None:
        self.plan, self.rows = plan, block[0].independent
        self.metric, self.margin = plan.evaluation["primary"]["metric"], plan.evaluation["margin"]
        self.weights = {"accuracy": np.ones(len(self.rows))}
        if self.metric == "macro_recall":
            self.weights["macro_recall"] = macro_weights(self.rows["source"], self.rows["class"])
        self.codes = [pd.factorize(self.rows[name])[0] for name in ("source", "class", "fold")]
        networks = [arm.correct for arm in _networks(block, plan)]
        self.noises = {name: training_noise(networks, weights, *self.codes) for name, weights in self.weights.items()}

    def row(self, pair: Pair) -> dict[str, object]:
        arm, against = pair.arm, pair.against
        names = [(one.trained_on, one.tested_on) for one in (arm, against)]
        accuracy = self._compare(pair, "accuracy")
        found, noise = accuracy if self.metric == "accuracy" else self._compare(pair, self.metric)
        estimate, weights = found.difference, self.weights[self.metric]
        low, high = estimate.ends(1 - 2 * verdicts.ALPHA)
        rows, balance = self.rows, (arm.correct.mean(axis=0) - against.correct.mean(axis=0))
        able = power(balance, weights, rows["source"], rows["class"], estimate.freedom, noise, estimate.error)
        return {
            "split": arm.split,
            "subset": arm.subset,
            "question": pair.question,
            "trained_on": arm.trained_on,
            "tested_on": arm.tested_on,
            "against_trained_on": against.trained_on,
            "against_tested_on": against.tested_on,
            "family": "primary" if self.plan.is_primary(arm.split, arm.subset, *names) else "secondary",
            **_numbers(accuracy[0], arm),
            "metric": self.metric,
            "metric_reason": estimate.reason,
            "seeds": len(arm.correct),
            "margin": self.margin,
            "metric_difference": estimate.value,
            "metric_low": estimate.low,
            "metric_high": estimate.high,
            "metric_low90": low,
            "metric_high90": high,
            "metric_effective_sources": estimate.effective_sources,
            "metric_differing": estimate.differing,
            "p_metric": found.p_sources,
            "p_tost": verdicts.p_equivalence(estimate, self.margin),
            "largest_differing": verdicts.largest_share(int(estimate.differing), estimate.sources),
            "training_sd": noise.variance**0.5 if noise.freedom else np.nan,
            "detectable": able.detectable,
            **{f"sources_{100 * points:.0f}": needed for points, needed in zip(ASKED, able.needed, strict=True)},
            "estimate": estimate,
        }

    def difference(self, pair: Pair) -> Estimate:
        """The difference of a pair in the metric that decides the verdicts."""
        return self._compare(pair, self.metric)[0].difference

    def corrected(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows with Holm's p-values of each family, and the verdicts that follow from them."""
        rows["p_metric_holm"] = rows.groupby("family")["p_metric"].transform(holm)
        # The primary comparison uses one metric; for any other metric it counts as one comparison among all.
        rows["p_holm"] = rows["p_metric_holm"] if self.metric == "accuracy" else holm(rows["p_sources"])
        # Sources differ in weight, and the heaviest could be among those on which the arms differ.
        heaviest = np.bincount(self.codes[0], self.weights[self.metric])
        heaviest = heaviest.max() / heaviest.mean()
        rows["finding"] = [
            verdicts.Verdict.NOT_JUDGED
            if row["subset"] == "validation"
            else verdicts.find(row["estimate"], row["p_metric_holm"], self.margin, row["largest_differing"] * heaviest)
            for _, row in rows.iterrows()
        ]
        rows["verdict"] = [verdicts.judged(*found) for found in zip(rows["finding"], rows["seeds"], strict=True)]
        return rows

    def _compare(self, pair: Pair, metric: str) -> tuple[Comparison, Noise]:
        arm, against, weights = pair.arm, pair.against, self.weights[metric]
        noise = self.noises[metric]
        if arm.trained_on == against.trained_on:
            sources, _, folds = self.codes
            noise = shared_noise(arm.correct.astype(float) - against.correct, weights, sources, folds)
        plain: Floats | None = None if metric == "accuracy" else weights
        rows = self.rows
        found = compare(arm.correct, against.correct, rows["source"], rows["class"], weights=plain, noise=noise)
        return found, noise


def _recalls(block: list[Arm], arm: Arm, against: Arm, plan: Plan) -> Iterator[tuple[str, str, Comparison]]:
    """Each measure of `recalls`, the class or classes that it is about, and the comparison of the two arms."""
    rows = arm.independent
    classes, networks = rows["class"].to_numpy(str), _networks(block, plan)

    def compared(of: npt.NDArray[np.bool_], wanted: npt.NDArray[np.str_]) -> Comparison:
        """Compare the shares of the images `of` that are classified as the classes `wanted` (images,)."""
        some = rows[of]

        def hits(one: Arm) -> npt.NDArray[np.bool_]:
            return np.array([names[some.index] == wanted[of] for names in one.predicted.values()], dtype=bool)

        codes = [pd.factorize(some[name])[0] for name in ("source", "class", "fold")]
        noise = training_noise([hits(one) for one in networks], np.ones(len(some)), *codes)
        return compare(hits(arm), hits(against), some["source"], some["class"], noise=noise)

    for name in plan.classes:
        if (of := classes == name).any():
            yield "recall", name, compared(of, classes)
    pair = published.pair(plan.classes)
    if pair and set(pair) <= set(classes):
        both, of = " and ".join(pair), np.isin(classes, pair)
        yield "pair accuracy", both, compared(of, classes)
        yield "pair confusion", both, compared(of, np.where(classes == pair[0], pair[1], pair[0]))


def _recall_row(arm: Arm, against: Arm, measure: str, of: str, found: Comparison) -> dict[str, object]:
    return {
        "split": arm.split,
        "subset": arm.subset,
        "measure": measure,
        "of": of,
        "trained_on": arm.trained_on,
        "against_trained_on": against.trained_on,
        "share": found.a.value,
        "against": found.b.value,
        **_numbers(found, arm),
    }


def _numbers(found: Comparison, arm: Arm) -> dict[str, object]:
    estimate = found.difference
    return {
        "reason": estimate.reason,
        "images": estimate.images,
        "sources": estimate.sources if arm.has_sources else np.nan,
        "effective_sources": estimate.effective_sources,
        "differing": estimate.differing,
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p_sources": found.p_sources,
        "p_mcnemar": found.p_mcnemar[0],
    }


def _corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with `p_holm`; all of them form one family."""
    return rows.assign(p_holm=holm(rows["p_sources"]) if len(rows) else pd.Series(dtype=float))
