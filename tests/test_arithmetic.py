"""What published figures allow by arithmetic alone, against libraries and facts worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from usfmae.evaluation.arithmetic import (
    Fit,
    arithmetic,
    reachable_gains,
    score_pairs,
    signed_rank_tail,
    simplest_ratio,
    sizes_for,
    whole_image_share,
    wilcoxon_fits,
)
from usfmae.settings import load

ROOT = Path(__file__).resolve().parents[1]
FILES = ("datasets", "openus46", "models", "recipes", "tasks", "claims", "config")


def differences(n: int, statistic: int) -> np.ndarray:
    """n differences without ties whose smaller rank sum is `statistic`."""
    signs, left = np.ones(n), statistic
    for rank in range(n, 0, -1):
        if rank <= left:
            signs[rank - 1], left = -1, left - rank
    assert left == 0
    return signs * np.arange(1, n + 1)


@pytest.mark.parametrize(("n", "statistic"), [(4, 0), (5, 2), (14, 8), (22, 50)])
def test_the_exact_p_is_scipys(n: int, statistic: int) -> None:
    p = stats.wilcoxon(differences(n, statistic), method="exact").pvalue
    assert 2 * signed_rank_tail(n)[statistic] == pytest.approx(p)


#: Those without ties: a half comes from ties, of which scipy would take a smaller variance.
FITS = [fit for fit in wilcoxon_fits(0.0057, 0.0001, [14, 16, 18, 20, 21, 32, 36]) if fit.statistic % 1 == 0]


@pytest.mark.parametrize("fit", FITS, ids=str)
def test_every_fit_gives_the_published_p_in_scipy(fit: Fit) -> None:
    words = fit.method.split(", ")
    asked = {"method": "exact" if words[0] == "exact" else "asymptotic"}
    asked["correction"] = "with continuity" in words[0]
    p = stats.wilcoxon(differences(fit.n, int(fit.statistic)), **asked).pvalue
    if words[1] == "one-sided":
        p /= 2
    assert round(p, 4) == 0.0057


def test_four_folds_cannot_give_the_published_p_and_sixteen_pairs_can() -> None:
    fits = list(wilcoxon_fits(0.0057, 0.0001, range(3, 41)))
    sizes = {fit.n for fit in fits}
    assert 4 not in sizes and min(sizes) == 14
    corrected = {(fit.n, fit.statistic) for fit in fits if "with continuity" in fit.method}
    plain = {(fit.n, fit.statistic) for fit in fits if "without continuity" in fit.method}
    assert {(14, 8), (16, 14)} <= corrected
    assert {(16, 14.5), (18, 22), (20, 31), (21, 36)} <= plain
    one_sided = [fit.n for fit in fits if fit.method == "exact, one-sided"]
    assert {21, 22, 25} <= set(one_sided) and min(one_sided) == 21
    assert min(fit.n for fit in fits if fit.method == "exact, two-sided") == 32


def test_the_sizes_of_the_test_part_are_those_worked_out_by_hand() -> None:
    sizes = sizes_for([90.57, 88.54], 0.01, range(300, 2017))
    assert len(sizes) == 29 and sizes[:4] == [541, 742, 785, 838] and sizes[-1] == 2015
    assert 1379 in sizes and not set(sizes) & {672, 1008, 1344, 1680, 2016}
    assert (round(100 * 1249 / 1379, 2), round(100 * 1221 / 1379, 2)) == (90.57, 88.54)


def test_two_gains_are_simple_ratios_of_two_decimal_scores_and_chance_is_told() -> None:
    assert simplest_ratio(score_pairs(46.15, 0.01)) == Fraction(6, 13)
    assert simplest_ratio(score_pairs(16.28, 0.01)) == Fraction(7, 43)
    assert {(0.52, 0.76), (0.65, 0.95)} <= set(score_pairs(46.15, 0.01))
    assert set(score_pairs(16.28, 0.01)) == {(0.43, 0.50), (0.86, 1.00)}
    assert score_pairs(2.32, 0.01) == []
    assert 0.1 < reachable_gains(0.01) < 0.3 < reachable_gains(0.1)


def test_crops_of_more_than_the_image_fall_back_as_torchvision_does() -> None:
    whole, area = whole_image_share((0.5, 2.0), (3 / 4, 4 / 3))
    assert (round(whole, 3), round(area, 2)) == (0.057, 0.69)
    assert whole_image_share((0.2, 0.5), (3 / 4, 4 / 3))[0] == 0


def test_the_table_takes_every_figure_from_the_claims_the_registry_and_the_recipes() -> None:
    table = arithmetic(load(*(ROOT / f"config/{name}.yaml" for name in FILES)))
    said = table.set_index("check")
    assert "cannot give it" in said.at["Wilcoxon, 4 pairs", "means"]
    assert said.at["Wilcoxon, 16 pairs", "means"] == "4 folds x 4 metrics can give it"
    assert said.at["Wilcoxon, 20 pairs", "means"] == "4 folds x 5 seeds can give it"
    images = said.at["Images of the three evaluation datasets", "computed"]
    assert images == "1,875 + 1,469 + 514 = 3,858"
    sizes = said.loc["Size of the test part, 300 to 2,016"]
    assert "1,379 fits" in sizes["means"] and "none fits" in sizes["means"]
    assert said.at["Averaging of precision, recall and F1", "means"].endswith("so: weighted")
    assert (
        said.at["Learning rate of pretraining", "means"] == "the rate is 2 times that of its own linear rule"
    )
    ratios = table.loc[table["check"] == "A gain read as relative"].set_index("claims")["computed"]
    assert "6/13" in ratios["renal_multiclass_f1"] and "7/43" in ratios["renal_multiclass_auc"]


def test_a_changed_claim_changes_the_check(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("claims: { hygroma_wilcoxon: { published: 0.125, rounding: 0.001 } }")
    table = arithmetic(load(*(ROOT / f"config/{name}.yaml" for name in FILES), other)).set_index("check")
    assert table.at["Wilcoxon, 4 pairs", "means"] == "the folds alone can give it"


def test_folds_of_our_own_do_not_change_what_the_paper_did(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("tasks: { cystic_hygroma: { split: { folds: 10 } } }")
    files = [ROOT / f"config/{name}.yaml" for name in FILES]
    assert load(*files, other).tasks["cystic_hygroma"].split.folds == 10
    assert arithmetic(load(*files, other)).equals(arithmetic(load(*files)))


def test_without_the_claims_nothing_is_checked(tmp_path: Path) -> None:
    table = arithmetic(load(*(ROOT / f"config/{name}.yaml" for name in FILES if name not in ("claims",))))
    assert not table["claims"].str.len().any()
