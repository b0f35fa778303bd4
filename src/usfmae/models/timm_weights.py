"""Published weights in a model of timm: loaded whole by timm itself, then fitted to our frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from usfmae.models.channels import MEAN, STD
from usfmae.models.formats import CheckpointError, read_state
from usfmae.models.ultrasam import timm_names
from usfmae.models.weights import weights_of


def create_pretrained(name: str, path: Path, *, channels: int, **options: Any) -> nn.Module:
    """A model of timm with the weights in `path` and no head, for frames of `channels` (1 or 3) channels.

    `path` is a file under timm's names, of UltraSam, or the `fetched.json` of a checkpoint. `name` may have
    timm's tag (`resnet18.tv_in1k`), which says how the weights want their frames. `options` go to timm, which
    interpolates the positions where `img_size` asks for it. The classifier in the file is dropped by its
    name. Raises CheckpointError with every key that is missing, surplus or of another shape.
    """
    path = weights_of(path)
    config = timm.get_pretrained_cfg(name)
    heads = (config.classifier,) if isinstance(config.classifier, str) else config.classifier or ()
    state = {
        key: value
        for key, value in timm_names(read_state(path)).items()
        if key.rpartition(".")[0] not in heads
    }
    # With the checkpoint's own number of classes and channels timm is strict; otherwise it passes keys over.
    source = {"state_dict": state, "num_classes": 0, "label_offset": None}
    try:
        model = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=source, num_classes=0, in_chans=3, **options
        )
    except Exception as error:
        raise CheckpointError(f"{path} does not fit {name}: {' '.join(str(error).split())}") from None
    del model.pretrained_cfg["state_dict"]
    fit_channels(model, channels, path)
    return model


def fit_channels(model: nn.Module, channels: int, path: Path) -> None:
    """Lets a model for colour frames, normalised as its weights want them, take ours (`batches.normalise`).

    With g a pixel in 0 to 1, its layer saw `(g - M_c) / S_c`, and sees `x = (g - m) / s` now: each channel's
    weights times `s / S_c`, summed for grey frames, and the shift `sum_c W_c (m - M_c) / S_c` in the bias or,
    where there is none, in the running mean of the norm behind it. Exact but for the reach of the kernel
    into the padding. Raises CheckpointError where the first layer is of another kind.
    """
    config: Any = model.pretrained_cfg
    mean, std = torch.tensor(config["mean"]), torch.tensor(config["std"])  # (3,)
    scale = torch.tensor(STD[channels]) / std  # (3,)
    offset = (torch.tensor(MEAN[channels]) - mean) / std  # (3,)
    if channels == 3 and (scale == 1).all() and (offset == 0).all():
        return
    layers = dict(model.named_modules())
    first = layers.get(str(config["first_conv"]))
    if not isinstance(first, nn.Conv2d) or first.in_channels != 3:
        raise CheckpointError(
            f"{path}: the first layer, {config['first_conv']}, is no convolution of colours"
        )
    shift = torch.einsum("dchw,c->d", first.weight.detach(), offset)  # (D,)
    weight = first.weight.detach() * scale[:, None, None]  # (D, 3, k, k)
    first.weight = nn.Parameter(weight if channels == 3 else weight.sum(dim=1, keepdim=True))
    first.in_channels = channels
    following = list(layers.values())
    norm = following[following.index(first) + 1]
    if first.bias is not None:
        first.bias.data += shift
    elif isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
        norm.running_mean -= shift
    else:
        raise CheckpointError(f"{path}: {config['first_conv']} has no bias and no batch norm behind it")
