"""ROAD: the imputation and the score of grad-cam, on whole batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer, ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from test_faithfulness import EMPTY, MASK, OUTSIDE, PERFECT, bright_images, finding_detector
from test_scorecam import images

from usfmae.explain.road import imputed, road

torch.set_num_threads(1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_removed_pixels_become_what_grad_cam_makes_of_them(share: float) -> None:
    pictures = images(2)[:, :, :24, :20]  # not square, and holes reach the border
    gone = torch.rand(2, 1, 24, 20, generator=torch.Generator().manual_seed(1)) < share
    gone[1, 0, :9, :9] = True  # one large hole in a corner
    found = imputed(pictures, gone)
    for ours, picture, hole in zip(found, pictures, gone, strict=True):
        theirs = NoisyLinearImputer(noise=0.0)(picture, 1.0 - hole[0].float())
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.where(~gone, 0.0), pictures.where(~gone, 0.0))


def test_an_image_without_holes_stays_as_it_is_beside_one_with_holes() -> None:
    pictures, gone = images(2), torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    gone[1, :, 5:20] = True
    found = imputed(pictures, gone)
    assert torch.equal(found[0], pictures[0]) and found[1].isfinite().all()
    assert not torch.equal(found[1], pictures[1])


def test_an_imputation_that_does_not_settle_is_refused() -> None:
    gone = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    gone[..., 0, 0] = False
    with pytest.raises(ValueError, match="did not settle in 3 steps"):
        imputed(images(1), gone, most_steps=3)


class BrightSquare(torch.nn.Module):
    """Logits (N, 2): class 1 is the mean brightness of a square, sharply."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (N, C, H, W)
        evidence = 6 * x[:, :, 4:12, 4:12].mean(dim=(1, 2, 3))
        return torch.stack([-evidence, evidence], dim=1)


def test_the_score_is_that_of_grad_cam_on_the_same_maps() -> None:
    model, targets = BrightSquare(), torch.tensor([1, 1])
    pictures = 0.1 * images(2)[:, :, :24, :24]
    pictures[:, :, 4:12, 4:12] += 0.3
    maps = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(2))
    maps = torch.nn.functional.avg_pool2d(maps[:, None], 9, stride=1, padding=4)[:, 0]  # no two alike
    maps[0, 2:14, 2:14] += 1  # the square and its edge

    def predict(batch: torch.Tensor) -> torch.Tensor:
        return model(batch).softmax(dim=1)

    wanted = [ClassifierOutputSoftmaxTarget(int(target)) for target in targets]
    theirs = ROADCombined()(pictures, maps.numpy(), wanted, model)
    ours = road(predict, pictures, maps, targets, seed=0)
    assert theirs[0] > 0.2 > abs(theirs[1])  # a model that answers to what is removed
    np.testing.assert_allclose(ours, theirs, atol=0.01)  # the noise is drawn anew
    assert np.array_equal(road(predict, pictures, maps, targets, seed=0), ours)


def test_a_perfect_map_loses_all_by_its_highest_pixels_and_an_opposite_one_by_its_lowest() -> None:
    maps = torch.from_numpy(np.stack([PERFECT, OUTSIDE, EMPTY]).astype(np.float32))
    scores = road(finding_detector, bright_images(3), maps, torch.tensor([1, 1, 1]), seed=0, noise=0.0)
    assert MASK.mean() < 0.1  # so that the first share removes the whole finding
    assert scores[0] > 0.4 and scores[1] < -0.4 and abs(scores[2]) < scores[0]
