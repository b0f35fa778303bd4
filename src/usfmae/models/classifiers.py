"""Builds a classifier from an entry of config/models.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import nn

from usfmae.models.checkpoints import load_encoder
from usfmae.models.mae import build_encoder
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

    `encoder` is the shape that `model.encoder` names. `weights` is the pretrained encoder's safetensors file,
    or the `fetched.json` of a published checkpoint, needed unless `model.weights` is `scratch`: a model never
    starts from a random twin of the weights its name promises. Raises ValueError, MissingWeights where the
    checkpoint is not here, CheckpointError where the weights do not fit.
    """
    if (model.weights != "scratch") != (weights is not None):
        raise ValueError(f"{model.title}: weights are {model.weights!r} but the file given is {weights}")
    if encoder is not None:
        pool: dict[str, Any] = {"global_pool": model.pool, "fc_norm": model.pool == "avg"}
        shape = encoder.model_dump()
        built: nn.Module = build_encoder(
            size=size, channels=channels, num_classes=classes, drop_path_rate=drop_path, **pool, **shape
        )
    else:
        built = _timm_model(str(model.timm), classes, size, channels, drop_path)
    if weights is not None:
        load_encoder(built, weights)
    return built


def _timm_model(name: str, classes: int, size: int, channels: int, drop_path: float) -> nn.Module:
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}; near ones: {timm.list_models(f'*{name[:6]}*')[:5]}")
    options: dict[str, Any] = {"num_classes": classes, "in_chans": channels}
    # timm marks the architectures whose weights depend on the input size, transformers above all.
    fixed = timm.get_pretrained_cfg(name)
    if fixed is not None and fixed.fixed_input_size:
        options |= {"img_size": size, "drop_path_rate": drop_path}
    return timm.create_model(name, pretrained=False, **options)
