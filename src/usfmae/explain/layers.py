"""The layer that a map is made of, its channels as a grid, and a coarse map at the image's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


def target_layer(model: nn.Module, name: str | None = None) -> tuple[nn.Module, bool]:
    """The layer whose channels are weighed, and whether it gives tokens instead of a feature map.

    A vision transformer: the first norm of its last block (after it, patches may no longer reach the score).
    A convolutional network: the last stage that timm lists in `feature_info`, such as `layer4` of a
    ResNet. `name` is a dotted module name that takes their place.

    Raises ValueError where the model has no such layer.
    """
    transformer = hasattr(model, "num_prefix_tokens")
    if name is None and transformer:
        name = f"blocks.{len(model.blocks) - 1}.norm1"  # type: ignore[arg-type]
    elif name is None and getattr(model, "output_fmt", "NCHW") == "NCHW" and hasattr(model, "feature_info"):
        name = str(model.feature_info[-1]["module"])  # type: ignore[index]
    if name is None:
        raise ValueError(
            f"Score-CAM knows no layer of {type(model).__name__}: name one that gives (N, C, H, W)"
        )
    try:
        return model.get_submodule(name), transformer
    except AttributeError as error:
        raise ValueError(
            f"{type(model).__name__} has no layer {name!r}: see model.named_modules()"
        ) from error


def token_grid(tokens: Tensor, model: nn.Module, size: Sequence[int]) -> Tensor:
    """Patch tokens (N, T, D) of images of `size` (height, width) pixels as a map (N, D, h, w).

    The model's class and register tokens are left out. Raises ValueError where the rest fills no grid.
    """
    patches = tokens[:, getattr(model, "num_prefix_tokens", 0) :]  # (N, h * w, D)
    height, width = size
    rows = round((patches.shape[1] * height / width) ** 0.5)
    columns = patches.shape[1] // rows
    if rows * columns != patches.shape[1]:
        raise ValueError(f"{patches.shape[1]} tokens are no grid over images of {height} x {width} pixels")
    return patches.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)


def activations(model: nn.Module, images: Tensor, layer: nn.Module, tokens: bool, batch_size: int) -> Tensor:
    """The layer's channels (N, D, h, w), float32, for images (N, C, H, W)."""
    outputs: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.float()))
    try:
        for batch in images.split(batch_size):
            model(batch)
    finally:
        handle.remove()
    found = torch.cat(outputs)
    if tokens:
        found = token_grid(found, model, images.shape[-2:])
    if found.ndim != 4 or len(found) != len(images):
        raise ValueError(
            f"the layer gives {tuple(found.shape)} for {len(images)} images: want (N, channels, h, w)"
        )
    return found


def enlarge(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Coarse maps (N, h, w) as maps (N, H, W) from 0 to 1; what is negative becomes 0."""
    shape = (size[0], size[1])
    return stretch(interpolate(maps.relu()[:, None], shape, mode="bilinear", align_corners=False)[:, 0])


def stretch(maps: Tensor) -> Tensor:
    """Each map (..., H, W) stretched to 0 to 1; a constant map becomes 0."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return ((maps - low) / (high - low)).nan_to_num(nan=0.0)
