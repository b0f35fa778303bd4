"""Faithfulness: what a perfect, a wrong and an empty map score, on models whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from usfmae.explain import faithfulness
from usfmae.explain.faithfulness import (
    COLUMNS,
    CORRELATION,
    FEWEST_SUBJECTS,
    MEASURES,
    RELATION,
    faithfulness_table,
    measure,
    not_applicable,
    randomised,
    rank_correlation,
    subject_interval,
)
from usfmae.explain.localisation import (
    centred_gaussian,
    energy_inside,
    intersection_over_union,
    pointing_game,
)
from usfmae.explain.perturbation import (
    area,
    confidence_drop,
    confidence_increase,
    deletion_curve,
    insertion_curve,
    kept_by_map,
)

torch.set_num_threads(1)
SIZE = 32
MASK = np.zeros((SIZE, SIZE), np.uint8)
MASK[4:12, 4:12] = 1  # the finding; far from the middle


def frames(*maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps (n, H, W) and as many masks."""
    return np.stack(maps).astype(np.float32), np.stack([MASK] * len(maps))


def finding_detector(images: Tensor) -> Tensor:
    """Probabilities (B, 2): class 1 is the mean brightness of the finding, in 0 to 1."""
    present = images[:, 0, 4:12, 4:12].mean(dim=(1, 2)).clamp(0, 1)
    return torch.stack([1 - present, present], dim=1)


def bright_images(n: int) -> Tensor:
    """Images (n, 1, H, W) with a bright finding on black."""
    return torch.from_numpy(MASK).float().expand(n, 1, SIZE, SIZE).clone()


PERFECT, OUTSIDE, EMPTY = MASK.astype(np.float32), 1.0 - MASK, np.zeros((SIZE, SIZE))


@pytest.mark.parametrize("measure", [pointing_game, energy_inside, intersection_over_union])
def test_a_perfect_map_scores_one_and_a_map_outside_or_empty_scores_zero(measure) -> None:
    np.testing.assert_array_equal(measure(*frames(PERFECT, OUTSIDE, EMPTY)), [1, 0, 0])


def test_half_a_map_inside_is_half_the_energy_and_a_third_of_the_union() -> None:
    half = np.zeros((SIZE, SIZE))
    half[4:12, 8:16] = 1  # as large as the finding, half of it inside
    assert energy_inside(*frames(half)) == 0.5
    assert intersection_over_union(*frames(half)) == pytest.approx(1 / 3)
    assert pointing_game(*frames(half)) == 0.5


def test_the_threshold_decides_what_overlaps() -> None:
    faint = 0.4 * PERFECT
    assert intersection_over_union(*frames(faint)) == 0
    assert intersection_over_union(*frames(faint), threshold=0.4) == 1


def test_the_centred_gaussian_peaks_in_the_middle_and_falls_by_a_quarter_of_the_side() -> None:
    blob = centred_gaussian(41, 81)
    assert blob[20, 40] == blob.max() == 1
    assert blob[30, 40] == blob[20, 60] == pytest.approx(np.exp(-0.5))


def test_deletion_falls_at_once_and_insertion_rises_at_once_with_the_perfect_map() -> None:
    images, targets = bright_images(2), torch.tensor([1, 1])
    maps = torch.from_numpy(np.stack([PERFECT, OUTSIDE])).float()
    deletion = deletion_curve(finding_detector, images, maps, targets)
    insertion = area(insertion_curve(finding_detector, images, maps, targets))
    # The finding is 1/16 of the pixels: gone after two of 20 steps, or whole until the last two.
    assert deletion.shape == (2, 21) and (deletion[0, 2:] == 0).all() and (deletion[1, :18] == 1).all()
    assert area(deletion)[0] < 0.08 and area(deletion)[1] > 0.92
    # The blurred finding keeps some of its brightness, so the worst map does not score 0.
    assert insertion[0] > 0.95 and insertion[1] < 0.8


def test_deletion_leaves_the_baseline() -> None:
    images, maps, targets = bright_images(1), torch.from_numpy(PERFECT)[None], torch.tensor([1])
    assert deletion_curve(finding_detector, images, maps, targets, baseline=1.0) == pytest.approx(1)


def test_the_curve_area_of_an_unmoved_probability_is_that_probability() -> None:
    def undecided(images: Tensor) -> Tensor:
        return torch.full((len(images), 2), 0.3)

    images, maps, targets = bright_images(3), torch.rand(3, SIZE, SIZE), torch.tensor([0, 1, 0])
    np.testing.assert_allclose(area(deletion_curve(undecided, images, maps, targets)), 0.3, atol=1e-6)
    kept = kept_by_map(undecided, images, maps, targets)
    assert not confidence_drop(*kept).any() and not confidence_increase(*kept).any()


