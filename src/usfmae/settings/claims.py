"""`config/claims.yaml`: what the papers claim, what would settle it, and whose results may answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.settings.base import Strict, Text
from usfmae.settings.models import Positive
from usfmae.settings.tasks import Task

#: The metrics of `summary.csv`. Of two classes there is `f1` too; of more, some have a value of each class.
METRICS = (
    *("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "precision_weighted"),
    *("recall", "f1_macro", "f1_weighted", "auc", "average_precision", "kappa", "brier"),
    "expected_calibration_error",
)
OF_A_CLASS = ("sensitivity", "specificity", "precision", "f1", "auc")


def metrics_of(task: Task | None) -> list[str]:
    """The names of the metrics that a task has; without a task, those that every task has."""
    if task is None:
        return list(METRICS)
    if len(task.classes) == 2:
        return [*METRICS, "f1"]
    return [*METRICS, *(f"{metric}_{name}" for metric in OF_A_CLASS for name in task.classes)]


class Paper(Strict):
    """One of the papers."""

    title: Text
    reference: Text
    """arXiv number, journal."""
    read: Text
    """What of it could be read when the claims were taken from it."""


class ClaimedModel(Strict):
    """A model that a paper speaks of, and what an entry of models.yaml must be to answer for it."""

    title: Text
    published: list[str]
    """Keys of `models` that stand for it as published; the first one with a result is taken."""
    corrected: list[str] = []
    """Keys of `models` that do the same with the doubts put right."""
    width: Positive | None = None
    """Length of a token of its vision transformer."""
    depth: Positive | None = None
    """Number of blocks of it."""
    timm: str | None = None
    """Or its architecture in timm, without the tag of the weights."""
    openus46: Annotated[int, Field(ge=1, le=46)] | None = None
    """Fewest datasets of OpenUS-46 that must have been at hand for the pretraining of an encoder of ours."""
    least_size: Positive | None = None
    """Least side of a frame, in pixels."""
    needs: Text
    """What a person must get so that it can be run."""

    @model_validator(mode="after")
    def _one_architecture(self) -> ClaimedModel:
        if (self.timm is None) == (self.width is None or self.depth is None):
            raise ValueError("give either `timm` or both `width` and `depth`: what it must be")
        return self


class Claim(Strict):
    """One figure, or one ordinal or qualitative statement. What is not known is null or says so."""

    says: Text
    """The claim in our own words."""
    paper: str
    """A key of `papers`."""
    section: Text
    """Where the paper says it."""
    kind: Literal["figure", "difference", "order", "qualitative", "count"]
    """`figure`: a value of one model; `difference`: model less baseline; `order`: model above or close to
    baselines; `count`: a number of images, datasets or regions."""
    task: str | None = None
    """A key of `tasks`; null where the workflow has no such task or the claim is about none."""
    task_corrected: str | None = None
    """A key of `tasks`: the same with the doubts about its split put right, for the corrected arm; null: the
    same task in both arms."""
    part: Literal["cross-validation", "hold-out"] | None = None
    """The part that was judged; null: not known."""
    model: str | None = None
    """A key of `claimed_models`."""
    baselines: list[str] = []
    """Keys of `claimed_models`."""
    metrics: list[str] = []
    """Metrics of `summary.csv`. Where the averaging is unknown they are candidates for the one that is meant;
    else all are meant."""
    averaging: Literal["not needed", "known", "inferred", "unknown"] = "not needed"
    """Whether it is known how a metric of several classes was averaged."""
    published: float | None = None
    """As printed, in `unit`."""
    rounding: Annotated[float, Field(ge=0)] = 0.0
    """One unit of its last printed digit."""
    unit: Literal["percent", "share", "percent or points", "p", "images", "datasets", "regions"] | None = None
    """`percent or points`: a gain in %, of which it is not told whether it is relative or in points."""
    direction: Literal["above", "close"] | None = None
    """Of an order: what the model is to its baselines."""
    more_than: bool = False
    """Of a count: the published number is a lower bound."""
    counted: Literal["frames of the task", "datasets of OpenUS-46", "frames of OpenUS-46"] | None = None
    """Of a count: what of ours it is set against."""
    outlined: Text | None = None
    """Of a statement about Score-CAM maps: the structure that masks must outline to test it, in the words of
    the task's `outlines`."""
    protocol: Literal["known", "inferred", "unknown"]
    """Whether it is known how the figure was made: split, unit, training."""
    protocol_note: Text = ""
    incomparable: Text | None = None
    """Why no result could answer the claim as it stands."""
    settled_by: Text
    """The test that would settle it."""
    data: Literal["public", "private", "none"]
    """Whether the images can be had; `none`: it needs no images."""
    needs: Text
    """The data it needs."""
    seen: Literal["yes", "likely", "no", "unknown"] | None = None
    """Whether the test images were seen in the paper's pretraining, without labels; null: no test images."""
    seen_because: Text = ""

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        if self.kind in ("figure", "difference", "count") and (self.published is None or self.unit is None):
            raise ValueError(f"a {self.kind} has `published` and `unit`")
        if (self.kind == "order") != (self.direction is not None):
            raise ValueError("`direction` belongs to `kind: order`, and that needs it")
        if self.kind in ("difference", "order") and not (self.model and self.baselines):
            raise ValueError(f"`kind: {self.kind}` needs `model` and `baselines`")
        if self.kind in ("figure", "difference", "order") and not (self.metrics or self.incomparable):
            raise ValueError("say which of our `metrics` it is, or why it is `incomparable`")
        if self.seen is not None and not self.seen_because:
            raise ValueError("`seen` needs its reason, `seen_because`")
        if self.seen is None and self.task is not None and self.kind != "count":
            raise ValueError("it has test images: say whether they were `seen` (yes, likely, no, unknown)")
        if self.task_corrected is not None and self.task is None:
            raise ValueError("`task_corrected` needs `task`, which it puts right")
        return self

    def task_of(self, arm: str) -> str | None:
        """The task that an arm, `published` or `corrected`, is judged on."""
        return (self.task_corrected if arm == "corrected" else None) or self.task

    def share(self, value: float) -> float:
        """A published value as a share, 0 to 1, where it is printed in %."""
        return value / 100 if self.unit in ("percent", "percent or points") else value


class Verdicts(Strict):
    """The two numbers that the rule of the verdict needs (docs/claims.md)."""

    widest_interval: Annotated[float, Field(gt=0, le=1)] = 0.2
    """A wider interval answers nothing: the claim cannot be tested with so few."""
    close: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Two models are close where the interval of their difference lies within this of zero."""


class ClaimsFile(Strict):
    papers: dict[str, Paper] = {}
    claimed_models: dict[str, ClaimedModel] = {}
    verdicts: Verdicts = Verdicts()
    claims: dict[str, Claim] = {}
