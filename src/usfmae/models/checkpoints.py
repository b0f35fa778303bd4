"""Weights into a model: a key that does not fit is named, never passed over."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from usfmae.models.channels import MEAN, convert_patch_embedding, convert_prediction
from usfmae.models.formats import CheckpointError, State, heads, load_weights, read_checkpoint
from usfmae.models.mae import MaskedAutoencoder, positions
from usfmae.models.weights import weights_of
from usfmae.record import atomic

__all__ = ["CheckpointError", "load_encoder", "load_mae", "load_weights", "save_weights"]


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Writes a state dict as safetensors; the same weights give the same bytes.

    What the weights are stands in the `run.json` beside them: safetensors writes several metadata keys in
    random order, and the file's digest would change.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def load_mae(model: MaskedAutoencoder, path: Path) -> None:
    """Puts published or own weights, encoder and decoder, into a masked autoencoder of the same shape.

    `path` is a file or folder of a format in `usfmae.models.formats`, or the `fetched.json` of a checkpoint.
    The frame size and the number of channels may differ: the encoder's positions are interpolated, the
    decoder's fixed ones computed anew, and the first and last layer converted (`usfmae.models.channels`).
    Raises CheckpointError naming every key that is missing, surplus or of another shape.
    """
    path = weights_of(path)
    state = read_checkpoint(path)
    if not any(key.startswith("decoder_") for key in state):
        raise CheckpointError(
            f"{path} holds an encoder alone, and a decoder is needed here: take the file with the decoder "
            "(Facebook's ends in _full.pth), or start from random weights"
        )
    _check_heads(path, "encoder", model.encoder)
    _check_heads(path, "decoder", model)
    _fit_encoder(state, model.encoder, path)
    _fit_decoder(state, model, path)
    _load(model, state, path, new=set(), unused=set())


def load_encoder(model: nn.Module, path: Path) -> None:
    """Puts a pretrained encoder's weights into a classifier of the same shape; a decoder in the file is left.

    `path`, frame size, channels and errors as in `load_mae`. The head is new. Where the classifier pools the
    mean of the tokens it norms after pooling with a new layer (`fc_norm`), and the encoder's own last norm is
    not used, as in the paper's fine-tuning code.
    """
    if not isinstance(model, VisionTransformer):
        raise CheckpointError(f"{path}: an encoder's weights need a vision transformer, not {type(model)}")
    path = weights_of(path)
    state = read_checkpoint(path)
    _check_heads(path, "encoder", model)
    _fit_encoder(state, model, path)
    # What is neither encoder nor decoder keeps its name, and is reported as surplus.
    state = {
        key.removeprefix("encoder."): value
        for key, value in state.items()
        if not (key == "mask_token" or key.startswith("decoder_"))
    }
    new = {key for key in model.state_dict() if key.startswith(("head.", "fc_norm."))}
    _load(model, state, path, new=new, unused={"norm.weight", "norm.bias"})


def _load(model: nn.Module, state: State, path: Path, *, new: set[str], unused: set[str]) -> None:
    """Loads `state`; keys of the model in `new` are not in it, keys of it in `unused` may be left over."""
    own = model.state_dict()
    wanted = own.keys() - new
    missing, surplus = sorted(wanted - state.keys()), sorted(state.keys() - wanted - unused)
    misshapen = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(wanted & state.keys())
        if own[key].shape != state[key].shape
    ]
    problems = [
        f"{kind}: {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}"
        for kind, keys in (("missing", missing), ("surplus", surplus), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit the model; " + "; ".join(problems))
    model.load_state_dict({key: state[key] for key in wanted}, strict=False)


def _fit_encoder(state: State, encoder: VisionTransformer, path: Path) -> None:
    """Interpolates the positions and converts the channels where they differ; `state` changes."""
    weight, bias = (state.get(f"encoder.patch_embed.proj.{name}") for name in ("weight", "bias"))
    own = encoder.patch_embed.proj
    if weight is not None and weight.ndim == 4 and weight.shape[-2:] != own.weight.shape[-2:]:
        raise CheckpointError(
            f"{path} has patches of {weight.shape[-2]} x {weight.shape[-1]} pixels, the encoder of "
            f"{own.weight.shape[-2]} x {own.weight.shape[-1]}: `patch_size` must be that of the weights"
        )
    if weight is not None and bias is not None and _other_channels(weight.shape[1], own.in_channels):
        weight, bias = convert_patch_embedding(weight, bias, own.in_channels)
        state |= {"encoder.patch_embed.proj.weight": weight, "encoder.patch_embed.proj.bias": bias}
    table = state.get("encoder.pos_embed")  # (1, 1 + L, D)
    if table is not None and table.shape[1] != encoder.pos_embed.shape[1]:
        _square_grid(table, path)
        grid = list(encoder.patch_embed.grid_size)
        state["encoder.pos_embed"] = resample_abs_pos_embed(table, grid, interpolation="bicubic")


def _fit_decoder(state: State, model: MaskedAutoencoder, path: Path) -> None:
    """The decoder's positions for this frame size and its last layer for these channels; `state` changes."""
    table, own = state.get("decoder_positions"), model.decoder_positions
    if table is not None and table.shape[1] != own.shape[1]:
        grid = _square_grid(table, path)
        if not torch.allclose(table, positions(grid, table.shape[2]), atol=1e-4):
            raise CheckpointError(
                f"{path}: decoder_positions are not the fixed sine-cosine ones and cannot be computed for "
                "another frame size; use the frame size of the weights"
            )
        state["decoder_positions"] = positions(model.encoder.patch_embed.grid_size, table.shape[2])
    weight, bias = (state.get(f"decoder_head.{name}") for name in ("weight", "bias"))
    area = model.patch_size**2
    if weight is None or bias is None or len(weight) != len(bias) or len(bias) % area:
        return
    if _other_channels(len(bias) // area, model.channels):
        weight, bias = convert_prediction(
            weight, bias, model.patch_size, model.channels, normalised=model.normalise_patches
        )
        state |= {"decoder_head.weight": weight, "decoder_head.bias": bias}


def _other_channels(theirs: int, ours: int) -> bool:
    return theirs != ours and theirs in MEAN and ours in MEAN


def _square_grid(table: Tensor, path: Path) -> tuple[int, int]:
    """Rows and columns of a table of positions `(1, 1 + L, width)`."""
    side = math.isqrt(table.shape[1] - 1)
    if table.ndim != 3 or side**2 != table.shape[1] - 1:
        raise CheckpointError(f"{path}: positions {tuple(table.shape)} are no square grid and a class token")
    return side, side


def _check_heads(path: Path, part: str, model: nn.Module) -> None:
    """Weights of another number of heads have the same shapes, and would give nonsense."""
    blocks = model.decoder_blocks if isinstance(model, MaskedAutoencoder) else model.blocks
    theirs, ours = heads(path).get(part), blocks[0].attn.num_heads  # type: ignore[index,union-attr]
    if theirs is not None and theirs != ours:
        raise CheckpointError(f"{path}: its {part} has {theirs} attention heads, the model's has {ours}")
