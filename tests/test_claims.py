"""The ledger: every claim has a verdict, by the rule, and only the published model answers for itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_claims import (
    FIGURE,
    GAIN,
    ORDER,
    claimed_study,
    difference_row,
    not_run_row,
    summary_row,
    write_availability,
    write_task,
)

from usfmae.evaluation.claims import COLUMNS, ledger
from usfmae.evaluation.comparison.resampled import corrected_t
from usfmae.evaluation.metrics import compute
from usfmae.evaluation.verdict import AGREES, DIFFERS, NOT_TESTED, NOT_TOLD_APART, VERDICTS
from usfmae.record import write_json, write_table
from usfmae.settings import SettingsError, load
from usfmae.settings.claims import metrics_of
from usfmae.settings.load import FILES

BOOTSTRAP = "subject-cluster bootstrap, pooled"
ROOT = Path(__file__).resolve().parents[1]
CONFIG = [ROOT / f"config/{name}.yaml" for name in ("openus46", *FILES)]
SHIPPED = load(*CONFIG)


def settled(tmp_path: Path, claim: dict[str, Any], change: dict[str, Any] | None = None) -> pd.Series:
    """The first row of the ledger of one claim."""
    return ledger(claimed_study({"one": claim}, change), tmp_path).iloc[0]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Necks on which the model reaches an AUC of 0.90 ± 0.03, its corrected twin 0.80 ± 0.03."""
    write_availability(tmp_path)
    rows = [summary_row("usfmae", 0.90, 0.03), summary_row("usfmae_right", 0.80, 0.03)]
    rows += [summary_row("imagenet", 0.78, 0.03), summary_row("vit_scratch", 0.90, 0.03)]
    folds = [row | {"estimate": "mean of folds"} for row in rows]
    write_task(tmp_path, rows + folds, [difference_row("usfmae", "imagenet", 0.12, 0.05)])
    return tmp_path


# What is shipped


def test_every_figure_of_the_four_abstracts_is_a_claim() -> None:
    published = {claim.published for claim in SHIPPED.claims.values()}
    usf_mae = {46, 370_000, 20, 81.6, 79.6, 82.4, 51.0, 77.9}
    renal = {969, 1.87, 7.8, 2.32, 4.33, 16.28, 46.15}
    hygroma = {0.96, 0.94, 0.98, 0.93, 0.92, 0.0057}
    heart = {6720, 90.57, 91.15, 90.71, 2.03, 1.98, 40}
    assert usf_mae | renal | hygroma | heart <= published
    by_paper = pd.Series([claim.paper for claim in SHIPPED.claims.values()]).value_counts()
    assert (by_paper["usf_mae"], by_paper["renal"], by_paper["hygroma"], by_paper["heart"]) == (16, 9, 12, 13)


def test_every_claim_says_what_would_settle_it_and_what_it_needs() -> None:
    for key, claim in SHIPPED.claims.items():
        assert claim.settled_by and claim.needs, key
        assert claim.protocol == "known" or claim.protocol_note, key


@pytest.mark.parametrize("overlay", [[], ["paper.yaml"], ["examples/renal.yaml"]], ids=str)
def test_every_claim_has_a_verdict_and_a_reason_before_anything_has_run(
    overlay: list[str], tmp_path: Path
) -> None:
    settings = load(*CONFIG, *(ROOT / "config" / name for name in overlay))
    table = ledger(settings, tmp_path)
    assert list(table.columns) == COLUMNS
    assert set(table["claim"]) == set(settings.claims)
    assert table["verdict"].isin(VERDICTS).all() and table["verdict_corrected"].isin(VERDICTS).all()
    assert (
        table[["reason", "reason_corrected", "needs", "settled_by", "seen", "audit"]].notna().all(axis=None)
    )
    assert (table["reason"].str.len() > 5).all()
    answered = table.loc[table["verdict"] != NOT_TESTED, "claim"]
    assert answered.empty  # not even the number of datasets, before they were fetched


def test_private_images_are_named_as_what_is_missing(tmp_path: Path) -> None:
    rows = ledger(SHIPPED, tmp_path).drop_duplicates("claim").set_index("claim")
    assert rows.at["hygroma_auc", "reason"].startswith("the images are private")
    assert rows.at["hygroma_auc", "needs"].startswith("the hospital's 289 images; the released weights")


def test_the_metrics_that_a_claim_can_name_are_those_that_are_measured() -> None:
    for task in (SHIPPED.tasks["bus_bra"], SHIPPED.tasks["mmotu_2d"]):
        classes = list(task.classes)
        table = np.full((len(classes), len(classes)), 1 / len(classes))
        assert set(metrics_of(task)) == set(compute(classes, table, classes, task.positive))


