"""Makes a classifier of one model on one fold of one task, by the protocol of its recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from usfmae.corpus.curated import digest
from usfmae.evaluation.estimates import probability_columns, with_decisions
from usfmae.evaluation.metrics import compute
from usfmae.evaluation.splits import assert_disjoint, subsample_subjects
from usfmae.finished import bring_back, keep
from usfmae.models.checkpoints import save_weights
from usfmae.models.classifiers import build_classifier
from usfmae.record import Run, write_table
from usfmae.settings.models import Encoder, Model
from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.settings.training import Training
from usfmae.tracking_live import Tell, live
from usfmae.training.batches import FrameStore
from usfmae.training.features import Features, last_layer
from usfmae.training.loop import fit
from usfmae.training.probes import AttentiveProbe, linear_probe, nearest_neighbours
from usfmae.training.processes import Processes, device_name, processes
from usfmae.training.search import TooFewGroups, search
from usfmae.training.supervised import Frames, Inputs, Trainer


@dataclass
class Fitted:
    """What a protocol leaves."""

    probabilities: np.ndarray
    """`(n, classes)` of the validation, test and hold-out rows."""
    state: dict[str, Tensor]
    history: pd.DataFrame
    metrics: dict[str, float]
    tried: pd.DataFrame | None = None
    """A row a candidate of the search."""


@dataclass
class Fold:
    """One model on one fold, ready to be fitted."""

    task: Task
    model: Model
    recipe: FinetuneRecipe
    encoder: Encoder | None
    weights: Path | None
    store: FrameStore
    table: pd.DataFrame
    """`frame_id, subject, group, label, role` and `target`, the number of the label."""
    seed: int
    at: Processes
    name: str
    fraction: float = 1.0
    """Share of the training subjects that `table` holds."""
    features: Path | None = None
    checkpoints: Path | None = None
    tell: Tell = lambda _row: None
    """Gets each row of the final training's history."""
    scored: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        self.scored = self.table[self.table["role"] != "train"]

    def network(self) -> nn.Module:
        """The model before fine-tuning; what is random in it follows from the seed."""
        torch.manual_seed(self.seed)
        return build_classifier(  # type: ignore[call-overload,no-any-return]
            self.model,
            self.encoder,
            classes=len(self.task.classes),
            size=self.store.size,
            channels=self.store.channels,
            drop_path=self.recipe.drop_path,
            weights=self.weights,
        ).to(self.at.device, memory_format=torch.channels_last)  # a fifth faster for DenseNet on a CPU

    def finetuned(self) -> Fitted:
        """All weights, with the best candidate of the recipe's search if it has one."""

        def candidate(recipe: FinetuneRecipe, table: pd.DataFrame, name: str) -> pd.DataFrame:
            return self._trained(self.network(), self._frames(), recipe, table, name)[1]

        recipe, tried = self.recipe, None
        if recipe.search is not None:
            try:
                recipe, tried = search(recipe, self.table, self.seed, candidate)
            except TooFewGroups as reason:
                if self.fraction == 1:
                    raise
                print(f"{self.name}: {reason}. At {self.fraction:g} of the subjects its own values are used.")
        trainer, history = self._trained(self.network(), self._frames(), recipe, self.table, "final")
        return self._fitted(trainer, history, tried)

    def attentive_probed(self) -> Fitted:
        """A learned query on frozen patches."""
        features = self._features()
        torch.manual_seed(self.seed)
        probe = AttentiveProbe(features.array.shape[2], len(self.task.classes)).to(self.at.device)
        return self._fitted(*self._trained(probe, features, self.recipe, self.table, "final"))

    def linear_probed(self) -> Fitted:
        """Logistic regression, written into the network's last layer."""
        network = self.network()
        probe = linear_probe(self._features(network), self.table, self.scored, self.task, self.recipe)
        last_layer(network).load_state_dict(probe.state)
        return Fitted(probe.probabilities, network.state_dict(), probe.history, {"best_epoch": probe.best})

    def neighbours(self) -> Fitted:
        """Votes of the nearest training frames."""
        probe = nearest_neighbours(self._features(), self.table, self.scored, self.task, self.recipe)
        return Fitted(probe.probabilities, probe.state, probe.history, {"best_epoch": probe.best})

    def _features(self, network: nn.Module | None = None) -> Features:
        if self.features is None:
            raise ValueError(f"`protocol: {self.recipe.protocol}` reads cached features, and none are given")
        return Features(self.features, network or self.network())

    def _frames(self) -> Frames:
        return Frames(self.store, self.recipe.augmentation)

    def _trained(
        self, network: nn.Module, inputs: Inputs, recipe: FinetuneRecipe, table: pd.DataFrame, name: str
    ) -> tuple[Trainer, pd.DataFrame]:
        """(trainer, history). `name` keeps the checkpoints of candidates apart."""
        trainer = Trainer(network, inputs, table, self.task, recipe, self.seed, self.at.device)
        history = fit(
            trainer.work(),
            trainer.training,
            seed=self.seed,
            description=self.name if name == "final" else f"{self.name}, {name}",
            at=self.at,
            checkpoints=self.checkpoints / name.replace(" ", "-") if self.checkpoints else None,
            tell=self.tell if name == "final" else lambda _row: None,
        )
        return trainer, history

    def _fitted(self, trainer: Trainer, history: pd.DataFrame, tried: pd.DataFrame | None = None) -> Fitted:
        metrics: dict[str, float] = {"best_epoch": trainer.best_epoch}
        if self.recipe.search is not None:
            chosen = {key: getattr(trainer.training, key) for key in ("learning_rate", "layer_decay")}
            metrics |= {f"chosen_{key}": value for key, value in chosen.items()}
            metrics["searched"] = float(tried is not None)
        probabilities = trainer.predict_best(self.scored)
        return Fitted(probabilities, trainer.best_state, history, metrics, tried)