def test_the_drop_is_nothing_behind_the_perfect_map_and_everything_behind_the_opposite() -> None:
    maps = torch.from_numpy(np.stack([PERFECT, OUTSIDE, 0.25 * PERFECT])).float()
    kept = kept_by_map(finding_detector, bright_images(3), maps, torch.tensor([1, 1, 1]))
    np.testing.assert_allclose(confidence_drop(*kept), [0, 1, 0.75])
    assert not confidence_increase(*kept).any()


def test_confidence_rises_where_the_map_hides_what_speaks_against_the_target() -> None:
    maps = torch.from_numpy(np.stack([PERFECT, OUTSIDE])).float()
    kept = kept_by_map(finding_detector, bright_images(2), maps, torch.tensor([0, 0]))  # class 0: no finding
    np.testing.assert_array_equal(confidence_increase(*kept), [0, 1])
    np.testing.assert_array_equal(confidence_drop(*kept), [0, 0])


def test_rank_correlation_equals_that_of_scipy_and_is_unknown_for_a_constant_map() -> None:
    generator = np.random.default_rng(0)
    maps, others = generator.integers(0, 9, (2, 3, 8, 8)).astype(float)  # with ties
    others[2] = 1
    found = rank_correlation(maps, others)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(maps[:2], others[:2], strict=True)]
    np.testing.assert_allclose(found[:2], expected)
    assert np.isnan(found[2])


def test_a_randomised_model_keeps_its_weights_in_another_order_and_leaves_the_original_alone() -> None:
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 2))
    before = model[0].weight.clone()
    shuffled, again = randomised(model, seed=1), randomised(model, seed=1)
    assert torch.equal(model[0].weight, before)
    assert not torch.equal(shuffled[0].weight, before)
    assert torch.equal(shuffled[0].weight.flatten().sort()[0], before.flatten().sort()[0])
    assert torch.equal(shuffled[1].weight, again[1].weight)


def test_the_interval_resamples_subjects_and_not_frames() -> None:
    values = np.repeat(np.arange(10) % 2, 20).astype(float)  # ten subjects of 20 equal frames
    clustered = subject_interval(values, np.repeat(np.arange(10), 20), seed=0)
    independent = subject_interval(values, np.arange(200), seed=0)
    assert clustered == (0.1, 0.9)  # 0.9 % and 99.1 % of binomial(10, 0.5) / 10: expanded for ten subjects
    assert clustered[1] - clustered[0] > 3 * (independent[1] - independent[0])


@pytest.mark.parametrize("skewed", [False, True])
def test_where_a_verdict_is_given_the_interval_misses_the_truth_in_one_study_of_twenty(skewed: bool) -> None:
    """The mean of as many subjects as a verdict asks for, from a normal and from a skewed distribution."""
    rng, studies = np.random.default_rng(0), 400
    shape = (studies, FEWEST_SUBJECTS)
    values = rng.exponential(size=shape) - 1 if skewed else rng.normal(size=shape)
    missed = 0
    for number, study in enumerate(values):
        lower, upper = subject_interval(study, np.arange(len(study)), seed=number)
        missed += not lower <= 0 <= upper
    assert missed / studies <= 0.065 + 1.64 * np.sqrt(0.05 * 0.95 / studies)


def test_one_subject_gives_no_interval() -> None:
    assert np.isnan(subject_interval(np.ones(5), np.zeros(5), seed=0)).all()


@pytest.fixture(autouse=True)
def _few_subjects_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "FEWEST_SUBJECTS", 2)


def test_a_handful_of_subjects_gets_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "FEWEST_SUBJECTS", 10)
    assert set(table(np.stack([PERFECT] * 4), ALL_MASKS)["verdict"]) == {"too few subjects"}


FRAMES = pd.DataFrame({"subject": ["a", "a", "b", "c"], "probability_of_label": [0.9, 0.6, 0.7, 0.2]})


