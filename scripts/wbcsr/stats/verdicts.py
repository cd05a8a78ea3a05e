"""Verdicts on a difference, from its interval over sources and a margin that was fixed in advance."""

from __future__ import annotations

from enum import StrEnum

from scipy.stats import beta, t

from wbcsr.stats.intervals import CONFIDENCE, Estimate, Reason

ALPHA = 0.05
# The least number of trainings that gives a rough estimate of the variation between trainings.
LEAST_SEEDS = 3


class Verdict(StrEnum):
    """The result for a difference; see `find`.

    `PROVISIONAL`: based on fewer than `LEAST_SEEDS` trainings. `NOT_JUDGED`: from validation images, which chose the
    epoch of each training.
    """

    HIGHER = "higher"
    LOWER = "lower"
    EQUIVALENT = "equivalent"
    NON_INFERIOR = "non_inferior"
    NOT_DETECTABLE = "no_detectable_difference"
    UNKNOWN = "unknown"
    PROVISIONAL = "provisional"
    NOT_JUDGED = "not_judged"


def find(difference: Estimate, p_value: float, margin: float, bound: float) -> Verdict:
    """The verdict on a difference, regardless of the number of trainings.

    Higher or lower: the 95 % interval does not include 0, and `p_value` is below 0.05. Otherwise equivalent: the 90 %
    interval lies within ± `margin`, which corresponds to two one-sided tests at 0.05 (TOST; Schuirmann, J.
    Pharmacokinet. Biopharm. 15, 1987, 657–680). Otherwise non-inferior: the 90 % interval lies above −`margin`.
    Unknown: there are too few sources. If the arms differ on too few sources for an interval, ± `bound` replaces it;
    see `largest_share`.
    """
    if difference.reason in (Reason.LONE_SOURCES, Reason.FEW_SOURCES):
        return Verdict.UNKNOWN
    if difference.reason:
        return Verdict.EQUIVALENT if bound < margin else Verdict.NOT_DETECTABLE
    if p_value < ALPHA and difference.low > 0:
        return Verdict.HIGHER
    if p_value < ALPHA and difference.high < 0:
        return Verdict.LOWER
    low, high = difference.ends(1 - 2 * ALPHA)
    if low > -margin:
        return Verdict.EQUIVALENT if high < margin else Verdict.NON_INFERIOR
    return Verdict.NOT_DETECTABLE


def judged(found: Verdict, seeds: int) -> Verdict:
    """`found`, or provisional if it makes a claim and fewer than `LEAST_SEEDS` seeds were trained."""
    claims = found not in (Verdict.NOT_DETECTABLE, Verdict.UNKNOWN, Verdict.NOT_JUDGED)
    return Verdict.PROVISIONAL if claims and seeds < LEAST_SEEDS else found


def p_equivalence(difference: Estimate, margin: float) -> float:
    """The larger of the two one-sided p-values of TOST; NaN if there is no interval."""
    room = margin - abs(difference.value)
    if difference.error == 0:
        return float(room <= 0)
    return float(t.sf(room / difference.error, difference.freedom))


def largest_share(count: int, of: int) -> float:
    """The upper end of a proportion's exact one-sided 95 % interval (Clopper and Pearson, Biometrika 26, 1934)."""
    return 1.0 if count == of else float(beta.ppf(CONFIDENCE, count + 1, of - count))
