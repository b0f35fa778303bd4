"""The masked autoencoder of He et al. (arXiv 2111.06377) on timm's blocks.

N frames, C channels, L patches of p x p pixels, D the encoder's width, E the decoder's width.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn


def build_encoder(
    *,
    size: int,
    channels: int,
    patch_size: int,
    width: int,
    depth: int,
    heads: int,
    layer_norm_epsilon: float = 1e-6,
    **options: object,
) -> VisionTransformer:
    """timm's vision transformer with sine-cosine positions to start from.

    `layer_norm_epsilon` is added to the variance by each LayerNorm; `options` go to timm. Raises ValueError
    where the patch size does not divide the frame's side (pixels).
    """
    if size % patch_size:
        raise ValueError(f"patch_size {patch_size} does not divide the corpus's frame size {size}")
    encoder = VisionTransformer(
        img_size=size,
        patch_size=patch_size,
        in_chans=channels,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        norm_layer=partial(nn.LayerNorm, eps=layer_norm_epsilon),
        **{"num_classes": 0, "global_pool": "token", **options},
    )
    encoder.pos_embed.data.copy_(positions(encoder.patch_embed.grid_size, width))
    return encoder


def positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed two-dimensional sine-cosine positions `(1, 1 + L, width)`; the class token's is 0.

    A quarter of `width` each: sine and cosine of the column, sine and cosine of the row. That is the order
    of the authors' code (util/pos_embed.py), which published decoders are trained with; timm has another.
    """
    patches = build_sincos2d_pos_embed(list(grid), width, interleave_sin_cos=False)  # (L, width)
    quarters = patches.view(-1, 2, 2, width // 4)  # (L, sine and cosine, row and column, width / 4)
    patches = quarters.flip(2).transpose(1, 2).flatten(1)  # (L, width)
    return torch.cat([torch.zeros(1, width), patches])[None]


def use_attention(model: nn.Module, kind: Literal["fused", "plain"]) -> None:
    """Lets every attention layer of timm in `model` use PyTorch's scaled dot-product attention (`fused`), or
    write the matrices out (`plain`). The results are the same but for rounding."""
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = kind == "fused"  # type: ignore[assignment]


class MaskedAutoencoder(nn.Module):
    """Encodes the visible patches of a frame and reconstructs the masked ones."""

    def __init__(
        self,
        encoder: VisionTransformer,
        *,
        decoder_width: int,
        decoder_depth: int,
        decoder_heads: int,
        mask_ratio: float,
        normalise_patches: bool = False,
        layer_norm_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.mask_ratio, self.normalise_patches = mask_ratio, normalise_patches
        self.patch_size: int = encoder.patch_embed.patch_size[0]
        self.channels: int = encoder.patch_embed.proj.in_channels
        self.encoder = encoder
        self.encoder.pos_embed.requires_grad_(False)
        self.decoder_embed = nn.Linear(encoder.embed_dim, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_positions: Tensor
        self.register_buffer("decoder_positions", positions(encoder.patch_embed.grid_size, decoder_width))
        norm = partial(nn.LayerNorm, eps=layer_norm_epsilon)
        self.decoder_blocks = nn.Sequential(
            *(
                Block(decoder_width, decoder_heads, qkv_bias=True, norm_layer=norm)
                for _ in range(decoder_depth)
            )
        )
        self.decoder_norm = norm(decoder_width)
        self.decoder_head = nn.Linear(decoder_width, self.patch_size**2 * self.channels)
        self._initialise()

    def forward(self, frames: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(loss, prediction `(N, L, p*p*C)`, mask `(N, L)` with 1 where a patch was masked).

        `noise` `(N, L)` decides which patches stay: those with the smallest values. By default it is
        drawn anew for each frame, uniform in 0 to 1.
        """
        if noise is None:
            noise = torch.rand(len(frames), self.encoder.patch_embed.num_patches, device=frames.device)
        latent, mask, restore = self.encode(frames, noise)
        prediction = self.decode(latent, restore)
        return self.loss(frames, prediction, mask), prediction, mask

    def encode(self, frames: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """frames `(N, C, H, W)` → latent `(N, 1 + visible, D)`, mask `(N, L)`, restore `(N, L)`."""
        tokens = self.encoder.patch_embed(frames) + self.encoder.pos_embed[:, 1:]  # (N, L, D)
        n, length, width = tokens.shape
        visible = max(1, int(length * (1 - self.mask_ratio)))
        shuffle = noise.argsort(dim=1)  # (N, L): visible patches first
        restore = shuffle.argsort(dim=1)  # (N, L): back to their places
        keep = shuffle[:, :visible, None].expand(-1, -1, width)
        tokens = tokens.gather(1, keep)  # (N, visible, D)
        mask = torch.ones(n, length, device=frames.device).scatter_(1, shuffle[:, :visible], 0.0)
        class_token = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(n, -1, -1)
        tokens = self.encoder.blocks(torch.cat([class_token, tokens], dim=1))
        return self.encoder.norm(tokens), mask, restore

    def decode(self, latent: Tensor, restore: Tensor) -> Tensor:
        """latent `(N, 1 + visible, D)` → pixels of each patch `(N, L, p*p*C)`."""
        tokens = self.decoder_embed(latent)  # (N, 1 + visible, E)
        n, _, width = tokens.shape
        hidden = self.mask_token.expand(n, restore.shape[1] + 1 - tokens.shape[1], -1)
        patches = torch.cat([tokens[:, 1:], hidden.to(tokens.dtype)], dim=1)  # (N, L, E), shuffled
        patches = patches.gather(1, restore[..., None].expand(-1, -1, width))
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_positions
        return self.decoder_head(self.decoder_norm(self.decoder_blocks(tokens)))[:, 1:]

    def loss(self, frames: Tensor, prediction: Tensor, mask: Tensor) -> Tensor:
        """Mean squared error over the pixels of masked patches only."""
        error = (prediction.float() - self.target(frames)) ** 2
        return (error.mean(dim=-1) * mask).sum() / mask.sum()

    def target(self, frames: Tensor) -> Tensor:
        """What each patch should become, `(N, L, p*p*C)`."""
        patches = patchify(frames.float(), self.patch_size)
        if self.normalise_patches:
            mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
            patches = (patches - mean) / (variance + 1e-6).sqrt()
        return patches

    @torch.inference_mode()
    def reconstruct(self, frames: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(frames with masked patches at 0, frames with masked patches filled in), both `(N, C, H, W)`.

        Predictions made in normalised patches are brought back with the true patch's mean and
        deviation, as in the paper's figures.
        """
        _, prediction, mask = self(frames, noise)
        patches = patchify(frames, self.patch_size)
        if self.normalise_patches:
            mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
            prediction = prediction * (variance + 1e-6).sqrt() + mean
        hidden = mask[..., None] > 0
        grid = self.encoder.patch_embed.grid_size
        masked = unpatchify(patches.masked_fill(hidden, 0.0), grid, self.patch_size)
        return masked, unpatchify(torch.where(hidden, prediction, patches), grid, self.patch_size)

    def _initialise(self) -> None:
        """Xavier for linear layers and patch embedding, normal 0.02 for tokens, as in the paper's code."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        projection = self.encoder.patch_embed.proj.weight
        nn.init.xavier_uniform_(projection.data.flatten(1))
        nn.init.normal_(self.encoder.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)


def patchify(frames: Tensor, patch_size: int) -> Tensor:
    """`(N, C, H, W)` → `(N, L, p*p*C)`, rows first, channels last within a patch."""
    n, channels, height, width = frames.shape
    rows, columns = height // patch_size, width // patch_size
    patches = frames.reshape(n, channels, rows, patch_size, columns, patch_size)
    return patches.permute(0, 2, 4, 3, 5, 1).reshape(n, rows * columns, patch_size**2 * channels)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """The inverse of `patchify` for a grid of (rows, columns) patches."""
    rows, columns = grid
    n, _, values = patches.shape
    channels = values // patch_size**2
    frames = patches.reshape(n, rows, columns, patch_size, patch_size, channels)
    return frames.permute(0, 5, 1, 3, 2, 4).reshape(n, channels, rows * patch_size, columns * patch_size)
