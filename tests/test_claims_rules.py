"""Which of our tests may settle a claim: valid ones, on the part and the task that the claim is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_claims import (
    FIGURE,
    GAIN,
    ORDER,
    claimed_study,
    difference_row,
    summary_row,
    write_availability,
    write_task,
)

from usfmae.evaluation.claims import corrected_over_baselines, ledger
from usfmae.evaluation.verdict import AGREES, DIFFERS, NOT_TESTED, NOT_TOLD_APART, Value
from usfmae.record import write_table
from usfmae.settings import load
from usfmae.settings.load import FILES

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = load(*(ROOT / f"config/{name}.yaml" for name in ("openus46", *FILES)))
PAIR = ("usfmae", "imagenet")
BOOTSTRAP = "subject-cluster bootstrap, pooled"
OFFICIAL: dict[str, Any] = {
    "title": "Necks, one official test part",
    "corpus": "demo",
    "datasets": ["neck"],
    "classes": {"normal": ["normal"], "hygroma": ["hygroma"]},
    "positive": "hygroma",
    "split": {"kind": "official", "test_split": "test", "folds": 1},
}
ON_OFFICIAL = {"tasks": {"official": OFFICIAL}, "study": {"tasks": ["official"]}}
MAPS = FIGURE | {"kind": "qualitative", "metrics": [], "published": None, "unit": None, "rounding": 0}
MAPS |= {"outlined": "the fetal neck"}
NECKS_OUTLINED = {"tasks": {"neck": {"outlines": "the fetal neck"}}}


def settled(results: Path, claim: dict[str, Any], change: dict[str, Any] | None = None) -> pd.Series:
    """The first row of the ledger of one claim."""
    return ledger(claimed_study({"one": claim}, change), results).iloc[0]


def write_pair(results: Path, *differences: dict[str, Any], task: str = "neck", **more: Any) -> None:
    """The task of both models, folds pooled and apart, with rows of `comparisons.csv`."""
    write_availability(results)
    rows = [summary_row(model, 0.8, 0.03, **more) for model in PAIR]
    folds = [row | {"estimate": "mean of folds"} for row in rows]
    write_task(results, rows + folds, list(differences), task=task)


# Valid tests


@pytest.mark.parametrize("claim", [GAIN | {"published": 12, "unit": "percent"}, ORDER], ids=["gain", "order"])
def test_a_test_that_is_not_valid_settles_nothing_and_one_not_simulated_says_so(
    claim: dict[str, Any], tmp_path: Path
) -> None:
    write_pair(tmp_path, difference_row(*PAIR, 0.12, 0.05))
    assert settled(tmp_path, claim)["verdict"] == AGREES
    note = "Not valid: 2 folds; it was simulated with 3 and more. With 2 seeds."
    write_pair(tmp_path, difference_row(*PAIR, 0.12, 0.05, valid="no", note=note))
    row = settled(tmp_path, claim)
    assert row["verdict"] == NOT_TESTED and pd.isna(row["value_published"])
    assert row["reason"] == (
        "the corrected resampled t is not valid here: 2 folds; it was simulated with 3 and more"
    )
    write_pair(tmp_path, difference_row(*PAIR, 0.12, 0.05, valid="not simulated", note="Not simulated: x."))
    row = settled(tmp_path, claim)
    assert row["verdict"] == AGREES
    assert row["reason"].endswith("; the test was not simulated for such data")


UNSIMULATED = "; the test was not simulated for such data"


@pytest.mark.parametrize(
    ("metric", "folds", "said"), [("accuracy", 2, None), ("accuracy", 4, ""), ("f1", 4, UNSIMULATED)]
)
def test_a_test_made_here_is_held_to_the_same_rule(
    metric: str, folds: int, said: str | None, tmp_path: Path
) -> None:
    write_availability(tmp_path)
    values = {"usfmae": [0.9, 0.8, 0.85, 0.95], "imagenet": [0.7, 0.71, 0.69, 0.8]}
    rows = [
        {"model": model, "seed": 0, "fold": fold, "role": "test", "metric": metric, "value": value}
        for model, each in values.items()
        for fold, value in enumerate(each[:folds])
    ]
    summary = [summary_row(model, 0.8, 0.03, metric, estimate="mean of folds") for model in values]
    write_task(tmp_path, summary, [], rows)
    row = settled(tmp_path, ORDER | {"metrics": [metric]})
    if said is None:
        assert row["verdict"] == NOT_TESTED and "is not valid here: 2 folds" in row["reason"]
    else:
        assert row["verdict"] == AGREES and row["reason"].endswith("lies above 0" + said)


@pytest.mark.parametrize(("p_holm", "said"), [(0.04, DIFFERS), (0.06, NOT_TOLD_APART)])
def test_an_order_is_refuted_by_holms_p_of_the_row(p_holm: float, said: str, tmp_path: Path) -> None:
    write_pair(tmp_path, difference_row(*PAIR, -0.12, 0.05, p=0.01, p_holm=p_holm))
    assert settled(tmp_path, ORDER)["verdict"] == said


def test_tests_made_here_are_corrected_over_the_baselines_of_the_claim() -> None:
    below = Value(-0.05, -0.09, -0.01)
    found = corrected_over_baselines(
        {
            "a": replace(below, p=0.03),
            "b": replace(below, p=0.04),
            "row": replace(below, p=0.01, p_holm=0.5),
        }
    )
    assert {name: each.p_holm for name, each in found.items()} == {"a": 0.06, "b": 0.06, "row": 0.5}


# One official test part


def test_on_an_official_test_part_an_order_and_a_gain_go_by_the_bootstrap_in_any_metric(
    tmp_path: Path,
) -> None:
    each = "subject-cluster bootstrap of each metric, pooled"
    write_pair(
        tmp_path,
        difference_row(*PAIR, 0.12, 0.05, "f1", test=each),
        metric="f1",
        n_folds=1,
        task="official",
    )
    for claim in (ORDER, GAIN | {"published": 12, "unit": "percent"}):
        row = settled(
            tmp_path, claim | {"metrics": ["f1"], "part": "hold-out", "task": "official"}, ON_OFFICIAL
        )
        assert (row["verdict"], row["value_published"]) == (AGREES, 0.12)
        assert row["estimate_published"] == "difference, subject-cluster bootstrap of these trained models"


def test_a_metric_that_is_not_compared_is_named(tmp_path: Path) -> None:
    pooled = difference_row(*PAIR, 0.12, 0.05, test=BOOTSTRAP)
    write_pair(tmp_path, pooled, metric="f1", n_folds=1, task="official")
    claim = ORDER | {"metrics": ["f1"], "part": "hold-out", "task": "official"}
    row = settled(tmp_path, claim, ON_OFFICIAL)
    assert row["verdict"] == NOT_TESTED and row["reason"].endswith("not compared in f1 on the test part")


def test_the_orders_of_the_heart_paper_are_about_its_independent_test_part() -> None:
    for key in ("heart_above_baselines", "heart_resnet18_best", "heart_non_diagnostic"):
        assert SHIPPED.claims[key].part == "hold-out"


def test_what_a_tasks_masks_outline_makes_no_training_stale() -> None:
    task = SHIPPED.tasks["bus_bra"]
    assert task.model_copy(update={"outlines": "the lesion"}).effective() == task.effective()


# Arms


def test_the_corrected_arm_is_judged_on_the_task_put_right_and_both_say_what_was_trained(
    tmp_path: Path,
) -> None:
    write_pair(tmp_path)
    write_task(tmp_path, [summary_row("usfmae", 0.9, 0.03), summary_row("usfmae_right", 0.9, 0.03)])
    write_task(tmp_path, [summary_row("usfmae_right", 0.7, 0.03)], task="kidney")
    row = settled(tmp_path, FIGURE | {"task_corrected": "kidney"})
    assert (row["verdict"], row["verdict_corrected"]) == (AGREES, DIFFERS)
    assert (row["task_published"], row["task_corrected"]) == ("neck", "kidney")
    assert (row["model_corrected"], row["value_corrected"]) == ("usfmae_right", 0.7)
    assert {row["recipe_published"], row["recipe_corrected"]} == {"standard"}
    assert {row["corpus_published"], row["corpus_corrected"]} == {"demo"}


def test_a_corrected_task_outside_the_study_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path)
    row = settled(tmp_path, FIGURE | {"task_corrected": "kidney"}, {"study": {"tasks": ["neck"]}})
    assert row["reason_corrected"] == "not run: the task kidney is not in this study"


def test_the_shipped_claims_on_leaking_splits_have_a_corrected_task() -> None:
    right = {"mmotu_2d": "mmotu_2d_untied", "feft_official": "feft_clean"}
    about = [claim for claim in SHIPPED.claims.values() if claim.task in right and claim.kind != "count"]
    assert len(about) == 14
    assert all(claim.task_corrected == right[str(claim.task)] for claim in about)


def test_what_is_very_likely_seen_is_not_called_seen() -> None:
    assert SHIPPED.claims["heart_accuracy"].seen == "likely"
    assert not any(claim.seen == "yes" for claim in SHIPPED.claims.values())


def test_the_ledger_waits_for_the_tasks_of_both_arms_and_reads_its_settings() -> None:
    rules: dict[str, Any] = {
        "below": lambda folders, names: [f"{folder}/{name}" for folder in folders for name in names],
        "SPLIT": ["folds.parquet"],
    }
    exec((ROOT / "workflow/rules/targets.smk").read_text(encoding="utf-8"), rules)  # Python alone
    change = NECKS_OUTLINED | {"study": {"explain": {"models": ["usfmae"]}}}
    one, both = FIGURE, MAPS | {"task_corrected": "kidney"}
    for claim, tasks in ((one, {"neck"}), (both, {"neck", "kidney"})):
        settings = claimed_study({"one": claim}, change)
        files = rules["claim_inputs"](settings)
        assert {f.split("/")[2] for f in files if f.endswith("summary.csv")} == tasks
        explained = {f.split("/")[2] for f in files if f.endswith("faithfulness.csv")}
        assert explained == (tasks if claim is both else set())
    said = rules["claim_settings"](settings)
    assert said["outlines"]["neck"] == "the fetal neck" and said["recipes"]["usfmae"] == "standard"


# Maps


@pytest.mark.parametrize(
    ("paired", "said"),
    [
        ("better than the blob", AGREES),
        ("worse than the blob", DIFFERS),
        ("unclear", NOT_TOLD_APART),
        ("too few subjects", NOT_TESTED),
    ],
)
def test_maps_are_judged_by_the_paired_verdict_of_score_cam(paired: str, said: str, tmp_path: Path) -> None:
    write_pair(tmp_path)
    assert "no Score-CAM maps of usfmae" in settled(tmp_path, MAPS, NECKS_OUTLINED)["reason"]
    write_maps(tmp_path, paired)
    row = settled(tmp_path, MAPS, NECKS_OUTLINED)
    assert row["verdict"] == said and row["reason"].startswith(paired)
    assert (row["n_frames_published"], row["n_subjects_published"]) == (60, 50)


@pytest.mark.parametrize("outlines", [None, "the kidney"])
def test_masks_of_something_else_or_of_nobody_knows_what_test_no_map(
    outlines: str | None, tmp_path: Path
) -> None:
    write_pair(tmp_path)
    write_maps(tmp_path, "better than the blob")
    row = settled(tmp_path, MAPS, {"tasks": {"neck": {"outlines": outlines}}})
    assert row["verdict"] == NOT_TESTED
    assert row["reason"] == "the task neck does not say that its masks outline the fetal neck"


def write_maps(results: Path, paired: str) -> None:
    """`faithfulness.csv` of two methods; that of Grad-CAM must not be read."""
    measured = {
        "method": ["grad_cam", "score_cam"],
        "measure": "pointing game",
        "value": [0.1, 0.6],
        "lower": [0.0, 0.5],
        "upper": [0.2, 0.7],
        "n_frames": 60,
        "n_subjects": 50,
        "baseline": 0.55,
        "verdict": ["worse than the blob" if paired != "worse than the blob" else "unclear", paired],
        "note": "",
    }
    write_table(results / "explain/neck/usfmae/faithfulness.csv", pd.DataFrame(measured))
