"""`config/models.yaml`: encoders (shapes of a vision transformer), published checkpoints, and models
(architecture and weights)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.settings.access import FolderAccess, GoogleDriveAccess, HttpAccess
from usfmae.settings.base import NO_EFFECT, Strict, Text

Positive = Annotated[int, Field(ge=1)]


class Encoder(Strict):
    """A vision transformer's shape. ViT-B/16 is width 768, depth 12, heads 12, patch 16."""

    width: Positive
    """Length of a token."""
    depth: Positive
    """Number of blocks."""
    heads: Positive
    patch_size: Positive
    """Pixels along a side of a patch."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Encoder:
        if self.width % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide width ({self.width})")
        if self.width % 4:
            raise ValueError(f"width ({self.width}) must be a multiple of 4 for sine-cosine positions")
        return self


class Checkpoint(Strict):
    """Published weights of an encoder or classifier, fetched as the datasets are."""

    title: Text
    access: Annotated[HttpAccess | GoogleDriveAccess | FolderAccess, Field(discriminator="host")]
    """Where the file comes from, as in datasets.yaml. One file, or a Hugging Face folder on this machine
    (`host: folder`). A model of a hub is a plain address of its `model.safetensors`."""
    contents: Literal["encoder", "mae"]
    """`encoder`: an encoder, with or without its head; `mae`: a decoder too, so that pretraining can go on
    from it."""
    channels: Annotated[Literal[1, 3], NO_EFFECT]
    """Of the frames it was trained on. Frames of the other kind can be used: the weights are converted."""
    licence: Text
    seen: Annotated[list[str] | None, NO_EFFECT] = None
    """Evaluation datasets whose images it was pretrained on, without labels; null: not known."""
    notes: Annotated[list[str], NO_EFFECT] = []

    @model_validator(mode="after")
    def _one_file(self) -> Checkpoint:
        place = isinstance(self.access, FolderAccess) and self.access.folder is not None
        if not place and len(self.access.files) != 1:
            raise ValueError(f"`access.files` must name the one file, not {len(self.access.files)}")
        return self


class Model(Strict):
    """An architecture and the weights it starts from."""

    title: Text
    """As it stands in tables and figures. A randomly initialised model must say "from scratch"."""
    encoder: str | None = None
    """A key of `encoders`: our vision transformer."""
    timm: str | None = None
    """Or a timm model name, for example `densenet169`; with its tag (`densenet169.tv_in1k`) where weights are
    loaded, which says how these were trained."""
    weights: Literal["scratch", "pretrain", "checkpoint"] = "scratch"
    """`scratch`: random; `pretrain`: the encoder of the pretraining recipe named by `pretrain`; `checkpoint`:
    the published weights named by `checkpoint`."""
    pretrain: str | None = None
    """Name of a pretraining recipe; `{fold}` in it stands for the fold that is fine-tuned."""
    checkpoint: str | None = None
    """A key of `checkpoints`. A model whose weights cannot be had is not run, and never starts from random
    ones."""
    recipe: str | None = None
    """A fine-tuning recipe of its own, in place of the study's: the same weights by another protocol."""
    pool: Literal["avg", "token"] = "avg"
    """How the tokens of an `encoder` become one vector: their mean, or the class token. A model of timm does
    it timm's way."""
    explain_layer: str | None = None
    """Dotted name of the Score-CAM layer; by default the last block's first norm (transformer) or
    the last convolutional stage."""

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if (self.encoder is None) == (self.timm is None):
            raise ValueError("give exactly one of `encoder` and `timm`")
        if (self.weights == "pretrain") != (self.pretrain is not None):
            raise ValueError("`weights: pretrain` and `pretrain: <recipe>` go together")
        if (self.weights == "checkpoint") != (self.checkpoint is not None):
            raise ValueError("`weights: checkpoint` and `checkpoint: <checkpoint>` go together")
        if self.weights == "pretrain" and self.encoder is None:
            raise ValueError("`weights: pretrain` needs an `encoder`")
        if self.weights == "scratch" and "from scratch" not in self.title:
            raise ValueError(f'randomly initialised, so its title must say "from scratch": {self.title!r}')
        return self


class ModelsFile(Strict):
    encoders: dict[str, Encoder] = {}
    checkpoints: dict[str, Checkpoint] = {}
    models: dict[str, Model] = {}
