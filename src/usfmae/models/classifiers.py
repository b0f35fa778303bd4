"""Builds a classifier from an entry of config/models.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from usfmae.models.checkpoints import load_encoder
from usfmae.models.mae import build_encoder
from usfmae.models.timm_weights import create_pretrained
from usfmae.models.ultrasam import pool_last_block, sam_options
from usfmae.settings.models import Encoder, Model


def build_classifier(
    model: Model,
    encoder: Encoder | None,
    *,
    classes: int,
    size: int,
    channels: int,
    drop_path: float = 0.0,
    weights: Path | None = None,
) -> nn.Module:
    """A module that maps frames `(N, channels, size, size)` to logits `(N, classes)`.

    `encoder` is the shape that `model.encoder` names, None for a model of timm. `weights` is the pretrained
    encoder's safetensors file, or the `fetched.json` of a published checkpoint, needed unless `model.weights`
    is `scratch`: a model never starts from a random twin of the weights its name promises. Raises ValueError,
    MissingWeights where the checkpoint is not here, CheckpointError where the weights do not fit.
    """
    if (model.weights != "scratch") != (weights is not None):
        raise ValueError(f"{model.title}: weights are {model.weights!r} but the file given is {weights}")
    if encoder is None:
        return _timm_model(str(model.timm), classes, size, channels, drop_path, weights)
    pool: dict[str, Any] = {"global_pool": model.pool, "fc_norm": model.pool == "avg"}
    shape = encoder.model_dump()
    built = build_encoder(
        size=size, channels=channels, num_classes=classes, drop_path_rate=drop_path, **pool, **shape
    )
    if weights is not None:
        load_encoder(built, weights)
    return built


def _takes_drop_path(name: str) -> bool:
    """Whether timm's model of this name knows stochastic depth."""
    try:
        with torch.device("meta"):
            timm.create_model(name, pretrained=False, drop_path_rate=0.1)
    except TypeError:  # an argument that it does not know
        return False
    return True


def _timm_model(
    name: str, classes: int, size: int, channels: int, drop_path: float, weights: Path | None
) -> nn.Module:
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}; near ones: {timm.list_models(f'*{name[:6]}*')[:5]}")
    options: dict[str, Any] = {}
    if name.startswith("samvit_"):
        options = sam_options(drop_path)
    # timm marks the architectures whose weights depend on the input size, transformers above all.
    elif (fixed := timm.get_pretrained_cfg(name)) is not None and fixed.fixed_input_size:
        options = {"img_size": size, "drop_path_rate": drop_path}
    elif drop_path and _takes_drop_path(name):
        options = {"drop_path_rate": drop_path}
    if weights is None:
        built = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **options)
    else:
        built = create_pretrained(name, weights, channels=channels, **options)
        built.reset_classifier(classes)  # type: ignore[operator]
    if isinstance(built, VisionTransformerSAM):
        pool_last_block(built, classes)
    return built
