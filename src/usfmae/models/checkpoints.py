"""Weights on disk: safetensors, written whole; a key that does not fit is named, never passed over."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from usfmae.record import atomic


class CheckpointError(ValueError):
    """Weights do not fit the model; the message names the keys."""


def save_weights(path: Path, state: dict[str, Tensor]) -> None:
    """Writes a state dict as safetensors; the same weights give the same bytes.

    What the weights are stands in the `run.json` beside them: safetensors writes several metadata keys in
    random order, and the file's digest would change.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads safetensors. Raises CheckpointError where the file is cut short or of another kind."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there are no weights here") from None
    except Exception as error:
        raise CheckpointError(f"{path}: not a whole safetensors file: {error}") from None


def load_encoder(model: nn.Module, path: Path) -> None:
    """Puts a pretrained encoder's weights into a classifier of the same shape.

    The head is new. Where the classifier pools the mean of the tokens it norms after pooling with a new
    layer (`fc_norm`), and the encoder's own last norm is not used, as in the paper's fine-tuning code.
    Raises CheckpointError naming every key that is missing, surplus or of another shape.
    """
    weights = load_weights(path)
    own = model.state_dict()
    new = {key for key in own if key.startswith(("head.", "fc_norm."))}
    missing = sorted(own.keys() - new - weights.keys())
    surplus = sorted(weights.keys() - own.keys() - {"norm.weight", "norm.bias"})
    misshapen = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if own[key].shape != weights[key].shape
    ]
    problems = [
        f"{kind}: {', '.join(keys[:8])}{' …' if len(keys) > 8 else ''}"
        for kind, keys in (("missing", missing), ("surplus", surplus), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise CheckpointError(f"{path} does not fit the encoder; " + "; ".join(problems))
    model.load_state_dict({k: v for k, v in weights.items() if k in own}, strict=False)
