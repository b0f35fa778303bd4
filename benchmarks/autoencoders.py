"""The two masked autoencoders that are compared: ours and Hugging Face's ViTMAE, with the same weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from usfmae.models.checkpoints import load_mae
from usfmae.models.mae import MaskedAutoencoder, build_encoder, positions, use_attention

#: transformers' names. `base`: ViT-B/16 at 224 px with the decoder of the paper, 512 x 8; mask ratio 0.75.
SHAPES: dict[str, dict[str, int]] = {
    "base": {},
    "tiny": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 128,
        "image_size": 32,
        "patch_size": 8,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 64,
    },
}
#: Side and implementation of attention: theirs as transformers calls them, ours as the recipe does.
ATTENTION = {"theirs": ("sdpa", "eager"), "ours": ("fused", "plain")}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Model = MaskedAutoencoder | ViTMAEForPreTraining


def make_theirs(shape: str) -> ViTMAEForPreTraining:
    """Their model with random weights, none of them 0, and the fixed positions, in training mode."""
    torch.manual_seed(0)
    model = ViTMAEForPreTraining(ViTMAEConfig(**SHAPES[shape], layer_norm_eps=1e-6))
    side = model.config.image_size // model.config.patch_size
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(("position_embeddings", "decoder_pos_embed")):
                value.copy_(positions((side, side), value.shape[-1]))
            else:
                value.add_(torch.randn_like(value), alpha=0.02)
    return model.train()


def make_ours(theirs: ViTMAEForPreTraining) -> MaskedAutoencoder:
    """Our model with their weights, which it reads from the folder that transformers writes."""
    config = theirs.config
    model = MaskedAutoencoder(
        build_encoder(
            size=config.image_size,
            channels=config.num_channels,
            patch_size=config.patch_size,
            width=config.hidden_size,
            depth=config.num_hidden_layers,
            heads=config.num_attention_heads,
        ),
        decoder_width=config.decoder_hidden_size,
        decoder_depth=config.decoder_num_hidden_layers,
        decoder_heads=config.decoder_num_attention_heads,
        mask_ratio=config.mask_ratio,
    )
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        load_mae(model, Path(folder))
    return model.train()


def make_batch(theirs: ViTMAEForPreTraining, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random frames `(batch, 3, H, W)` and the noise `(batch, L)` that decides the masks."""
    generator = torch.Generator().manual_seed(1)
    side, patch = theirs.config.image_size, theirs.config.patch_size
    frames = torch.randn(batch, theirs.config.num_channels, side, side, generator=generator)
    noise = torch.rand(batch, (side // patch) ** 2, generator=generator)
    return frames.to(device), noise.to(device)


def loss_of(model: nn.Module, frames: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of masked patches; `model` may be a compiled one."""
    found: Any = model(frames, noise=noise)
    return found[0] if isinstance(found, tuple) else found.loss


def choose_attention(model: Model, kind: str) -> None:
    if isinstance(model, MaskedAutoencoder):
        use_attention(model, kind)  # type: ignore[arg-type]
    else:
        model.set_attn_implementation(kind)
        model.decoder.config._attn_implementation = kind  # it holds a copy of the configuration


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """The weights stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def stepper(
    model: nn.Module, frames: Tensor, noise: Tensor, precision: str
) -> Callable[[torch.optim.Optimizer], float]:
    """Forward, backward and AdamW on one batch; gives the loss."""

    def step(optimiser: torch.optim.Optimizer) -> float:
        optimiser.zero_grad(set_to_none=True)
        with autocast(precision, frames.device):
            loss = loss_of(model, frames, noise)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    """PyTorch's fused AdamW, which our loop and transformers' Trainer both use."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