def table(maps: np.ndarray, masks: np.ndarray, likeness: np.ndarray | None = None) -> pd.DataFrame:
    """The table of four frames' maps; `likeness` is the correlation with a randomised model's."""
    blob = np.broadcast_to(centred_gaussian(SIZE, SIZE), maps.shape)
    targets = torch.ones(4, dtype=torch.int64)
    measured = [
        measure(finding_detector, bright_images(4), each, masks, targets, seed=0)[0].assign(
            **{CORRELATION: np.zeros(4) if likeness is None else likeness}
        )
        for each in (maps, blob)
    ]
    found = faithfulness_table("score_cam", *measured, FRAMES, seed=0)
    assert list(found.columns) == COLUMNS and list(found["measure"]) == list(MEASURES)
    assert set(found["method"]) == {"score_cam"}
    return found.set_index("measure")


ALL_MASKS = np.stack([MASK] * 4)


def test_the_table_sets_each_measure_beside_the_centred_gaussian() -> None:
    found = table(np.stack([PERFECT] * 4), np.stack([MASK, MASK, MASK, np.zeros_like(MASK)]))
    pointing = found.loc["pointing game"]
    assert pointing["value"] == pointing["lower"] == pointing["upper"] == 1 and pointing["baseline"] == 0
    assert (pointing["n_frames"], pointing["n_subjects"]) == (3, 2)
    assert (found.loc["deletion AUC", "n_frames"], found.loc["deletion AUC", "n_subjects"]) == (4, 3)
    assert found.loc["deletion AUC", "value"] < 0.1 < found.loc["deletion AUC", "baseline"]
    sided = [name for name, (side, _) in MEASURES.items() if side and name != "confidence increase"]
    assert set(found.loc[sided, "verdict"]) == {"better than the blob"}
    assert found.loc["confidence increase", "verdict"] == "unclear"  # both are 0 in each frame


def test_a_map_beside_the_finding_is_called_worse_than_the_blob() -> None:
    beside = np.zeros((SIZE, SIZE), np.float32)
    beside[:, -2:] = 1
    found = table(np.stack([beside] * 4), ALL_MASKS)
    for name in ("energy inside the mask", "IoU at 0.5", "deletion AUC", "confidence drop"):
        assert found.loc[name, "verdict"] == "worse than the blob", name


def test_an_empty_map_is_no_better_than_the_blob_wherever_the_finding_lies() -> None:
    found = table(np.zeros((4, SIZE, SIZE), np.float32), ALL_MASKS)
    for name in ("deletion AUC", "insertion AUC", "ROAD"):
        assert found.loc[name, "value"] == pytest.approx(found.loc[name, "baseline"]), name
        assert found.loc[name, "verdict"] == "unclear"


def test_a_map_that_a_randomised_model_gives_too_fails_and_one_that_differs_passes() -> None:
    maps = np.stack([PERFECT] * 4)
    for likeness, verdict in (
        ([0.9, 0.95, 0.9, 0.8], "failed: the maps are alike"),
        ([-0.9, -0.95, -0.9, -0.8], "failed: the maps are alike"),
        ([0.1, -0.2, 0.3, 0.0], "passed: the maps differ"),
        ([0.9, 0.9, 0.9, -0.5], "unclear"),
        ([np.nan] * 4, "too few subjects"),  # empty maps
    ):
        assert table(maps, ALL_MASKS, np.array(likeness)).loc[CORRELATION, "verdict"] == verdict


def test_localisation_is_set_against_correctness() -> None:
    inside = [1.0, 0.5, 0.7, 0.1]  # shares of the energy: in the order of the label's probability but one
    maps = np.stack(
        [share * PERFECT / PERFECT.sum() + (1 - share) * OUTSIDE / OUTSIDE.sum() for share in inside]
    )
    row = table(maps.astype(np.float32), ALL_MASKS).loc[RELATION]
    expected = spearmanr(inside, FRAMES["probability_of_label"]).statistic
    assert row["value"] == pytest.approx(expected) and row["n_frames"] == 4


def test_without_masks_localisation_is_unknown_and_the_rest_is_not() -> None:
    found = table(np.stack([PERFECT] * 4), np.zeros_like(ALL_MASKS))
    unknown = ["pointing game", "energy inside the mask", "IoU at 0.5", RELATION]
    assert found.loc[unknown, ["value", "lower", "baseline"]].isna().all(axis=None)
    assert (found.loc[unknown, "n_frames"] == 0).all()
    assert found.loc["deletion AUC", "value"] < 0.1


def test_a_method_that_does_not_apply_leaves_one_row_that_says_why() -> None:
    row = not_applicable("attention_rollout", "ResNet has no attention")
    assert list(row.columns) == COLUMNS and len(row) == 1 and row["value"].isna().all()
    assert row["note"].item() == "not applicable: ResNet has no attention"
