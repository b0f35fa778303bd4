"""The maps of one network by each method that a recipe names."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from usfmae.explain.attention import attention_rollout, gradient_attention
from usfmae.explain.layers import target_layer, token_grid
from usfmae.explain.scorecam import score_cam
from usfmae.settings.recipes import ExplainRecipe

_BATCH = 8


def maps_by(
    method: str,
    network: nn.Module,
    images: Tensor,
    targets: Tensor,
    recipe: ExplainRecipe,
    *,
    layer: str | None,
    baseline: Tensor | float,
) -> np.ndarray:
    """Maps (N, H, W), float32, 0 to 1, of normalised images (N, C, H, W) for the classes `targets` (N,).

    `method` is one of `recipe.methods`, `layer` the model entry's `explain_layer`, `baseline` as in
    `score_cam`. Raises NotApplicable where the network has no attention that the method could read.
    """
    if method == "attention_rollout":
        return attention_rollout(network, images, targets)
    if method == "gradient_attention":
        return gradient_attention(network, images, targets)
    module, tokens = target_layer(network, layer)
    if method == "grad_cam":
        return grad_cam(network, images, targets, layer=module, tokens=tokens)
    return score_cam(
        network,
        images,
        targets,
        layer=module,
        tokens=tokens,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        score=recipe.score,
        gain=recipe.gain,
        normalisation=recipe.normalisation,
        baseline=baseline,
        clusters=recipe.clusters,
    )


def grad_cam(
    network: nn.Module, images: Tensor, targets: Tensor, *, layer: nn.Module, tokens: bool
) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) by the library grad-cam; as `score_cam`."""
    from pytorch_grad_cam import GradCAM  # takes two seconds to import
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    grid = partial(token_grid, model=network, size=images.shape[-2:]) if tokens else None
    cam = GradCAM(network.eval(), [layer], reshape_transform=grid)
    try:
        found = [
            cam(batch, [ClassifierOutputTarget(int(each)) for each in target])
            for batch, target in zip(images.split(_BATCH), targets.split(_BATCH), strict=True)
        ]
    finally:
        cam.activations_and_grads.release()
        network.zero_grad(set_to_none=True)
    with torch.no_grad():
        return np.nan_to_num(np.concatenate(found)).astype(np.float32)
