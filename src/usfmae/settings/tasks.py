"""`config/tasks.yaml`: one entry a task: data, classes, split, and the metric declared before any result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from usfmae.settings.base import NO_EFFECT, Strict, Text

Metric = Literal[
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "f1_macro", "f1_weighted", "auc"
]


class GroupedSplit(Strict):
    """Stratified folds grouped by subject and duplicates, and an optional hold-out fixed once."""

    kind: Literal["grouped"]
    folds: Annotated[int, Field(ge=2)]
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each class's groups that no fold ever sees."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of each class's groups outside the test fold, used for selection and the threshold."""
    seed: int = 0


class OfficialSplit(Strict):
    """The release's own folds or parts, with the inner validation rebuilt by group, or a part too."""

    kind: Literal["official"]
    holdout_split: str | None = None
    """Value of the official split column that is the hold-out."""
    test_split: str | None = None
    """Value of that column that one fold tests: the official training, validation and test part."""
    validation_split: str | None = None
    """Value of that column that is the one fold's validation part; without it, the part is drawn by group."""
    folds: Annotated[int, Field(ge=1)]
    """Number of the release's folds; where it has none, of the grouped folds outside the hold-out; with
    `test_split`, 1."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: int = 0
    leaks: Literal["refused", "reported"] = "refused"
    """What to do where the official split cuts a group: stop, or count it beside every result."""
    tied: Literal["keep", "drop"] = "keep"
    """Frames of a group that the official split cuts: kept, or left out of all parts and counted."""

    @model_validator(mode="after")
    def _parts(self) -> OfficialSplit:
        if self.test_split is None:
            if self.folds == 1:
                raise ValueError("one fold needs `test_split`: the official part that it tests")
            if self.validation_split is not None:
                raise ValueError(
                    "`validation_split` needs `test_split`: folds have no common validation part"
                )
        elif self.folds != 1:
            raise ValueError(f"`test_split` makes one fold, not {self.folds}: say `folds: 1`")
        elif self.holdout_split is not None:
            raise ValueError(
                "a part is tested by one fold (`test_split`) or by all (`holdout_split`), not both"
            )
        elif self.test_split == self.validation_split:
            raise ValueError(f"`test_split` and `validation_split` are the same part, {self.test_split!r}")
        if self.tied == "drop" and self.leaks == "reported":
            raise ValueError(
                "`tied: drop` leaves no group cut, so there is nothing to report: remove `leaks`"
            )
        return self


class Task(Strict):
    """One classification task."""

    title: Text
    corpus: str
    """A key of `corpora` in config.yaml."""
    datasets: list[str]
    classes: dict[str, list[str]]
    """Class name, in order → the release's labels that belong to it. Labels not named are left out."""
    positive: str | None = None
    """The class that sensitivity is about; needed where there are two classes."""
    metric: Metric = "auc"
    """The primary metric, declared before any result."""
    split: Annotated[GroupedSplit | OfficialSplit, Field(discriminator="kind")]
    subgroup: Annotated[str | None, NO_EFFECT] = None
    """A column of the release's table, for example the device: results are also given for each value."""
    outlines: Annotated[Text | None, NO_EFFECT] = None
    """What the datasets' masks outline, in the words of the claim that they can test (claims.yaml,
    `outlined`); null: not said."""
    notes: Text = ""
    """Known doubts, printed beside the results."""

    @model_validator(mode="after")
    def _classes(self) -> Task:
        if len(self.classes) < 2:
            raise ValueError("a task needs at least two classes")
        taken = sorted({"macro", "weighted"} & self.classes.keys())
        if taken:
            raise ValueError(
                f"a class cannot be called {taken[0]!r}: f1_{taken[0]} is the mean over the classes"
            )
        if len(self.classes) == 2 and self.positive is None:
            raise ValueError("two classes: say which one is `positive`")
        if self.positive is not None and self.positive not in self.classes:
            raise ValueError(f"positive {self.positive!r} is not one of the classes {list(self.classes)}")
        labels = [label for values in self.classes.values() for label in values]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ValueError(f"labels in two classes: {sorted(twice)}")
        return self


class TasksFile(Strict):
    tasks: dict[str, Task] = {}
