"""What is watched while a masked autoencoder trains: whether its embeddings collapse, and how much of the
device it uses."""

from __future__ import annotations

import copy
import time

import torch
from timm.layers import Attention
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from usfmae.models.mae import MaskedAutoencoder

#: Below this effective rank the embeddings of different frames lie along a line or a plane.
LEAST_RANK = 2.0
#: Below this spread all frames have nearly the same embedding.
LEAST_SPREAD = 0.02


@torch.inference_mode()
def embed(model: MaskedAutoencoder, frames: Tensor) -> Tensor:
    """`(n, D)`: the mean of the encoder's patch tokens of whole, normalised frames."""
    tokens: Tensor = model.encoder.forward_features(frames)  # (n, 1 + L, D)
    return tokens[:, 1:].float().mean(dim=1)


def spread(embeddings: Tensor) -> float:
    """How far the directions of `(n, D)` embeddings spread: 0 where all are the same, about 1 where they fill
    all dimensions alike (Chen and He, arXiv 2011.10566, figure 2)."""
    directions = nn.functional.normalize(embeddings, dim=1)
    return float(directions.std(dim=0).mean() * embeddings.shape[1] ** 0.5)


def effective_rank(embeddings: Tensor) -> float:
    """In how many dimensions `(n, D)` embeddings differ: the exponential of the entropy of their singular
    values (Roy and Vetterli, EUSIPCO 2007), from 1 to the smaller of n and D."""
    values = torch.linalg.svdvals(embeddings - embeddings.mean(dim=0))
    shares = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


def collapse_warning(rank: float, wide: float) -> str | None:
    """A sentence where the embeddings of different frames hardly differ."""
    if rank >= LEAST_RANK and wide >= LEAST_SPREAD:
        return None
    return (
        f"the encoder may have collapsed: embeddings of different frames have an effective rank of "
        f"{rank:.1f} and a spread of {wide:.3f}; a lower learning rate or a longer warm-up helps"
    )


def operations(model: MaskedAutoencoder) -> float:
    """Floating-point operations of training on one frame: forward and backward, matrix products only."""
    shadow = copy.deepcopy(model).to("meta")
    for module in shadow.modules():
        if isinstance(module, Attention):
            module.fused_attn = False  # written out, so that its products are counted on every device
    size = shadow.encoder.patch_embed.img_size
    frame = torch.zeros(1, shadow.channels, *size, device="meta")
    noise = torch.zeros(1, shadow.encoder.patch_embed.num_patches, device="meta")
    with FlopCounterMode(display=False) as counter:
        shadow(frame, noise)[0].backward()
    return float(counter.get_total_flops())


def matmul_rate(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of the largest matrix product that fits a second: what the device
    reaches at best, measured here."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    side = 8192 if device.type == "cuda" else 1024
    a = torch.ones(side, side, dtype=dtype, device=device)

    def seconds() -> float:
        _wait(device)
        started = time.monotonic()
        a @ a
        _wait(device)
        return time.monotonic() - started

    return 2 * side**3 / min(seconds() for _ in range(10))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
