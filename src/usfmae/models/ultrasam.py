"""UltraSam's image encoder (Meyer et al., arXiv 2411.16222) as a classifier of timm.

It is `ViTSAM` of mmpretrain (models/backbones/vit_sam.py), the image encoder of Segment Anything, trained on
frames of 1024 pixels. timm's `samvit_base_patch16` is the same network under other names.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from usfmae.models.formats import State

#: (mmpretrain's key, timm's). A key that no line fits stays as it is, and is then reported as surplus.
NAMES = [
    (r"patch_embed\.projection\.(.*)", r"patch_embed.proj.\1"),
    (r"layers\.(\d+)\.ln([12])\.(.*)", r"blocks.\1.norm\2.\3"),
    (r"layers\.(\d+)\.attn\.(.*)", r"blocks.\1.attn.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.0\.0\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.ffn\.layers\.1\.(.*)", r"blocks.\1.mlp.fc2.\2"),
    (r"channel_reduction\.(.*)", r"neck.\1"),
]
PREFIX = "backbone."


def timm_names(state: State) -> State:
    """The image encoder of an UltraSam checkpoint under timm's names; any other state as it is.

    What lies outside `backbone.` (prompt encoder, mask decoder) is left.
    """
    if f"{PREFIX}patch_embed.projection.weight" not in state:
        return state
    ours = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(PREFIX)}
    return {_timm_name(key): value for key, value in ours.items()}


def _timm_name(key: str) -> str:
    matches = ((re.fullmatch(theirs, key), ours) for theirs, ours in NAMES)
    return next((match.expand(ours) for match, ours in matches if match), key)


def sam_options(drop_path: float) -> dict[str, Any]:
    """How a SAM encoder is built: for the checkpoint's 1024 pixels, whatever the frames' size, so that timm
    interpolates the positions, absolute and relative, at each pass; with mmpretrain's epsilon."""
    return {"drop_path_rate": drop_path, "norm_layer": partial(nn.LayerNorm, eps=1e-6)}


def pool_last_block(model: VisionTransformerSAM, classes: int) -> None:
    """Makes a classifier of the mean of the last block's map `(N, D, h, w)`, without SAM's neck."""
    model.neck = nn.Identity()  # type: ignore[assignment]
    model.num_features = model.embed_dim
    model.reset_classifier(classes)
