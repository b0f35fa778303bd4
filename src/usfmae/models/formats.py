"""Published weights under our key names, whatever format they come in. Nothing is ever unpickled.

The formats are told apart by their keys:

- ours: `encoder.*` (timm's names), `mask_token`, `decoder_*`, as in `mae.safetensors`; or timm's names alone;
- Facebook's MAE (facebookresearch/mae, models_mae.py) and USF-MAE: timm's names, and a decoder beside them;
- Hugging Face's ViTMAE: `vit.encoder.layer.0.attention.attention.query` up to transformers 4, which version 5
  still writes, and `vit.layers.0.attention.q_proj`, as version 5 names its modules.
"""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from usfmae.record import as_recorded

State = dict[str, Tensor]


class CheckpointError(ValueError):
    """Weights do not fit the model, or cannot be read; the message names the file and the keys."""


#: (their key, ours). A key that no line fits stays as it is, and is then reported as surplus.
FACEBOOK = [
    (r"(cls_token|pos_embed|(?:patch_embed|blocks|norm)\..*)", r"encoder.\1"),
    (r"decoder_pos_embed", r"decoder_positions"),
    (r"decoder_pred\.(.*)", r"decoder_head.\1"),
]
BLOCK = {
    r"attention\.(?:attention\.)?(?:query|q_proj)": "attn.q",
    r"attention\.(?:attention\.)?(?:key|k_proj)": "attn.k",
    r"attention\.(?:attention\.)?(?:value|v_proj)": "attn.v",
    r"attention\.(?:output\.dense|o_proj)": "attn.proj",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"(?:intermediate\.dense|mlp\.fc1)": "mlp.fc1",
    r"(?:output\.dense|mlp\.fc2)": "mlp.fc2",
}
HUGGING_FACE = [
    (r"(?:vit\.)?embeddings\.cls_token", "encoder.cls_token"),
    (r"(?:vit\.)?embeddings\.position_embeddings", "encoder.pos_embed"),
    (r"(?:vit\.)?embeddings\.patch_embeddings\.projection\.(.*)", r"encoder.patch_embed.proj.\1"),
    (r"(?:vit\.)?layernorm\.(.*)", r"encoder.norm.\1"),
    (r"decoder\.mask_token", "mask_token"),
    (r"decoder\.decoder_pos_embed", "decoder_positions"),
    (r"decoder\.(decoder_(?:embed|norm)\..*)", r"\1"),
    (r"decoder\.decoder_pred\.(.*)", r"decoder_head.\1"),
    *(
        (rf"(?:vit\.)?(?:encoder\.layer|layers)\.(\d+)\.{theirs}\.(.*)", rf"encoder.blocks.\1.{ours}.\2")
        for theirs, ours in BLOCK.items()
    ),
    *(
        (
            rf"decoder\.decoder_(?:encoder\.layer|layers)\.(\d+)\.{theirs}\.(.*)",
            rf"decoder_blocks.\1.{ours}.\2",
        )
        for theirs, ours in BLOCK.items()
    ),
]


def load_weights(path: Path) -> State:
    """Reads safetensors. Raises CheckpointError where the file is cut short, of another kind, or not what the
    run that made it wrote: the format has no checksum of its own."""
    try:
        return load_file(as_recorded(path))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there are no weights here") from None
    except ValueError as error:  # as_recorded's
        raise CheckpointError(str(error)) from None
    except Exception as error:
        raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from None


def read_checkpoint(path: Path) -> State:
    """Weights of any of the formats under our key names, as float32.

    `path` is a `.safetensors` file, a PyTorch file (any other ending) or a Hugging Face folder with
    `model.safetensors`. Raises CheckpointError where it cannot be read without unpickling, or is of none.
    """
    return our_names(read_state(path), path)


def read_state(path: Path) -> State:
    """Weights under the file's own names, as float32. Path and errors as in `read_checkpoint`."""
    if path.is_dir():
        path = path / "model.safetensors"
    state = load_weights(path) if path.suffix == ".safetensors" else _load_pytorch(path)
    return {key: value.float() for key, value in state.items()}


def our_names(state: State, path: Path) -> State:
    """The same tensors under our key names. Hugging Face's query, key and value become timm's `qkv`."""
    if any(key.startswith("encoder.patch_embed.") for key in state):
        return state
    if "patch_embed.proj.weight" in state:
        return _renamed(state, FACEBOOK, path)
    if any(re.fullmatch(r"(vit\.)?embeddings\.patch_embeddings\.projection\.weight", key) for key in state):
        return _joined(_renamed(state, HUGGING_FACE, path), path)
    raise CheckpointError(
        f"{path}: no patch embedding in it, under any name that timm, Facebook's MAE or Hugging Face's "
        f"ViTMAE uses; its keys begin with {', '.join(sorted(state)[:5]) or 'nothing'}"
    )


def heads(path: Path) -> dict[str, int]:
    """`encoder` and `decoder` → attention heads, where a Hugging Face folder says it: no tensor does."""
    file = path / "config.json"
    if not path.is_dir() or not file.is_file():
        return {}
    written = json.loads(file.read_text(encoding="utf-8"))
    keys = {"encoder": "num_attention_heads", "decoder": "decoder_num_attention_heads"}
    return {part: int(written[key]) for part, key in keys.items() if key in written}


def _load_pytorch(path: Path) -> State:
    """A state dict, or the one under `model` (Facebook's training code) or `state_dict` (OpenMMLab's)."""
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there are no weights here") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: not plain weights: reading it would run code that the file brings along, or it is cut "
            f"short; it is not read. Ask for a file of tensors alone (safetensors, or torch.save of a "
            f"state dict). {_first_line(error)}"
        ) from None
    except Exception as error:
        raise CheckpointError(f"{path}: not a whole PyTorch file: {_first_line(error)}") from None
    for key in ("model", "state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(
            f"{path}: holds no state dict, neither at its top nor under `model` or `state_dict`"
        )
    return loaded


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _renamed(state: State, table: list[tuple[str, str]], path: Path) -> State:
    renamed: State = {}
    for key, value in state.items():
        match = next(((m, ours) for theirs, ours in table if (m := re.fullmatch(theirs, key))), None)
        ours = match[0].expand(match[1]) if match else key
        if ours in renamed:
            raise CheckpointError(f"{path}: two keys for one layer, {ours}; one of them is {key}")
        renamed[ours] = value
    return renamed


def _joined(state: State, path: Path) -> State:
    """timm keeps query, key and value in one tensor, in this order along the first axis."""
    joined = {key: value for key, value in state.items() if not re.search(r"\.attn\.[qkv]\.", key)}
    for key in state:
        if found := re.fullmatch(r"(.*\.attn\.)[qkv](\..*)", key):
            parts = [f"{found[1]}{part}{found[2]}" for part in "qkv"]
            if missing := [part for part in parts if part not in state]:
                raise CheckpointError(f"{path}: missing: {', '.join(missing)} (query, key and value)")
            joined[f"{found[1]}qkv{found[2]}"] = torch.cat([state[part] for part in parts])
    return joined
