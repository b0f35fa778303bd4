"""Score-CAM (Wang et al. 2020, arXiv 1910.01279) for vision transformers and convolutional networks of timm.

Each channel of one layer, enlarged to the image's size, becomes a mask. The model's score of the masked
image says how much the channel matters; the map is the sum of the channels with these weights. It is
`ScoreCAM` of the grad-cam package (1.5.7) with the same map, made for speed: the masked images of all
frames fill the batches, masks exist for one batch only, and no score is copied to the host.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

ROUNDING = 1e-6  # a channel whose relative range is below this is constant in float32


def target_layer(model: nn.Module, name: str | None = None) -> tuple[nn.Module, bool]:
    """The layer whose channels Score-CAM weighs, and whether it gives tokens instead of a feature map.

    A vision transformer: the first norm of its last block (after it, patches may no longer reach the score).
    A convolutional network: the last stage that timm lists in `feature_info`, such as `layer4` of a
    ResNet. `name` is a dotted module name that takes their place.

    Raises ValueError where the model has no such layer.
    """
    transformer = hasattr(model, "num_prefix_tokens")
    if name is None and transformer:
        name = f"blocks.{len(model.blocks) - 1}.norm1"  # type: ignore[arg-type]
    elif name is None and getattr(model, "output_fmt", "NCHW") == "NCHW" and hasattr(model, "feature_info"):
        name = str(model.feature_info[-1]["module"])  # type: ignore[index]
    if name is None:
        raise ValueError(
            f"Score-CAM knows no layer of {type(model).__name__}: name one that gives (N, C, H, W)"
        )
    try:
        return model.get_submodule(name), transformer
    except AttributeError as error:
        raise ValueError(
            f"{type(model).__name__} has no layer {name!r}: see model.named_modules()"
        ) from error


@torch.inference_mode()
def score_cam(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    layer: nn.Module,
    tokens: bool,
    batch_size: int | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    score: Literal["logit", "softmax"] = "logit",
    baseline: Tensor | float = 0.0,
) -> np.ndarray:
    """Score-CAM maps (N, H, W), float32, each from 0 to 1; all 0 where nothing speaks for the target.

    `images` (N, C, H, W) are normalised as the model wants them, `targets` (N,) are class indices.
    `layer` and `tokens` come from `target_layer`. `batch_size` counts masked images; by default 8 on a
    processor (what its cache holds is faster) and 128 on a GPU. `precision` is that of the forward
    passes. `score` is what a masked image is judged by: the target's logit (grad-cam) or its probability
    (the authors' code). `baseline` is what a mask leaves where it is 0, in normalised units and broadcast
    to (C, H, W): 0 is the mean of the training images (grad-cam and the authors' code), `-mean / std` is
    black.

    A channel that is constant over the image is no evidence and gets no weight (grad-cam lets it shift
    the map). The model is left in evaluation mode. Raises ValueError where activations or scores are not
    finite, or where the layer's output is no grid.
    """
    model.eval()
    device = next(model.parameters()).device
    batch_size = batch_size or (8 if device.type == "cpu" else 128)
    images, targets = images.to(device), targets.to(device)
    base = torch.as_tensor(baseline, dtype=images.dtype, device=device)

    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        channels = _activations(model, images, layer, tokens, batch_size)  # (N, D, h, w)
        low, high = channels.amin(dim=(2, 3)), channels.amax(dim=(2, 3))  # (N, D)
        varies = high - low > ROUNDING * torch.maximum(low.abs(), high.abs())  # (N, D)

        scores = torch.full_like(low, -torch.inf)  # (N, D)
        # Pairs (image, channel), so that a batch may span two images and stays full.
        for frame, channel in (pair.unbind(1) for pair in varies.nonzero().split(batch_size)):
            masks = _masks(channels[frame, channel], images.shape[-2:])  # (B, 1, H, W)
            logits = model(torch.lerp(base, images[frame], masks)).float()  # (B, classes)
            values = logits if score == "logit" else logits.softmax(dim=1)
            scores[frame, channel] = values.gather(1, targets[frame, None])[:, 0]

    broken = ~(channels.isfinite().all(dim=(1, 2, 3)) & (scores.isfinite() | ~varies).all(dim=1))  # (N,)
    if broken.any():
        raise ValueError(
            f"images {broken.nonzero()[:, 0].tolist()} give activations or scores that are not finite: "
            "check the weights and the input, or use precision 'float32'"
        )
    weights = scores.softmax(dim=1).where(varies, 0.0)  # (N, D); an image without evidence gets zeros
    maps = torch.einsum("nd,ndhw->nhw", weights, channels).relu()  # (N, h, w)
    maps = interpolate(maps[:, None], images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return _rescale(maps).cpu().numpy()


def _activations(model: nn.Module, images: Tensor, layer: nn.Module, tokens: bool, batch_size: int) -> Tensor:
    """The layer's channels (N, D, h, w), float32, for images (N, C, H, W)."""
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.float()))
    try:
        for batch in images.split(batch_size):
            model(batch)
    finally:
        handle.remove()
    found = torch.cat(outputs)
    if tokens:
        found = found[:, getattr(model, "num_prefix_tokens", 0) :]  # (N, h * w, D)
        height, width = images.shape[-2:]
        rows = round((found.shape[1] * height / width) ** 0.5)
        columns = found.shape[1] // rows
        if rows * columns != found.shape[1]:
            raise ValueError(f"{found.shape[1]} tokens are no grid over images of {height} x {width} pixels")
        found = found.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)  # (N, D, h, w)
    if found.ndim != 4 or len(found) != len(images):
        raise ValueError(
            f"the layer gives {tuple(found.shape)} for {len(images)} images: want (N, channels, h, w)"
        )
    return found


def _masks(channels: Tensor, size: torch.Size) -> Tensor:
    """Channels (B, h, w) as masks (B, 1, H, W) from 0 to 1. Corners are aligned, as grad-cam does it."""
    return _rescale(interpolate(channels[:, None], size, mode="bilinear", align_corners=True))


def _rescale(maps: Tensor) -> Tensor:
    """Each map (..., H, W) stretched to 0 to 1; a constant map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return ((maps - low) / (high - low)).nan_to_num(nan=0.0)
