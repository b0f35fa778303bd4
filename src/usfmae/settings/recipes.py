"""`config/recipes.yaml`: how a model is pretrained, fine-tuned and explained."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.settings.base import Strict, Text
from usfmae.settings.models import Positive
from usfmae.settings.pretraining import PretrainRecipe
from usfmae.settings.training import Augmentation, Share, Training

#: Keys that only some protocols read.
FRAMES_ONLY = ("augmentation", "drop_path", "mixup", "cutmix", "search")
EPOCHS_ONLY = ("label_smoothing", "sampling", "ema", "early_stopping")

GAIN_WITH_SOFTMAX = (
    "`gain: true` takes the same number off every channel's score, and a softmax over channels takes it out "
    "again: the map would be the same. Set `normalisation: relu` or `none`, or leave `gain` out"
)


class Search(Strict):
    """Candidates that are tried inside the training part of a fold, each with the whole budget of the
    recipe."""

    learning_rate: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    layer_decay: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]

    def candidates(self) -> list[dict[str, float]]:
        """Every learning rate with every layer decay."""
        pairs = product(self.learning_rate, self.layer_decay)
        return [{"learning_rate": rate, "layer_decay": decay} for rate, decay in pairs]


class FinetuneRecipe(Strict):
    """How a classifier is made of a model."""

    title: Text
    protocol: Literal["finetune", "linear_probe", "knn", "attentive_probe"] = "finetune"
    """`finetune`: all weights. On frozen weights, whose features are computed once: `linear_probe`, logistic
    regression; `knn`, the nearest training frames; `attentive_probe`, one learned query over the patches."""
    augmentation: Augmentation = Augmentation()
    training: Training | None = None
    """The loop of `finetune` and `attentive_probe`; the other protocols have none."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: bool = True
    """Weight the loss by the inverse class frequency of the training frames; with `knn`, the votes."""
    sampling: Literal["natural", "balanced"] = "natural"
    """Draw each frame once an epoch, or each class equally often in an epoch of the same length."""
    mixup: Annotated[float, Field(ge=0)] = 0.0
    """Blend pairs of frames (Zhang et al., arXiv 1710.09412) by a share from Beta(a, a); 0: never."""
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    """Paste a box of one frame into another (Yun et al., arXiv 1905.04899), its area from Beta(a, a); 0:
    never. With both, half of the batches get each."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay, a step, of a running mean of the weights, which then validates and predicts. It starts low."""
    early_stopping: Positive | None = None
    """Stop after so many epochs without a better one on validation."""
    drop_path: Share = 0.0
    """Stochastic depth of a transformer."""
    selection: Literal["loss", "score"] = "score"
    """Keep the epoch with the lowest validation loss, or the highest primary metric on validation."""
    search: Search | None = None
    """Choose learning rate and layer decay anew in each fold, on training frames alone."""

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneRecipe:
        trains = self.protocol in ("finetune", "attentive_probe")
        if trains and self.training is None:
            raise ValueError(f"`protocol: {self.protocol}` needs `training`")
        unread: tuple[str, ...] = () if self.protocol == "finetune" else FRAMES_ONLY
        unread += () if trains else ("training", *EPOCHS_ONLY)
        fields = type(self).model_fields
        if given := [name for name in unread if getattr(self, name) != fields[name].default]:
            raise ValueError(f"`protocol: {self.protocol}` does not read {', '.join(given)}: remove it")
        if self.sampling == "balanced" and self.class_weights:
            raise ValueError(
                "`sampling: balanced` and `class_weights: true` would count a rare class twice: set one"
            )
        if (self.mixup or self.cutmix) and self.training is not None and self.training.batch_size % 2:
            raise ValueError("mixup and cutmix pair the frames of a batch: make training.batch_size even")
        return self

    def with_setting(self, setting: dict[str, float]) -> FinetuneRecipe:
        """This recipe with the learning rate and layer decay of a candidate, and no search."""
        assert self.training is not None
        return self.model_copy(update={"training": self.training.model_copy(update=setting), "search": None})


Method = Literal["score_cam", "grad_cam", "attention_rollout", "gradient_attention"]


class ExplainRecipe(Strict):
    """Score-CAM (Wang et al., arXiv 1910.01279), and the methods it is compared with. Its layer stands in the
    model's entry, `explain_layer`."""

    title: Text
    methods: Annotated[list[Method], Field(min_length=1)] = ["score_cam"]
    """Maps of the same frames: `score_cam`, `grad_cam`, `attention_rollout`, `gradient_attention`. The
    panels show the first. The last two need a vision transformer; others get `not applicable`."""
    frames_per_class: Positive = 6
    """Frames of each class that are explained, drawn with the study's first seed."""
    score: Literal["logit", "softmax"] = "logit"
    """What a masked frame is judged by: the logit (grad-cam) or the probability of the class."""
    gain: bool = False
    """Judge by how much the score rises above that of the bare baseline (the paper's equation); not with
    `normalisation: softmax`, which would undo it."""
    normalisation: Literal["softmax", "relu", "none"] = "softmax"
    """How the channels' scores become weights: their softmax (the paper, grad-cam), 0 in place of a negative
    one, or as they are (the authors' code)."""
    baseline: Literal["black", "mean"] = "mean"
    """What a mask leaves where it is 0: black, or the mean of the training images (grad-cam's choice)."""
    clusters: Positive | None = None
    """Approximate: group a frame's channels by k-means and score one mask a group; by default every channel
    is scored."""
    batch_size: Positive | None = None
    """Masked frames in a forward pass; by default what suits the device."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the masked frames' passes."""

    @model_validator(mode="after")
    def _consistent(self) -> ExplainRecipe:
        if self.gain and self.normalisation == "softmax":
            raise ValueError(GAIN_WITH_SOFTMAX)
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"`methods` names one more than once: {', '.join(self.methods)}")
        return self


class Recipes(Strict):
    pretrain: dict[str, PretrainRecipe] = {}
    finetune: dict[str, FinetuneRecipe] = {}
    explain: dict[str, ExplainRecipe] = {}


class RecipesFile(Strict):
    recipes: Recipes = Recipes()
