"""Maps from a vision transformer's attention, to set beside Score-CAM: rollout, and gradient x attention.

No library that is well kept has either for timm's transformers (captum and grad-cam have neither), so timm's
own `AttentionExtract` reads the attention, and what the two papers add to it are the few lines below.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from timm.utils.attention_extract import AttentionExtract
from torch import Tensor, nn

from usfmae.explain.layers import enlarge, token_grid

_BATCH = 8


class NotApplicable(ValueError):
    """The method is not defined for this network; the message says why."""


def attention_rollout(model: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
    """Maps (N, H, W), float32, 0 to 1, of attention rollout (Abnar and Zuidema 2020, arXiv 2005.00928).

    The same for every class: `targets` (N,) are not read. Images (N, C, H, W) are normalised.
    """
    return _maps(model, images, targets, lambda attention, _: rollout(attention))


def gradient_attention(model: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
    """Maps (N, H, W), float32, 0 to 1, of gradient x attention (Chefer et al. 2021, arXiv 2103.15679).

    The gradient is that of the target's logit. Shapes as in `attention_rollout`.
    """

    def relevance(attention: list[Tensor], logits: Tensor) -> Tensor:
        return weighted_by_gradient(attention, torch.autograd.grad(logits.sum(), attention))

    return _maps(model, images, targets, relevance)


def rollout(attention: Sequence[Tensor]) -> Tensor:
    """From each token to each token of the input, (N, T, T): rows sum to one.

    `attention` (N, heads, T, T) of each block, first to last. Heads are averaged, and half of a token passes
    by the attention (the residual connection).
    """
    identity = torch.eye(attention[0].shape[-1], device=attention[0].device)
    joint = identity.expand(len(attention[0]), -1, -1)
    for block in attention:
        joint = (0.5 * block.mean(dim=1) + 0.5 * identity) @ joint
    return joint


def weighted_by_gradient(attention: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Relevance of each input token for each token, (N, T, T): R += mean over heads of (grad x A)+ times R.

    Equations 5 and 6 of Chefer et al. for self-attention; shapes as in `rollout`.
    """
    joint = torch.eye(attention[0].shape[-1], device=attention[0].device).expand(len(attention[0]), -1, -1)
    for block, gradient in zip(attention, gradients, strict=True):
        joint = joint + (gradient * block).relu().mean(dim=1) @ joint
    return joint


def _maps(
    model: nn.Module, images: Tensor, targets: Tensor, joined: Callable[[list[Tensor], Tensor], Tensor]
) -> np.ndarray:
    """What the pooled token owes to each patch, by `joined(attention, target's logit (B,))`, as maps."""
    rows = _pooled_rows(model)
    readable = copy.deepcopy(model).eval()  # timm's hooks stay, and the fused kernel shows no attention
    for module in readable.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
    extract = AttentionExtract(readable, method="hook")
    assert extract.hooks is not None
    found = []
    for batch, target in zip(images.split(_BATCH), targets.split(_BATCH), strict=True):
        with torch.enable_grad():
            logits = readable(batch).gather(1, target[:, None].to(batch.device))[:, 0]  # (B,)
            attention = list(extract.hooks.get_output(batch.device).values())
            relevance = joined(attention, logits)[:, rows].detach().mean(dim=1)  # (B, T)
        grid = token_grid(relevance[:, :, None], model, images.shape[-2:])  # (B, 1, h, w)
        found.append(enlarge(grid[:, 0], images.shape[-2:]))
    return torch.cat(found).cpu().numpy()


def _pooled_rows(model: nn.Module) -> slice:
    """Which tokens the classifier reads: the class token, or all patches."""
    if not hasattr(model, "num_prefix_tokens"):
        raise NotApplicable(f"{type(model).__name__} has no attention from every patch to every patch")
    pool = getattr(model, "global_pool", None)
    if pool == "token":
        return slice(0, 1)
    if pool == "avg":
        return slice(int(model.num_prefix_tokens), None)  # type: ignore[arg-type]
    raise NotApplicable(f"{type(model).__name__} pools its tokens by {pool!r}: only token and avg are known")
