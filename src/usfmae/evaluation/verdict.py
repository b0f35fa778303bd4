"""The rule of the verdict: what a result says of a published claim. In words: docs/claims.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from usfmae.evaluation.comparison.result import ALPHA

AGREES, DIFFERS = "agrees", "differs"
NOT_TOLD_APART = "cannot be told apart"
NOT_TESTED = "cannot be tested"
VERDICTS = (AGREES, DIFFERS, NOT_TOLD_APART, NOT_TESTED)


@dataclass(frozen=True)
class Verdict:
    """One of `VERDICTS`, and why."""

    verdict: str
    reason: str


@dataclass(frozen=True)
class Value:
    """A value of ours with its 95 % interval, all in 0 to 1, or a difference of two, in −1 to 1.

    `p` and `p_holm` are those of the test of a difference; NaN where there is none.
    """

    value: float
    lower: float
    upper: float
    p: float = math.nan
    p_holm: float = math.nan


def of_figure(published: float, rounding: float, ours: Value, widest: float) -> Verdict:
    """Whether the interval holds the published value, or one that is rounded to it."""
    if unusable := _without_answer(ours, widest):
        return unusable
    if ours.lower - rounding / 2 <= published <= ours.upper + rounding / 2:
        return Verdict(AGREES, "the interval holds the published value")
    side = "above" if published > ours.upper else "below"
    return Verdict(DIFFERS, f"the published value lies {side} the interval")


def of_difference(published: float, rounding: float, ours: Value, widest: float) -> Verdict:
    """Whether the interval holds the published difference, which is above 0, and not 0 as well.

    An interval that holds both tells neither from the other. One below 0 differs, however it is rounded.
    """
    held = of_figure(published, rounding, ours, widest)
    if held.verdict != AGREES or ours.lower > 0:
        return held
    if ours.upper < 0:
        return Verdict(DIFFERS, "the interval lies below 0: our model is worse")
    return Verdict(NOT_TOLD_APART, "the interval holds the published value, and 0 as well")


def of_gain(published: float, rounding: float, ours: Value, baseline: float, widest: float) -> Verdict:
    """Whether the interval holds a published gain of which it is not told if it is in points or relative.

    It is read in both ways, and decided only where both say the same. `baseline` is our baseline's value,
    above 0, and taken as exact.
    """
    if unusable := _without_answer(ours, widest):
        return unusable
    points = of_difference(published, rounding, ours, math.inf)
    scaled = Value(*(bound / baseline for bound in (ours.value, ours.lower, ours.upper)))
    relative = of_difference(published, rounding, scaled, math.inf)
    if points.verdict == relative.verdict:
        return Verdict(points.verdict, f"read in points and relative: {points.reason}")
    return Verdict(
        NOT_TESTED,
        f"whether the gain is relative or in points is not told, and it decides: read in points it "
        f"{points.verdict}, relative it {relative.verdict}",
    )


def of_order(differences: dict[str, Value], missing: Sequence[str] = ()) -> Verdict:
    """Whether the model is above each baseline, by the interval of each difference (model less baseline).

    One baseline that is above the model refutes it, where p stays below 5 % after Holm's correction: of
    several baselines some interval would lie below 0 by chance. To confirm it, none may be missing; all of
    them must be above, so that needs no correction.
    """
    below = [name for name, each in differences.items() if each.upper < 0]
    refuted = [name for name in below if differences[name].p_holm < ALPHA]
    if refuted:
        named = ", ".join(f"{name} (p {differences[name].p_holm:.2g} after Holm)" for name in refuted)
        return Verdict(DIFFERS, f"{named}: the interval of the difference lies below 0")
    unclear = [name for name, each in differences.items() if math.isnan(each.lower)]
    if missing or unclear:
        parts = [*missing, *(f"{name}: no interval" for name in unclear)]
        return Verdict(NOT_TESTED, "; ".join(parts))
    if below:
        named = ", ".join(below)
        return Verdict(NOT_TOLD_APART, f"{named}: below 0, but not after Holm's correction over the models")
    open_ = [name for name, each in differences.items() if each.lower <= 0]
    if open_:
        return Verdict(NOT_TOLD_APART, f"{', '.join(open_)}: the interval of the difference includes 0")
    return Verdict(AGREES, "the interval of the difference from each baseline lies above 0")


def of_closeness(difference: Value, margin: float) -> Verdict:
    """Whether the interval of the difference lies within the margin of zero."""
    if math.isnan(difference.lower):
        return Verdict(NOT_TESTED, "no interval")
    if -margin <= difference.lower and difference.upper <= margin:
        return Verdict(AGREES, f"the interval of the difference lies within {margin:g} of 0")
    if difference.lower > margin or difference.upper < -margin:
        return Verdict(DIFFERS, f"the interval of the difference lies further than {margin:g} from 0")
    return Verdict(NOT_TOLD_APART, f"the interval of the difference reaches across {margin:g} from 0")


def of_count(published: float, rounding: float, ours: float, *, more_than: bool) -> Verdict:
    """Whether the count is the published one as it was rounded, or more than it."""
    if more_than:
        reached = ours > published
        return Verdict(
            AGREES if reached else DIFFERS, f"counted {ours:,.0f}, claimed more than {published:,.0f}"
        )
    same = abs(ours - published) <= rounding / 2
    return Verdict(AGREES if same else DIFFERS, f"counted {ours:,.0f}, claimed {published:,.0f}")


#: What faithfulness.csv says of maps against a blob in the centre, frame by frame.
MAPS = {"better than the blob": AGREES, "worse than the blob": DIFFERS, "unclear": NOT_TOLD_APART}


def of_maps(said: str, ours: float, centred: float) -> Verdict:
    """The paired verdict of faithfulness.csv on maps that peak inside the masks; both values are shares."""
    shares = f"of the maps {ours:.0%} peak in the mask, of a centred blob {centred:.0%}"
    return Verdict(MAPS.get(said, NOT_TESTED), f"{said}: {shares}")


def together(verdicts: dict[str, Verdict], *, candidates: bool) -> Verdict:
    """One verdict of a claim from those of its metrics.

    `candidates`: one of the metrics is meant and it is not told which, so they must agree among themselves.
    Else all are meant: one that differs refutes the claim, and the weakest other verdict counts.
    """
    distinct = list(dict.fromkeys(verdicts.values()))
    if len(distinct) == 1:
        return distinct[0]
    said = {each.verdict for each in distinct}
    named = "; ".join(f"{name}: {each.reason}" for name, each in verdicts.items())
    if len(said) == 1:
        return Verdict(said.pop(), named)
    if candidates:
        by_metric = ", ".join(f"{name} {each.verdict}" for name, each in verdicts.items())
        return Verdict(NOT_TESTED, f"the averaging is not told, and it decides: {by_metric}")
    return Verdict(next(each for each in (DIFFERS, NOT_TESTED, NOT_TOLD_APART) if each in said), named)


def _without_answer(ours: Value, widest: float) -> Verdict | None:
    """Why an interval answers nothing, if so."""
    if math.isnan(ours.lower) or math.isnan(ours.upper):
        return Verdict(NOT_TESTED, "no interval: too few folds, or no spread between folds or subjects")
    if ours.upper - ours.lower > widest:
        width = ours.upper - ours.lower
        return Verdict(NOT_TESTED, f"too few: the interval is {width:.2f} wide, more than {widest:g}")
    return None
