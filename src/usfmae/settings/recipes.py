"""`config/recipes.yaml`: how a model is pretrained, fine-tuned and explained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from usfmae.settings.base import NO_EFFECT, Strict, Text
from usfmae.settings.models import Positive

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Strict):
    """Random changes of a training frame, drawn anew for each epoch. Crop, rotation, flip and scale are
    one affine resampling."""

    crop_area: tuple[Share, Share] = (0.6, 1.0)
    """Smallest and largest share of the frame's area that a random crop keeps."""
    crop_ratio: tuple[float, float] = (0.8, 1.25)
    """Smallest and largest width over height of the crop."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    """Rotation is uniform between minus and plus this."""
    horizontal_flip: Share = 0.5
    vertical_flip: Share = 0.0
    """0 in ultrasound: the probe is at the top."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1


class Training(Strict):
    """The loop, the same for pretraining and fine-tuning."""

    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate, after warm-up."""
    minimum_learning_rate: Annotated[float, Field(ge=0)] = 1e-6
    """At the end of the cosine."""
    warmup: Share = 0.1
    """Share of all steps in which the learning rate rises linearly from 0."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """Not applied to biases and norms."""
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate from each layer to the one below; 1 switches it off."""
    clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest global norm of the gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_minutes: Annotated[float, Field(ge=0), NO_EFFECT] = 10.0
    """At most this much work is lost when a job is killed."""


class LeaveOut(Strict):
    """A fold whose test and hold-out frames pretraining must not see."""

    task: str
    fold: Annotated[int, Field(ge=0)]


class PretrainRecipe(Strict):
    """Masked autoencoder (He et al., arXiv 2111.06377)."""

    title: Text
    encoder: str
    """A key of `encoders` in models.yaml."""
    corpus: str
    """A key of `corpora` in config.yaml."""
    evaluation_frames: Literal["exclude", "include"] = "exclude"
    """Whether frames of evaluation sets, and frames in one group with them, are pretrained on."""
    leave_out: LeaveOut | None = None
    """Pretraining on a task's own data: one fold's test and hold-out frames, which are left out with their
    groups."""
    decoder_width: Positive
    decoder_depth: Positive
    decoder_heads: Positive
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    normalise_patches: bool = False
    """Reconstruct each patch normalised by its own mean and deviation (norm_pix_loss)."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of groups held back to measure the loss."""
    seed: int = 0
    augmentation: Augmentation = Augmentation()
    training: Training


class FinetuneRecipe(Strict):
    """Supervised fine-tuning of all weights."""

    title: Text
    augmentation: Augmentation = Augmentation()
    training: Training
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: bool = True
    """Weight the loss by the inverse class frequency of the training frames."""
    drop_path: Share = 0.0
    """Stochastic depth of a transformer."""
    selection: Literal["loss", "score"] = "score"
    """Keep the epoch with the lowest validation loss, or the highest primary metric on validation."""


class ExplainRecipe(Strict):
    """Score-CAM (Wang et al., arXiv 1910.01279)."""

    title: Text
    frames_per_class: Positive = 6
    """Frames of each class that are explained, drawn with the study's first seed."""
    score: Literal["logit", "softmax"] = "logit"
    """What a masked frame is judged by: the logit (grad-cam) or the probability of the class."""
    baseline: Literal["black", "mean"] = "mean"
    """What a mask leaves where it is 0: black, or the mean of the training images (grad-cam's choice)."""
    batch_size: Positive | None = None
    """Masked frames in a forward pass; by default what suits the device."""
    precision: Literal["float32", "bfloat16"] = "float32"


class Recipes(Strict):
    pretrain: dict[str, PretrainRecipe] = {}
    finetune: dict[str, FinetuneRecipe] = {}
    explain: dict[str, ExplainRecipe] = {}


class RecipesFile(Strict):
    recipes: Recipes = Recipes()
