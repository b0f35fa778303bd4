"""Faithfulness: what a perfect, a wrong and an empty map score, on models whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from usfmae.explain.faithfulness import (
    average_drop,
    centred_gaussian,
    deletion_auc,
    energy_inside,
    faithfulness_table,
    insertion_auc,
    intersection_over_union,
    pointing_game,
    randomised,
    rank_correlation,
    subject_interval,
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
    deletion = deletion_auc(finding_detector, images, maps, targets)
    insertion = insertion_auc(finding_detector, images, maps, targets)
    # The finding is 1/16 of the pixels: gone after two of 20 steps, or whole until the last two.
    assert deletion[0] < 0.08 and deletion[1] > 0.92
    # The blurred finding keeps some of its brightness, so the worst map does not score 0.
    assert insertion[0] > 0.95 and insertion[1] < 0.8


def test_deletion_leaves_the_baseline() -> None:
    images, maps, targets = bright_images(1), torch.from_numpy(PERFECT)[None], torch.tensor([1])
    assert deletion_auc(finding_detector, images, maps, targets, baseline=1.0) == pytest.approx(1)


def test_the_curve_area_of_an_unmoved_probability_is_that_probability() -> None:
    def undecided(images: Tensor) -> Tensor:
        return torch.full((len(images), 2), 0.3)

    images, maps, targets = bright_images(3), torch.rand(3, SIZE, SIZE), torch.tensor([0, 1, 0])
    np.testing.assert_allclose(deletion_auc(undecided, images, maps, targets), 0.3, atol=1e-6)
    np.testing.assert_allclose(average_drop(undecided, images, maps, targets), 0)


def test_the_drop_is_nothing_behind_the_perfect_map_and_everything_behind_the_opposite() -> None:
    maps = torch.from_numpy(np.stack([PERFECT, OUTSIDE, 0.25 * PERFECT])).float()
    drop = average_drop(finding_detector, bright_images(3), maps, torch.tensor([1, 1, 1]))
    np.testing.assert_allclose(drop, [0, 1, 0.75])


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
    assert clustered == (0.2, 0.8)  # 2.5 % and 97.5 % of binomial(10, 0.5) / 10
    assert clustered[1] - clustered[0] > 3 * (independent[1] - independent[0])


def test_one_subject_gives_no_interval() -> None:
    assert np.isnan(subject_interval(np.ones(5), np.zeros(5), seed=0)).all()


def table(masks: np.ndarray) -> dict[str, dict[str, float]]:
    maps = np.stack([PERFECT] * 4)
    found = faithfulness_table(
        finding_detector,
        bright_images(4),
        maps,
        masks,
        torch.ones(4, dtype=torch.int64),
        np.array(["a", "a", "b", "c"]),
        randomised_maps=np.random.default_rng(0).random((4, SIZE, SIZE)),
        seed=0,
    )
    columns = ["measure", "value", "lower", "upper", "n_frames", "baseline", "note"]
    assert list(found.columns) == columns and len(found) == 7
    return found.set_index("measure").to_dict("index")


def test_the_table_sets_each_measure_beside_the_centred_gaussian() -> None:
    masks = np.stack([MASK, MASK, MASK, np.zeros_like(MASK)])
    rows = table(masks)
    pointing = rows["pointing game"]
    assert pointing["value"] == pointing["lower"] == pointing["upper"] == 1 and pointing["baseline"] == 0
    assert pointing["n_frames"] == 3 and "2 subjects" in pointing["note"]
    assert rows["deletion AUC"]["n_frames"] == 4 and "3 subjects" in rows["deletion AUC"]["note"]
    assert rows["deletion AUC"]["value"] < rows["deletion AUC"]["baseline"]
    assert rows["insertion AUC"]["value"] > rows["insertion AUC"]["baseline"]
    assert rows["average drop"]["value"] == 0 < rows["average drop"]["baseline"]
    assert abs(rows["rank correlation with a randomised model"]["value"]) < 0.1


def test_without_any_mask_only_the_measures_of_the_model_remain() -> None:
    rows = table(np.zeros((4, SIZE, SIZE), np.uint8))
    assert rows["energy inside the mask"]["n_frames"] == 0 and np.isnan(
        rows["energy inside the mask"]["value"]
    )
    assert rows["deletion AUC"]["n_frames"] == 4
