"""`recipes.pretrain` of `config/recipes.yaml`: how a masked autoencoder is pretrained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.settings.base import NO_EFFECT, Strict, Text
from usfmae.settings.models import Positive
from usfmae.settings.training import Augmentation, Training


class LeaveOut(Strict):
    """A fold whose test and hold-out frames pretraining must not see."""

    task: str
    fold: Annotated[int, Field(ge=0)]


class Grid(Strict):
    """Settings that are tried on folds of the pretraining frames; the best trains on all of them."""

    learning_rate: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    weight_decay: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)] = 5
    by: Literal["group", "frame"] = "group"
    """What a fold holds back whole: duplicate groups with all their subjects, or single frames as USF-MAE
    does."""

    def settings(self) -> dict[str, dict[str, float]]:
        """Name of each setting, as folders are called → its `learning_rate` and `weight_decay`."""
        return {
            f"learning_rate-{rate:g}_weight_decay-{decay:g}": {"learning_rate": rate, "weight_decay": decay}
            for rate in self.learning_rate
            for decay in self.weight_decay
        }


class PretrainRecipe(Strict):
    """Masked autoencoder (He et al., arXiv 2111.06377)."""

    title: Text
    encoder: str
    """A key of `encoders` in models.yaml."""
    corpus: str
    """A key of `corpora` in config.yaml."""
    channels: Literal[1, 3] | None = None
    """1: grey; 3: colour, grey frames three times over. By default as in the corpus."""
    initial_weights: str | None = None
    """A key of `checkpoints` in models.yaml: encoder and decoder that training starts from. By default
    random."""
    evaluation_frames: Literal["exclude", "include", "seen"] = "exclude"
    """Whether frames of evaluation sets, and frames in one group with them, are pretrained on. `include`:
    yes, and a task that is tested on one of them is refused. `seen`: yes, and each result says so."""
    leave_out_datasets: list[str] = []
    """Datasets of the corpus that are not pretrained on, whatever `evaluation_frames` says; copies of their
    frames in other datasets stay."""
    leave_out: LeaveOut | None = None
    """Pretraining on a task's own data: one fold's test and hold-out frames, which are left out with their
    groups."""
    dataset_temperature: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How often a dataset is drawn: its number of frames to this power. 1: each frame as often as any other;
    0: each dataset as often as any other. An epoch has as many frames either way."""
    storage: Annotated[Literal["disk", "local", "memory", "device"], NO_EFFECT] = "disk"
    """Where frames are read from: the corpus itself, memory-mapped; a copy on the node's own disk ($TMPDIR);
    a copy in shared memory (/dev/shm); or the GPU's memory."""
    decoder_width: Positive
    decoder_depth: Positive
    decoder_heads: Positive
    layer_norm_epsilon: Annotated[float, Field(gt=0)] = 1e-6
    """Added to the variance by each LayerNorm: 1e-6 in timm and in FAIR's code, 1e-12 in Hugging Face's."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    normalise_patches: bool = False
    """Reconstruct each patch normalised by its own mean and deviation (norm_pix_loss)."""
    grid: Grid | None = None
    """Try these settings on folds first; the one with the lowest mean validation loss replaces those of
    `training` for the final run on all frames."""
    setting_of: str | None = None
    """Another recipe, whose grid's best setting is used."""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of groups held back to measure the loss; 0: all frames are learned from."""
    seed: int = 0
    augmentation: Augmentation = Augmentation()
    training: Training

    @model_validator(mode="after")
    def _heads_divide_width(self) -> PretrainRecipe:
        if self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"decoder_heads ({self.decoder_heads}) must divide decoder_width ({self.decoder_width})"
            )
        if self.grid is not None and self.setting_of is not None:
            raise ValueError("give `grid` or `setting_of`, not both")
        return self

    def with_setting(self, setting: dict[str, float]) -> PretrainRecipe:
        """This recipe with the learning rate and weight decay of a setting of the grid."""
        return self.model_copy(update={"training": self.training.model_copy(update=setting)})