WRONG = [
    ("task", "bus_bar", "task 'bus_bar' (did you mean \"bus_bra\"?)"),
    ("model", "usfmae", "claimed model 'usfmae' (did you mean \"usf_mae\"?)"),
    ("baselines", ["resnet_18"], "claimed model 'resnet_18' (did you mean \"resnet18\"?)"),
    ("metrics", ["f1_makro"], "metric 'f1_makro' (did you mean \"f1_macro\"?)"),
    ("paper", "usf", "paper 'usf' (did you mean \"usf_mae\"?)"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_a_claim_that_names_what_is_not_there_is_refused_with_the_nearest(
    key: str, value: Any, said: str, tmp_path: Path
) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(yaml.safe_dump({"claims": {"usf_mae_bus_bra_f1": {key: value}}}))
    with pytest.raises(SettingsError) as error:
        load(*CONFIG, overlay)
    assert f"mine.yaml: claims.usf_mae_bus_bra_f1.{key}: there is no {said}" in str(error.value)


# Figures


@pytest.mark.parametrize(("published", "said"), [(92, AGREES), (93.4, AGREES), (95, DIFFERS), (80, DIFFERS)])
def test_a_figure_is_held_to_our_interval(published: float, said: str, results: Path) -> None:
    row = settled(results, FIGURE | {"published": published})
    assert row["verdict"] == said
    assert (row["model_published"], row["value_published"], row["n_subjects_published"]) == (
        "usfmae",
        0.9,
        24,
    )
    assert row["estimate_published"] == "pooled"


def test_the_corrected_arm_stands_beside_with_a_verdict_of_its_own(results: Path) -> None:
    row = settled(results, FIGURE)
    assert (row["verdict"], row["verdict_corrected"]) == (AGREES, DIFFERS)
    assert (row["model_corrected"], row["value_corrected"]) == ("usfmae_right", 0.8)


def test_where_the_part_is_told_its_estimate_is_taken(results: Path) -> None:
    folds = settled(results, FIGURE | {"part": "cross-validation"})
    assert folds["estimate_published"] == "mean of folds"
    holdout = settled(results, FIGURE | {"part": "hold-out"})
    assert (holdout["verdict"], holdout["reason"]) == (NOT_TESTED, "the task has no hold-out")


def test_a_difference_under_an_unknown_protocol_says_so(results: Path) -> None:
    row = settled(results, FIGURE | {"published": 99, "protocol": "unknown"})
    assert row["verdict"] == DIFFERS and "protocol is not known and may be why" in row["reason"]


def test_an_unknown_averaging_is_looked_up_both_ways_and_must_not_decide(tmp_path: Path) -> None:
    write_availability(tmp_path)
    both = [summary_row("usfmae", 0.9, 0.03, "f1_macro"), summary_row("usfmae", 0.8, 0.03, "f1_weighted")]
    write_task(tmp_path, both)
    claim = FIGURE | {"metrics": ["f1_macro", "f1_weighted"], "averaging": "unknown"}
    table = ledger(claimed_study({"one": claim}), tmp_path)
    assert list(table["metric"]) == ["f1_macro", "f1_weighted"]
    assert list(table["value_published"]) == [0.9, 0.8]
    assert set(table["verdict"]) == {NOT_TESTED} and "it decides" in table["reason"][0]
    settled_both = ledger(claimed_study({"one": claim | {"published": 99}}), tmp_path)
    assert set(settled_both["verdict"]) == {DIFFERS}


# Who may answer


NOT_THE_ONE = [
    ({"claimed_models": {"big": {"published": ["vit_scratch"]}}}, "from scratch"),
    ({"encoders": {"base": {"width": 384}}}, "384 wide and 12 deep, not 768 and 12"),
    ({"corpora": {"demo": {"size": 64}}}, "on frames of 64 px, not 224"),
    ({"recipes": {"finetune": {"standard": {"protocol": "knn", "training": None}}}}, "with frozen weights"),
    ({"claimed_models": {"big": {"published": ["imagenet"]}}}, "another architecture"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "why"), NOT_THE_ONE)
def test_a_model_that_is_not_the_published_one_never_answers(
    change: dict[str, Any], why: str, results: Path
) -> None:
    change = change | {"study": {"explain": {"models": []}}}
    row = settled(results, FIGURE, change)
    assert row["verdict"] == NOT_TESTED and why in row["reason"]
    assert pd.isna(row["value_published"]) and "the weights" in row["needs"]


def test_an_encoder_pretrained_on_less_than_the_collection_never_answers(results: Path) -> None:
    assert settled(results, FIGURE)["verdict"] == AGREES
    write_availability(results, there=42)
    row = settled(results, FIGURE)
    assert row["verdict"] == NOT_TESTED
    assert "pretrained with 42 of the 46 datasets at hand, not 43" in row["reason"]


def test_a_model_whose_weights_are_missing_is_named_so(tmp_path: Path) -> None:
    write_availability(tmp_path)
    write_task(tmp_path, [summary_row("usfmae", 0.9, 0.03), not_run_row("imagenet")])
    row = settled(tmp_path, FIGURE | {"model": "small"})
    assert row["reason"] == "Small: imagenet not run (weights missing)"


def test_missing_weights_are_named_before_what_else_is_in_the_way(tmp_path: Path) -> None:
    write_availability(tmp_path)
    write_task(tmp_path, [summary_row("vit_scratch", 0.9, 0.03), not_run_row("usfmae")])
    row = settled(tmp_path, FIGURE, {"corpora": {"demo": {"size": 64}}})
    assert row["reason"] == "Big: usfmae not run (weights missing)"


def test_the_first_model_of_an_arm_that_ran_is_taken(tmp_path: Path) -> None:
    write_availability(tmp_path)
    write_task(tmp_path, [not_run_row("usfmae"), summary_row("usfmae_right", 0.8, 0.03)])
    both = {"claimed_models": {"big": {"published": ["usfmae", "usfmae_right"]}}}
    assert settled(tmp_path, FIGURE, both)["model_published"] == "usfmae_right"


CLOSED = [
    ({"study": {"tasks": ["kidney"]}}, {}, "not run: the task neck is not in this study"),
    ({"study": {"tasks": ["kidney"]}}, {"data": "private"}, "the images are private"),
    ({"study": {"fractions": [0.5]}}, {}, "not run: only shares of the training subjects"),
]


@pytest.mark.parametrize(("change", "claim", "why"), CLOSED)
def test_a_task_that_cannot_answer_says_why(
    change: dict[str, Any], claim: dict[str, Any], why: str, results: Path
) -> None:
    row = settled(results, FIGURE | claim, change)
    assert row["verdict"] == NOT_TESTED and row["reason"].startswith(why)


def test_simulated_data_settle_nothing(results: Path) -> None:
    table = ledger(claimed_study({"one": FIGURE}, simulated=True), results)
    assert (table.at[0, "verdict"], table.at[0, "reason"]) == (NOT_TESTED, "simulated data")


def test_data_that_could_not_be_had_are_named(results: Path) -> None:
    write_availability(results, gone=("neck",))
    assert settled(results, FIGURE)["reason"] == "data missing: neck (not placed)"


# Differences and orders


def test_a_gain_is_read_in_points_and_relative(results: Path) -> None:
    row = settled(results, GAIN | {"published": 11})  # ours: 12 ± 5 points, 15 ± 6 % of 0.78
    assert row["verdict"] == AGREES and row["baseline_published"] == "imagenet"
    assert row["value_published"] == pytest.approx(0.12)
    row = settled(results, GAIN | {"published": 20})
    assert row["verdict"] == NOT_TESTED and "relative or in points is not told" in row["reason"]
    assert settled(results, GAIN | {"published": 20, "unit": "percent"})["verdict"] == DIFFERS


@pytest.mark.parametrize("unit", ["percent", "percent or points"])
def test_a_gain_does_not_agree_where_our_model_may_be_worse(unit: str, results: Path) -> None:
    rows = [summary_row(model, 0.9, 0.03, estimate="mean of folds") for model in ("usfmae", "imagenet")]
    write_task(results, rows, [difference_row("usfmae", "imagenet", -0.02, 0.04)])
    row = settled(results, GAIN | {"published": 1.87, "rounding": 0.01, "unit": unit})
    assert row["verdict"] == NOT_TOLD_APART and "0 as well" in row["reason"]


@pytest.mark.parametrize(
    ("pair", "difference", "said"),
    [
        (("usfmae", "imagenet"), 0.12, AGREES),
        (("imagenet", "usfmae"), 0.12, DIFFERS),
        (("imagenet", "usfmae"), -0.12, AGREES),
        (("usfmae", "imagenet"), 0.01, NOT_TOLD_APART),
    ],
)
def test_an_order_follows_the_corrected_t_whichever_model_comes_first(
    pair: tuple[str, str], difference: float, said: str, results: Path
) -> None:
    rows = [summary_row(model, 0.9, 0.03, estimate="mean of folds") for model in ("usfmae", "imagenet")]
    bootstrap = difference_row(*pair, -difference, 0.001, test=BOOTSTRAP)
    other_metric = difference_row(*pair, -difference, 0.001, metric="f1")
    write_task(results, rows, [bootstrap, other_metric, difference_row(*pair, difference, 0.05)])
    row = settled(results, ORDER)
    assert row["verdict"] == said
    assert row["value_published"] == (difference if pair[0] == "usfmae" else -difference)


def test_a_metric_that_is_not_compared_is_compared_over_the_folds(results: Path) -> None:
    values = {"usfmae": [0.9, 0.8, 0.85, 0.95], "imagenet": [0.7, 0.71, 0.69, 0.8]}
    rows = [
        {"model": model, "seed": 0, "fold": fold, "role": "test", "metric": "f1", "value": value}
        for model, each in values.items()
        for fold, value in enumerate(each)
    ]
    summary = [summary_row(model, 0.8, 0.03, "f1", estimate="mean of folds") for model in values]
    write_task(results, summary, [], rows)
    row = settled(results, ORDER | {"metrics": ["f1"]})
    expected = corrected_t(*values.values(), n_train=30, n_test=10)
    assert row["lower_published"] == pytest.approx(expected.lower)
    assert row["verdict"] == AGREES


def test_one_fold_settles_no_order(results: Path) -> None:
    rows = [summary_row(m, 0.9, 0.03, estimate="mean of folds", n_folds=1) for m in ("usfmae", "imagenet")]
    write_task(results, rows, [difference_row("usfmae", "imagenet", 0.12, 0.05)])
    row = settled(results, ORDER)
    assert row["verdict"] == NOT_TESTED and row["reason"].startswith("too few folds")


def test_close_means_within_the_margin_of_the_configuration(results: Path) -> None:
    close = ORDER | {"direction": "close"}
    assert settled(results, close)["verdict"] == DIFFERS  # 0.12 ± 0.05, margin 0.02
    assert settled(results, close, {"verdicts": {"close": 0.2}})["verdict"] == AGREES


# Counts, maps, audit


def test_a_count_is_set_against_the_frames_of_the_task_and_of_the_collection(results: Path) -> None:
    count = FIGURE | {"kind": "count", "metrics": [], "unit": "images", "rounding": 1}
    task = count | {"counted": "frames of the task"}
    assert settled(results, task | {"published": 96})["verdict"] == AGREES
    assert settled(results, task | {"published": 97})["verdict"] == DIFFERS
    split = results / "finetune/neck/folds.json"
    write_json(split, json.loads(split.read_text()) | {"unread": 1, "left_out": 3})
    found = settled(results, task | {"published": 100})
    assert found["verdict"] == AGREES, "a damaged file of our copy is one of the release"
    assert "1 labelled frames are missing, unreadable or blank" in found["audit"]
    whole = count | {"counted": "frames of OpenUS-46", "task": None, "seen": None, "published": 460}
    assert settled(results, whole)["verdict"] == AGREES
    number = whole | {"counted": "datasets of OpenUS-46", "unit": "datasets", "published": 46}
    assert settled(results, number)["verdict"] == AGREES
    write_availability(results, there=45)
    for claim in (whole, number):
        row = settled(results, claim)
        assert (row["verdict"], row["reason"]) == (NOT_TESTED, "data missing: 45 of 46 datasets at hand")


def test_what_the_audit_found_stands_beside_the_claim(results: Path) -> None:
    copies = pd.DataFrame({"frame": [f"{name}.png#0" for name in ("neck/1", "neck/1", "neck/2", "kidney/1")]})
    write_table(results / "corpus/demo/seen_in_open.parquet", copies)
    pairs = {"dataset_a": ["neck", "kidney"], "dataset_b": ["scans", "neck"]}
    found = pd.DataFrame(pairs | {"frames_of_a": [5, 7], "frames_of_b": [6, 8]})
    write_table(results / "corpus/demo/overlaps.csv", found)
    audit = settled(results, FIGURE)["audit"]
    assert "cuts 3 groups" in audit and "2 of 50 frames have a copy in the corpus open" in audit
    assert "5 frames have a copy in scans" in audit and "8 frames have a copy in kidney" in audit


def test_the_results_of_another_study_are_passed_over(results: Path) -> None:
    others = {
        "models": ["usfmae_right", "vit_scratch"],
        "reference": "vit_scratch",
        "explain": {"models": []},
    }
    assert settled(results, FIGURE, {"study": others})["reason"] == "Big: usfmae not in this study"
