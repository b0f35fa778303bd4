"""The rule of the verdict: what an interval of ours says of a published claim."""

from __future__ import annotations

import math

import pytest

from usfmae.evaluation.verdict import (
    AGREES,
    DIFFERS,
    NOT_TESTED,
    NOT_TOLD_APART,
    Value,
    Verdict,
    of_closeness,
    of_count,
    of_difference,
    of_figure,
    of_gain,
    of_maps,
    of_order,
    together,
)
from usfmae.explain.faithfulness import _against_blob

NO_INTERVAL = Value(0.9, math.nan, math.nan)


@pytest.mark.parametrize(
    ("published", "said"),
    [(0.85, AGREES), (0.80, AGREES), (0.92, DIFFERS), (0.78, DIFFERS)],
)
def test_a_figure_agrees_where_the_interval_holds_it(published: float, said: str) -> None:
    assert of_figure(published, 0.0, Value(0.85, 0.80, 0.90), 0.2).verdict == said


def test_a_figure_agrees_where_a_value_in_the_interval_is_rounded_to_it() -> None:
    ours = Value(0.85, 0.80, 0.904)
    assert of_figure(0.91, 0.02, ours, 0.2).verdict == AGREES
    assert of_figure(0.91, 0.01, ours, 0.2).verdict == DIFFERS


def test_an_interval_that_is_missing_or_too_wide_answers_nothing() -> None:
    missing, wide = of_figure(0.9, 0, NO_INTERVAL, 0.2), of_figure(0.9, 0, Value(0.9, 0.75, 1.0), 0.2)
    assert (missing.verdict, missing.reason) == (
        NOT_TESTED,
        "no interval: too few folds, or no spread between folds or subjects",
    )
    assert wide.verdict == NOT_TESTED and "0.25 wide" in wide.reason


def test_a_gain_is_decided_only_where_points_and_relative_say_the_same() -> None:
    ours = Value(0.10, 0.06, 0.14)  # relative to a baseline of 0.5: 0.20 (0.12 to 0.28)
    assert of_gain(0.13, 0, ours, 0.5, 0.2).verdict == AGREES
    assert of_gain(0.30, 0, ours, 0.5, 0.2).verdict == DIFFERS
    only_points, only_relative = of_gain(0.10, 0, ours, 0.5, 0.2), of_gain(0.20, 0, ours, 0.5, 0.2)
    assert only_points.verdict == only_relative.verdict == NOT_TESTED
    assert "in points it agrees, relative it differs" in only_points.reason
    assert "in points it differs, relative it agrees" in only_relative.reason


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (Value(0.03, 0.01, 0.05), AGREES),
        (Value(-0.02, -0.06, 0.02), NOT_TOLD_APART),  # our model is worse, and the interval holds 1.87 %
        (Value(0.01, -0.01, 0.03), NOT_TOLD_APART),
        (Value(0.10, 0.08, 0.12), DIFFERS),
        (Value(-0.05, -0.09, -0.01), DIFFERS),
    ],
)
def test_a_difference_agrees_only_where_its_interval_holds_it_and_not_zero(ours: Value, said: str) -> None:
    assert of_difference(0.0187, 0.0001, ours, 0.2).verdict == said
    assert of_gain(0.0187, 0.0001, ours, 0.99, 0.2).verdict == said


def test_a_worse_model_never_agrees_with_a_small_gain_however_it_was_rounded() -> None:
    said = of_difference(0.01, 0.04, Value(-0.02, -0.03, -0.005), 0.2)
    assert (said.verdict, said.reason) == (DIFFERS, "the interval lies below 0: our model is worse")


def test_an_order_holds_only_where_every_difference_lies_above_zero() -> None:
    above, below = Value(0.05, 0.01, 0.09), Value(-0.05, -0.09, -0.01, p=0.01, p_holm=0.02)
    across = Value(0.02, -0.01, 0.05)
    assert of_order({"a": above, "b": above}).verdict == AGREES
    assert of_order({"a": above, "b": across}).verdict == NOT_TOLD_APART
    assert of_order({"a": above, "b": below}).verdict == DIFFERS


def test_a_missing_baseline_leaves_an_order_open_unless_another_refutes_it() -> None:
    above, below = Value(0.05, 0.01, 0.09), Value(-0.05, -0.09, -0.01, p=0.01, p_holm=0.02)
    assert of_order({"a": above}, ["b: weights missing"]).verdict == NOT_TESTED
    assert of_order({"a": below}, ["b: weights missing"]).verdict == DIFFERS
    assert of_order({"a": above, "b": NO_INTERVAL}).verdict == NOT_TESTED


@pytest.mark.parametrize("p_holm", [0.06, math.nan])
def test_a_baseline_refutes_an_order_only_after_holms_correction(p_holm: float) -> None:
    above, below = Value(0.05, 0.01, 0.09), Value(-0.05, -0.09, -0.01, p=0.02, p_holm=p_holm)
    said = of_order({"a": above, "b": below})
    assert said.verdict == NOT_TOLD_APART and "b: below 0, but not after Holm's correction" in said.reason
    assert of_order({"b": below}, ["a: weights missing"]).verdict == NOT_TESTED


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [(-0.01, 0.01, AGREES), (0.03, 0.05, DIFFERS), (-0.05, -0.03, DIFFERS), (-0.01, 0.03, NOT_TOLD_APART)],
)
def test_models_are_close_where_the_interval_lies_within_the_margin(
    lower: float, upper: float, said: str
) -> None:
    assert of_closeness(Value((lower + upper) / 2, lower, upper), 0.02).verdict == said


def test_a_count_is_held_to_how_it_was_rounded() -> None:
    assert of_count(370_000, 10_000, 366_000, more_than=False).verdict == AGREES
    assert of_count(370_000, 10_000, 364_000, more_than=False).verdict == DIFFERS
    assert of_count(20, 0, 21, more_than=True).verdict == AGREES
    assert of_count(20, 0, 20, more_than=True).verdict == DIFFERS


@pytest.mark.parametrize(
    ("interval", "said"), [((0.1, 0.2), AGREES), ((-0.2, -0.1), DIFFERS), ((-0.1, 0.1), NOT_TOLD_APART)]
)
def test_maps_are_judged_by_the_paired_verdict_of_their_table(
    interval: tuple[float, float], said: str
) -> None:
    assert of_maps(_against_blob(*interval), 0.6, 0.3).verdict == said


def test_maps_of_too_few_subjects_are_not_judged() -> None:
    said = of_maps("too few subjects", 0.9, 0.1)
    assert said == Verdict(
        NOT_TESTED, "too few subjects: of the maps 90% peak in the mask, of a centred blob 10%"
    )


def test_candidates_must_agree_and_metrics_that_are_all_meant_are_held_to_the_worst() -> None:
    good, bad, open_ = Verdict(AGREES, "x"), Verdict(DIFFERS, "y"), Verdict(NOT_TOLD_APART, "z")
    both = {"f1_macro": good, "f1_weighted": bad}
    decided = together(both, candidates=True)
    assert decided.verdict == NOT_TESTED
    assert "f1_macro agrees, f1_weighted differs" in decided.reason
    assert together(both, candidates=False).verdict == DIFFERS
    assert together({"a": good, "b": open_}, candidates=False).verdict == NOT_TOLD_APART
    assert together({"a": good, "b": Verdict(AGREES, "w")}, candidates=True).verdict == AGREES