FIT = {
    "finetune": Fold.finetuned,
    "linear_probe": Fold.linear_probed,
    "knn": Fold.neighbours,
    "attentive_probe": Fold.attentive_probed,
}


def finetune(
    task: Task,
    model: Model,
    recipe: FinetuneRecipe,
    *,
    wildcards: dict[str, Any],
    encoder: Encoder | None,
    corpus: Path,
    folds: Path,
    weights: Path | None,
    simulated: bool,
    out: Path,
    features: Path | None = None,
    checkpoints: Path | None = None,
    gpus: int = 0,
) -> None:
    """Writes `predictions.parquet`, `history.parquet`, `model.safetensors` and `run.json` into `out`, and
    `search.csv` where the recipe has a search.

    `wildcards` are task, model, recipe, fraction, seed and fold. What is kept is the best on the validation
    frames; test and hold-out frames are looked at once, at the end. A protocol on frozen weights reads
    `features` (`usfmae.training.features`). An interrupted run continues from `checkpoints`, where at the end
    second names of the outputs alone stay (`finished`). `gpus` is the number that the job asked its scheduler
    for. Raises SplitError where a group stands on two sides, TrainingError where a loss is not finite
    or the features are another encoder's, SystemExit(75) after a TERM signal.
    """
    parameters = {"model": model.effective(), "recipe": recipe.effective(), "task": task.effective()}
    if encoder is not None:
        parameters["encoder"] = encoder.effective()
    run = Run("finetune", out, wildcards=wildcards, parameters=parameters)
    seed, number = int(wildcards["seed"]), int(wildcards["fold"])
    table = pd.read_parquet(folds)
    table = table[table["fold"] == number].reset_index(drop=True)
    if getattr(task.split, "leaks", "refused") == "refused":
        assert_disjoint(table)
    table = subsample_subjects(table, float(wildcards["fraction"]), seed)
    table = table.assign(target=table["label"].map({c: i for i, c in enumerate(task.classes)}))
    inputs = [folds, *(path for path in (weights, features) if path)]
    curated = [corpus / dataset for dataset in task.datasets]
    frames = [folder / name for folder in curated for name in ("frames.npy", "frames.parquet")]
    side = checkpoints and checkpoints / _identity(parameters, wildcards, inputs + frames)
    if side is not None and bring_back(side, out):
        return
    fold = Fold(
        task,
        model,
        recipe,
        encoder,
        weights,
        FrameStore(curated),
        table,
        seed,
        _here(recipe.training, gpus),
        name=f"fine-tuning {model.title}, fold {number}",
        fraction=float(wildcards["fraction"]),
        features=features,
        checkpoints=side,
    )
    with live(run) as fold.tell:
        fitted = FIT[recipe.protocol](fold)
    predictions = fold.scored[["frame_id", "subject", "group", "role", "label"]].assign(
        **{f"probability_{name}": fitted.probabilities[:, i] for i, name in enumerate(task.classes)}
    )
    outputs = [out / name for name in ("predictions.parquet", "history.parquet", "model.safetensors")]
    write_table(outputs[0], predictions)
    write_table(outputs[1], fitted.history)
    save_weights(outputs[2], fitted.state)
    (out / "search.csv").unlink(missing_ok=True)  # of an earlier recipe of this name
    if fitted.tried is not None:
        outputs.append(out / "search.csv")
        write_table(outputs[3], fitted.tried)
    roles = table["role"].value_counts().to_dict()
    subjects = table.groupby("role")["subject"].nunique().add_prefix("subjects_").to_dict()
    run.finish(
        metrics={**fitted.metrics, **_final_metrics(predictions, task)},
        counts={**roles, **subjects},
        inputs=inputs,
        outputs=outputs,
        simulated=simulated,
        device=device_name(fold.at.device),
    )
    if side is not None:
        keep(side, [*outputs, out / "run.json"])


def _here(training: Training | None, gpus: int) -> Processes:
    """Where this runs: on a CPU where nothing is trained by steps."""
    if training is None:
        return Processes(torch.device("cpu"))
    with processes(training, gpus) as at:
        return at


def _identity(parameters: dict[str, Any], wildcards: dict[str, Any], inputs: list[Path]) -> str:
    """Names the checkpoints of this run, so that no changed run continues an old one."""
    content = json.dumps([parameters, wildcards, [digest(path) for path in inputs]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _final_metrics(predictions: pd.DataFrame, task: Task) -> dict[str, float]:
    """`test_auc`, `holdout_f1_macro`, … at frame level, with the threshold that the statistics use: of two
    classes, the one with the highest Youden index on the validation rows."""
    classes = list(task.classes)
    decided = with_decisions(predictions.assign(model="", seed=0, fold=0), classes, task.positive)
    metrics: dict[str, float] = {}
    for role, rows in decided.groupby("role"):
        probabilities = rows[probability_columns(classes)].to_numpy()
        threshold = float(rows["threshold"].iloc[0])
        found = compute(rows["label"].to_numpy(), probabilities, classes, task.positive, threshold)
        metrics |= {f"{role}_{name}": value for name, value in found.items()}
    return metrics
