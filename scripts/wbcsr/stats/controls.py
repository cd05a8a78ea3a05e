"""Controls: could the study see an effect of resolution at all, and is a gain that of detail or only of sharpness?

The comparisons have an order that was fixed in advance. Each is tested at the full level, but may be interpreted only
if all before it found a difference: then the chance that any of them is wrong is no more than that level (fixed
sequence; Maurer, Hothorn and Lehmacher, Biometrie in der chemisch-pharmazeutischen Industrie 6, 1995, 3–18).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from wbcsr.config import parse_variant
from wbcsr.stats.differences import Judging, Pair
from wbcsr.stats.intervals import CONFIDENCE, Estimate
from wbcsr.stats.predictions import Arm
from wbcsr.stats.verdicts import Verdict
from wbcsr.study.plan import Plan

TEXTS = [
    *("step", "variant", "against", "reason", "metric", "metric_reason", "finding", "verdict"),
    *("interpretable", "share_of"),
]
NUMBERS = [
    *("images", "sources", "seeds", "margin", "difference", "low", "high"),
    *("metric_difference", "metric_low", "metric_high", "p_metric", "share", "share_low", "share_high"),
]
COLUMNS = [*TEXTS, *NUMBERS]
SHARPENING = "sharpening"


class Share(NamedTuple):
    """A ratio of two differences with the ends of its 95 % interval; all are NaN if it cannot be estimated."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan


def sequence(plan: Plan) -> list[tuple[str, str, str]]:
    """Step, variant and what it is compared with, in the order of the tests; empty without a control.

    positive: `original` and the first reduced variant. ceiling: the photograph and bicubic interpolation, ×2 if there
    is one, else the first, else `original`, which the classifier's input resizes. Then the primary comparison.
    """
    methods = {variant: parse_variant(variant)[0] for variant in plan.variants}
    reduced = [variant for variant in plan.variants if methods[variant] == "reduced"]
    bicubic = sorted((variant for variant in plan.variants if methods[variant] == "bicubic"), key=_is_not_double)
    steps = [("positive", "original", variant) for variant in reduced[:1]]
    if "ceiling" in plan.variants:
        steps.append(("ceiling", "ceiling", [*bicubic, "original"][0]))
    primary = plan.evaluation["primary"]
    return [*steps, ("primary", primary["variant"], primary["against"])] if steps else []


def controls(arms: list[Arm], plan: Plan) -> pd.DataFrame:
    """A row for each step of `sequence`, and one for each sharpened variant, with `COLUMNS`.

    All are of the split and subset of `Plan.judged`, each variant with its own training. The numbers are as in
    `wbcsr.stats.differences.differences`, but `finding` and `verdict` use the p-value of the comparison alone.
    `interpretable` is yes or no: whether all earlier steps found that the variant is better.

    A sharpened variant has a row if there is a bicubic variant of its scale: the difference of the two, and `share`,
    the part of the gain of Real-ESRGAN (`share_of`) over bicubic that sharpening gives, too. It is `interpretable` if
    that gain differs from zero; otherwise the share is NaN.
    """
    block = [arm for arm in arms if (arm.split, arm.subset) == plan.judged]
    own = {arm.tested_on: arm for arm in block if arm.trained_on == arm.tested_on}
    steps = [(*step, "") for step in sequence(plan)]
    for variant in plan.variants:
        method, scale = parse_variant(variant)
        if method == "sharpened" and f"bicubic_x{scale}" in plan.variants:
            steps.append((SHARPENING, variant, f"bicubic_x{scale}", f"realesrgan_x{scale}"))
    if not steps:
        return pd.DataFrame(columns=COLUMNS)
    judging = Judging(block, plan)
    # A family of its own for each comparison: Holm's correction then changes nothing.
    rows = [
        judging.row(Pair(step, own[variant], own[against])) | {"family": f"{step} {variant}", "share_of": of}
        for step, variant, against, of in steps
    ]
    table = judging.corrected(pd.DataFrame(rows)).rename(columns={"question": "step", "tested_on": "variant"})
    table["against"] = table["against_tested_on"]
    open_so_far, opened, shares = True, [], []
    for row in table.to_dict("records"):
        if row["step"] == SHARPENING:
            sharpened, bicubic, enhanced = (own[row[name]] for name in ("variant", "against", "share_of"))
            pairs = (Pair(SHARPENING, *arms) for arms in ((enhanced, bicubic), (sharpened, enhanced)))
            shares.append(share_of_gain(row["estimate"], *map(judging.difference, pairs)))
            opened.append(not np.isnan(shares[-1].value))
        else:
            shares.append(Share())
            opened.append(open_so_far)
            open_so_far = open_so_far and row["finding"] == Verdict.HIGHER
    table["interpretable"] = np.where(opened, "yes", "no")
    table[["share", "share_low", "share_high"]] = np.array(shares)
    return table[COLUMNS]


def share_of_gain(part: Estimate, gain: Estimate, rest: Estimate) -> Share:
    """`part`/`gain` with its 95 % interval; `rest` is `part` − `gain`, from which their covariance follows.

    Fieller (J. R. Stat. Soc. B 16, 1954, 175–185), with the variances over sources and trainings that the differences
    have. Nothing if the interval of the gain includes zero, or if one of the differences has no interval.
    """
    if part.reason or gain.reason or rest.reason:
        return Share()
    variances = [estimate.error**2 for estimate in (part, gain, rest)]
    most = part.error * gain.error
    covariance = float(np.clip((variances[0] + variances[1] - variances[2]) / 2, -most, most))
    squared = float(t.ppf((1 + CONFIDENCE) / 2, min(part.freedom, gain.freedom, rest.freedom))) ** 2
    a = gain.value**2 - squared * variances[1]
    b = part.value * gain.value - squared * covariance
    c = part.value**2 - squared * variances[0]
    if a <= 0:
        return Share()
    half = max(b**2 - a * c, 0.0) ** 0.5
    return Share(part.value / gain.value, (b - half) / a, (b + half) / a)


def _is_not_double(variant: str) -> bool:
    return parse_variant(variant)[1] != 2
