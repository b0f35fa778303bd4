"""The masked autoencoder of He et al. (arXiv 2111.06377) on timm's blocks.

N frames, C channels, L patches of p x p pixels, V of them visible and M masked, D the encoder's width,
E the decoder's width.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F


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
        """(loss, prediction `(N, M, p*p*C)` of the M masked patches, their places `(N, M)`).

        `noise` `(N, L)` decides which patches stay: those with the smallest values. By default it is
        drawn anew for each frame, uniform in 0 to 1. A place is a patch's number, rows first. Raises
        ValueError for frames of another size than the encoder's.
        """
        patches = patchify(frames, self.patch_size)  # (N, L, p*p*C)
        if patches.shape[1] != self.encoder.patch_embed.num_patches:
            wanted = " x ".join(map(str, self.encoder.patch_embed.img_size))
            raise ValueError(
                f"frames of {frames.shape[2]} x {frames.shape[3]} pixels; this encoder takes {wanted}"
            )
        if noise is None:
            noise = torch.rand(patches.shape[:2], device=frames.device)
        shuffled = noise.argsort(dim=1)  # (N, L)
        stay = max(1, int(shuffled.shape[1] * (1 - self.mask_ratio)))
        visible, masked = shuffled[:, :stay], shuffled[:, stay:]
        latent = self.encode(_at(patches, visible), visible)
        prediction = self.decode(latent, visible, masked)
        return self.loss(_at(patches, masked), prediction), prediction, masked

    def encode(self, patches: Tensor, places: Tensor) -> Tensor:
        """visible patches `(N, V, p*p*C)` and their places `(N, V)` → latent `(N, 1 + V, D)`."""
        projection = self.encoder.patch_embed.proj  # as a product, with the visible patches alone
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)  # (D, p*p*C)
        tokens = F.linear(patches, weight, projection.bias) + self.encoder.pos_embed[0, 1:][places]
        class_token = (self.encoder.cls_token + self.encoder.pos_embed[:, :1]).expand(len(patches), -1, -1)
        return self.encoder.norm(self.encoder.blocks(torch.cat([class_token, tokens], dim=1)))

    def decode(self, latent: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """latent `(N, 1 + V, D)`, places of visible and masked patches → pixels `(N, M, p*p*C)` of these.

        Attention knows no order but the positions', so the masked patches stay behind the visible ones.
        """
        tokens = self.decoder_embed(latent)  # (N, 1 + V, E)
        hidden = self.mask_token.to(tokens.dtype).expand(*masked.shape, -1)
        order = F.pad(1 + torch.cat([visible, masked], dim=1), (1, 0))  # the class token is number 0
        tokens = torch.cat([tokens, hidden], dim=1) + self.decoder_positions[0][order]
        tokens = self.decoder_blocks[:-1](tokens)
        last = cast(Block, self.decoder_blocks[-1])
        tokens = tokens + last.attn(last.norm1(tokens))
        tokens = tokens[:, 1 + visible.shape[1] :]  # (N, M, E): nothing reads the others any more
        tokens = tokens + last.mlp(last.norm2(tokens))
        return self.decoder_head(self.decoder_norm(tokens))

    def loss(self, patches: Tensor, prediction: Tensor) -> Tensor:
        """Mean squared error over the pixels of the masked patches, both `(N, M, p*p*C)`."""
        return F.mse_loss(prediction.float(), self.target(patches))

    def target(self, patches: Tensor) -> Tensor:
        """What each patch `(N, M, p*p*C)` should become."""
        patches = patches.float()
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
        _, prediction, masked = self(frames, noise)
        patches = patchify(frames, self.patch_size)
        if self.normalise_patches:
            true = _at(patches, masked)
            mean, variance = true.mean(-1, keepdim=True), true.var(-1, keepdim=True)
            prediction = prediction * (variance + 1e-6).sqrt() + mean
        places = masked[..., None].expand_as(prediction)
        grid = self.encoder.patch_embed.grid_size
        return (
            unpatchify(patches.scatter(1, places, 0.0), grid, self.patch_size),
            unpatchify(patches.scatter(1, places, prediction.to(patches.dtype)), grid, self.patch_size),
        )

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


def _at(patches: Tensor, places: Tensor) -> Tensor:
    """Of `(N, L, K)` the patches at `(N, M)` places: `(N, M, K)`."""
    return patches.gather(1, places[..., None].expand(-1, -1, patches.shape[-1]))


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
