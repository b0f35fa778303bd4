"""`config/recipes.yaml`: how a model is pretrained, fine-tuned and explained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from usfmae.settings.base import Strict, Text
from usfmae.settings.models import Positive
from usfmae.settings.pretraining import PretrainRecipe
from usfmae.settings.training import Augmentation, Share, Training


class FinetuneRecipe(Strict):
    """Supervised fine-tuning of all weights."""

    title: Text
    augmentation: Augmentation = Augmentation()
    training: Training
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: bool = True
    """Weight the loss by the inverse class frequency of the training frames."""
    freeze: bool = False
    """Train the new head alone on the frozen encoder (a linear probe)."""
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
