"""Weights for grey frames made of weights for colour frames, and the other way round.

A normalised channel is `x_c = (g_c - m_c) / s_c`, with `g_c` in 0 to 1 and ImageNet's mean and deviation. A
grey frame has all `g_c` equal. On such frames both conversions are exact: the layer gives what it gave.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: ImageNet's channel means and deviations (0 to 1), which most published weights expect; grey: their mean.
MEAN = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
STD = {1: (0.226,), 3: (0.229, 0.224, 0.225)}


def between(source: int, target: int) -> tuple[Tensor, Tensor]:
    """(A `(target, source)`, o `(target,)`) with `x_target = A x_source + o` for a grey pixel.

    The grey value is the mean over the source's channels, each brought back to 0 to 1. `source` and `target`
    are 1 or 3.
    """
    mean, std = torch.tensor(MEAN[source]), torch.tensor(STD[source])
    new_mean, new_std = torch.tensor(MEAN[target]), torch.tensor(STD[target])
    return std / source / new_std[:, None], (mean.mean() - new_mean) / new_std


def convert_patch_embedding(weight: Tensor, bias: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The patch embedding for frames of `channels` channels.

    `weight` `(D, C, p, p)` and `bias` `(D,)` → `(D, channels, p, p)` and `(D,)`. From three channels to one:
    `W' = sum_c W_c s / s_c` and `b' = b + sum_c W_c (m - m_c) / s_c`, summed over the patch.
    """
    matrix, offset = between(channels, weight.shape[1])  # what the old layer would have seen
    new = torch.einsum("dchw,cn->dnhw", weight, matrix)
    return new, bias + torch.einsum("dchw,c->d", weight, offset)


def convert_prediction(
    weight: Tensor, bias: Tensor, patch_size: int, channels: int, *, normalised: bool
) -> tuple[Tensor, Tensor]:
    """The decoder's last layer for frames of `channels` channels.

    `weight` `(p*p*C, E)` and `bias` `(p*p*C,)` → `(p*p*channels, E)` and `(p*p*channels,)`, channels last
    within a patch. A decoder that predicts pixels predicts the same grey value afterwards. One that predicts
    patches `normalised` by their own mean and deviation has no scale to convert: the mean over the channels.
    """
    old = len(bias) // patch_size**2
    matrix, offset = between(old, channels)
    if normalised:
        matrix, offset = torch.full_like(matrix, 1 / old), torch.zeros_like(offset)
    new = torch.einsum("nc,pce->pne", matrix, weight.view(patch_size**2, old, -1))
    shift = bias.view(patch_size**2, old) @ matrix.T + offset
    return new.flatten(0, 1), shift.flatten()
