"""Score-CAM (Wang et al. 2020, arXiv 1910.01279) for vision transformers and convolutional networks of timm.

Each channel of one layer, enlarged to the image's size, becomes a mask. The model's score of the masked
image says how much the channel matters; the map is the sum of the channels with these weights. It is
`ScoreCAM` of the grad-cam package (1.5.7) with the same map, made for speed: the masked images of all
frames fill the batches, masks exist for one batch only, and no score is copied to the host.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.nn.functional import interpolate

from usfmae.explain.layers import activations, enlarge, stretch
from usfmae.settings.recipes import GAIN_WITH_SOFTMAX

#: Pixels in a forward pass: what a processor's cache holds is faster, and a GPU wants to be full.
PIXELS = {"cpu": 8 * 224**2, "cuda": 128 * 224**2}
ROUNDING = 1e-6  # a channel whose relative range is below this is constant in float32


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
    gain: bool = False,
    normalisation: Literal["softmax", "relu", "none"] = "softmax",
    baseline: Tensor | float = 0.0,
    clusters: int | None = None,
) -> np.ndarray:
    """Score-CAM maps (N, H, W), float32, each from 0 to 1; all 0 where nothing speaks for the target.

    `images` (N, C, H, W) are normalised as the model wants them, `targets` (N,) are class indices.
    `layer` and `tokens` come from `target_layer`. `batch_size` counts masked images; by default `PIXELS`
    are in a pass, 8 images of 224 pixels on a processor and 128 on a GPU. `precision` is that of the masked
    images' passes; the channels are always computed in float32.

    What the papers leave open, with grad-cam's choice as default:

    - `score`: what a masked image is judged by, the target's logit (grad-cam) or its probability (the
      authors' code);
    - `gain`: whether the score of the bare baseline is taken off (the paper's equation 4);
    - `normalisation`: how scores become weights: softmax over the channels (the paper, grad-cam), `relu`
      (negative ones become 0), or `none` (the authors' code);
    - `baseline`: what a mask leaves where it is 0, in normalised units and broadcast to (C, H, W): 0 is the
      mean of the training images (grad-cam and the authors' code), `-mean / std` is black.

    `clusters` makes the map approximate: the channels of an image are put into so many groups of like shape
    (k-means), and each channel gets the score of its group's mean.

    A channel that is constant over the image is no evidence and gets no weight (grad-cam lets it shift
    the map). The model is left in evaluation mode. Raises ValueError where activations or scores are not
    finite, where the layer's output is no grid, or for `gain` with softmax.
    """
    if gain and normalisation == "softmax":
        raise ValueError(GAIN_WITH_SOFTMAX)
    model.eval()
    if not tokens:
        with torch.inference_mode(False):  # or the weights could take no gradient ever after
            model.to(memory_format=torch.channels_last)  # convolutions are faster so; the values stay
    device = next(model.parameters()).device
    together = PIXELS.get(device.type, PIXELS["cuda"]) // (images.shape[-2] * images.shape[-1])
    batch_size = batch_size or max(8, together)
    images, targets = images.to(device), targets.to(device)
    base = torch.as_tensor(baseline, dtype=images.dtype, device=device)

    channels = activations(model, images, layer, tokens, batch_size)  # (N, D, h, w)
    low, high = channels.amin(dim=(2, 3)), channels.amax(dim=(2, 3))  # (N, D)
    varies = high - low > ROUNDING * torch.maximum(low.abs(), high.abs())  # (N, D)
    shapes, scored, member = channels, varies, None
    if clusters is not None and channels.isfinite().all():
        shapes, scored, member = clustered(channels, varies, clusters)

    scores = torch.full_like(shapes[:, :, 0, 0], -torch.inf)  # (N, K)
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with half, class_token_alone(model):
        # Pairs (image, channel), so that a batch may span two images and stays full.
        for frame, channel in (pair.unbind(1) for pair in scored.nonzero().split(batch_size)):
            masks = _masks(shapes[frame, channel], images.shape[-2:])  # (B, 1, H, W)
            values = _judge(model(torch.lerp(base, images[frame], masks)), score)  # (B, classes)
            scores[frame, channel] = values.gather(1, targets[frame, None])[:, 0]
        if gain:
            empty = _judge(model(base.expand_as(images[:1])), score)  # (1, classes)
            scores = scores - empty[0, targets][:, None]

    broken = ~(channels.isfinite().all(dim=(1, 2, 3)) & (scores.isfinite() | ~scored).all(dim=1))  # (N,)
    if broken.any():
        raise ValueError(
            f"images {broken.nonzero()[:, 0].tolist()} give activations or scores that are not finite: "
            "check the weights and the input, or use precision 'float32'"
        )
    if member is not None:
        scores = scores.gather(1, member)  # (N, D)
    weights = _weights(scores.where(varies, -torch.inf), normalisation)  # (N, D)
    maps = torch.einsum("nd,ndhw->nhw", weights.where(varies, 0.0), channels)  # (N, h, w)
    return enlarge(maps, images.shape[-2:]).cpu().numpy()


@contextmanager
def class_token_alone(model: nn.Module) -> Iterator[None]:
    """The last block's MLP reads the class token only, where the classifier reads no other: the same score.

    Its output (N, 1, D) is added to all tokens, of which the others are then no longer used. A twentieth of a
    pass of a ViT-B.
    """
    block = model.blocks[-1] if hasattr(model, "num_prefix_tokens") else None  # type: ignore[index]
    if block is None or not hasattr(block, "norm2") or getattr(model, "global_pool", None) != "token":
        yield
        return
    handle = block.norm2.register_forward_hook(lambda _module, _inputs, output: output[:, :1])
    try:
        yield
    finally:
        handle.remove()


def _judge(logits: Tensor, score: str) -> Tensor:
    """Logits (B, classes), or probabilities, in float32."""
    logits = logits.float()
    return logits if score == "logit" else logits.softmax(dim=1)


def _weights(scores: Tensor, normalisation: str) -> Tensor:
    """Weights (N, D) of channels with these scores; an image without evidence gets what the caller blanks."""
    if normalisation == "softmax":
        return scores.softmax(dim=1)
    return scores.relu() if normalisation == "relu" else scores


def _masks(channels: Tensor, size: torch.Size) -> Tensor:
    """Channels (B, h, w) as masks (B, 1, H, W) from 0 to 1. Corners are aligned, as grad-cam does it."""
    return stretch(interpolate(channels[:, None], size, mode="bilinear", align_corners=True))


def clustered(channels: Tensor, varies: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """`count` groups of each image's channels: their mean shapes (N, K, h, w), whether there is a group
    (N, K), and the group of each channel (N, D).

    k-means on the channels (N, D, h, w), each stretched to 0 to 1 as the masks are; `varies` (N, D) says
    which count. The start is fixed, so the same channels give the same groups.
    """
    masks = stretch(channels)
    shapes = masks.new_zeros(len(masks), count, *masks.shape[2:])
    found, member = shapes.new_zeros(shapes.shape[:2], dtype=torch.bool), torch.zeros_like(varies).long()
    for image, (own, known) in enumerate(zip(masks, varies, strict=True)):
        points = own[known].flatten(1)  # (d, h * w)
        if len(points) <= count:
            groups, centres = torch.arange(len(points)), points
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different shapes than groups
                means = KMeans(count, n_init=1, max_iter=20, random_state=0).fit(points.cpu().numpy())
            groups, centres = torch.from_numpy(means.labels_).long(), torch.from_numpy(means.cluster_centers_)
        member[image, known] = groups.to(member.device)
        shapes[image, : len(centres)] = centres.to(shapes).unflatten(1, masks.shape[2:])
        found[image, groups.unique().to(found.device)] = True
    return shapes, found, member
