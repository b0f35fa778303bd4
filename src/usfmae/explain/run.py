"""Explains one trained fold of one model: chosen frames, their maps by each method, and how far to believe
them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from usfmae.corpus.curated import read_rows
from usfmae.evaluation.estimates import with_decisions
from usfmae.evaluation.predictions import files_as_subjects, read_predictions, with_unknown_patients
from usfmae.explain import faithfulness
from usfmae.explain.attention import NotApplicable
from usfmae.explain.localisation import centred_gaussian
from usfmae.explain.methods import maps_by
from usfmae.explain.selection import select
from usfmae.models.channels import MEAN, STD
from usfmae.models.checkpoints import load_weights
from usfmae.models.classifiers import build_classifier
from usfmae.record import Run, atomic, write_table
from usfmae.settings.models import Encoder, Model
from usfmae.settings.recipes import ExplainRecipe
from usfmae.settings.tasks import Task
from usfmae.training.batches import FrameStore, normalise, to_float

OUTPUTS = ["maps.npz", "selection.parquet", "measures.parquet", "curves.csv", "faithfulness.csv"]
#: Columns of the selection that stand beside the measures of a frame.
_FRAME = ["frame_id", "subject", "label", "predicted", "outcome", "cell", "score", "probability_of_label"]


def explain(
    task: Task,
    model: Model,
    recipe: ExplainRecipe,
    *,
    wildcards: dict[str, Any],
    encoder: Encoder | None,
    corpus: Path,
    run: Path,
    seed: int,
    simulated: bool,
    out: Path,
) -> None:
    """Writes into `out` what docs/contracts.md lists under "explain", but the figures.

    `run` is the folder of the fine-tuned fold. Explained are hold-out frames where the task has a
    hold-out, else the fold's test frames: never frames the model was trained or selected on. Runs on the GPU
    where there is one.
    """
    record = Run("explain", out, wildcards=wildcards, parameters={"recipe": recipe.effective()})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    store = FrameStore([corpus / dataset for dataset in task.datasets])
    chosen = select(_explainable(run, task, store), recipe.frames_per_class, seed, task.positive)
    rows = store.rows(chosen["frame_id"])
    pictures = store.gather(rows)
    targets = torch.tensor([list(task.classes).index(name) for name in chosen["target"]], device=device)
    network = build_classifier(
        model.model_copy(update={"weights": "scratch", "pretrain": None, "checkpoint": None}),
        encoder,
        classes=len(task.classes),
        size=store.size,
        channels=store.channels,
    )
    network.load_state_dict(load_weights(run / "model.safetensors"))
    explained = Explained(
        network=network.eval().to(device),
        frames=normalise(to_float(pictures.to(device))),
        targets=targets,
        masks=read_rows(corpus, store.table.iloc[rows], "masks.npy"),
        chosen=chosen,
        recipe=recipe,
        layer=model.explain_layer,
        baseline=_baseline(recipe, store.channels, device),
        seed=seed,
    )
    maps, table, measures, curves = explained.checked()
    with atomic(out / "maps.npz") as temporary:
        np.savez(temporary, **maps)  # type: ignore[arg-type]
    grey = store.channels == 1
    _save(out / "inputs.npy", (pictures[:, 0] if grey else pictures.permute(0, 2, 3, 1)).numpy())
    _save(out / "masks.npy", explained.masks)
    tables = {"selection.parquet": chosen, "measures.parquet": measures}
    for name, written in (tables | {"curves.csv": curves, "faithfulness.csv": table}).items():
        write_table(out / name, written)
    record.finish(
        metrics={_metric(row, recipe.methods[0]): row["value"] for row in _measured(table)},
        counts={"frames": len(chosen), "subjects": chosen["subject"].nunique()},
        inputs=[run / "model.safetensors", run / "predictions.parquet"],
        outputs=[out / name for name in OUTPUTS],
        simulated=simulated,
    )


@dataclass(frozen=True)
class Explained:
    """A trained network and the frames that are explained."""

    network: nn.Module
    frames: Tensor
    """(n, C, H, W), normalised."""
    targets: Tensor
    """(n,): the class whose evidence the map shows."""
    masks: np.ndarray
    """(n, H, W), 0 or 1."""
    chosen: pd.DataFrame
    """What `select` gives, a row a frame."""
    recipe: ExplainRecipe
    layer: str | None
    baseline: Tensor | float
    seed: int

    def checked(self) -> tuple[dict[str, np.ndarray], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """The maps (n, H, W) of each method that applies, the table of faithfulness, all measures by frame,
        and the mean curves of deletion and insertion."""
        shuffled = faithfulness.randomised(self.network, self.seed)
        blob = np.broadcast_to(centred_gaussian(*self.masks.shape[1:]), self.masks.shape)
        maps: dict[str, np.ndarray] = {}
        reference, curves = self._measured(blob)
        tables, measures = [], [self._by_frame(faithfulness.GAUSSIAN, reference)]
        drawn = [_mean_curves(faithfulness.GAUSSIAN, curves)]
        for method in self.recipe.methods:
            try:
                found = self._maps(method, self.network)
            except NotApplicable as error:
                tables.append(faithfulness.not_applicable(method, str(error)))
                continue
            ours, curves = self._measured(found)
            likeness = faithfulness.rank_correlation(found, self._maps(method, shuffled))
            ours = ours.assign(**{faithfulness.CORRELATION: likeness})
            beside = reference.assign(
                **{faithfulness.CORRELATION: faithfulness.rank_correlation(found, blob)}
            )
            tables.append(faithfulness.faithfulness_table(method, ours, beside, self.chosen, self.seed))
            maps[method] = found
            measures.append(self._by_frame(method, ours))
            drawn.append(_mean_curves(method, curves))
        table = pd.concat(tables).astype({"n_frames": "Int64", "n_subjects": "Int64"})
        if files_as_subjects(self.chosen):
            table = with_unknown_patients(table)
        return maps, table, pd.concat(measures), pd.concat(drawn)

    def _maps(self, method: str, network: nn.Module) -> np.ndarray:
        return maps_by(
            method,
            network,
            self.frames,
            self.targets,
            self.recipe,
            layer=self.layer,
            baseline=self.baseline,
        )

    def _measured(self, maps: np.ndarray) -> tuple[pd.DataFrame, faithfulness.Curves]:
        @torch.inference_mode()
        def predict(images: Tensor) -> Tensor:
            return self.network(images).softmax(dim=1)

        return faithfulness.measure(
            predict, self.frames, maps, self.masks, self.targets, seed=self.seed, baseline=self.baseline
        )

    def _by_frame(self, method: str, measures: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([self.chosen[_FRAME].assign(method=method), measures], axis=1)


def _mean_curves(method: str, curves: faithfulness.Curves) -> pd.DataFrame:
    """`method, curve, share, probability`: the mean over frames at each share of pixels replaced."""
    means = {name: values.mean(axis=0) for name, values in curves.items()}
    return pd.concat(
        pd.DataFrame(
            {"method": method, "curve": name, "share": np.linspace(0, 1, len(mean)), "probability": mean}
        )
        for name, mean in means.items()
    )


def _measured(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table.dropna(subset="value").to_dict("records")


def _metric(row: dict[str, Any], first: str) -> str:
    """Name of a figure in the run record: methods after the first stand before a slash."""
    name = str(row["measure"]).replace(" ", "_")
    return name if row["method"] == first else f"{row['method']}/{name}"


def _explainable(run: Path, task: Task, store: FrameStore) -> pd.DataFrame:
    """The run's hold-out rows, or its test rows, with `has_mask` and `predicted` by the threshold."""
    classes = list(task.classes)
    predictions = with_decisions(read_predictions([run / "predictions.parquet"]), classes, task.positive)
    predictions["predicted"] = np.array(classes, dtype=object)[predictions["predicted"]]
    role = "holdout" if (predictions["role"] == "holdout").any() else "test"
    predictions = predictions[predictions["role"] == role].reset_index(drop=True)
    has_mask = store.table["has_mask"].to_numpy()[store.rows(predictions["frame_id"])]
    return predictions.assign(has_mask=has_mask)


def _baseline(recipe: ExplainRecipe, channels: int, device: torch.device) -> Tensor | float:
    """What a mask leaves, in normalised units: 0 is the mean, −mean / std is black."""
    if recipe.baseline == "mean":
        return 0.0
    return -(torch.tensor(MEAN[channels]) / torch.tensor(STD[channels])).view(-1, 1, 1).to(device)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic(path) as temporary:
        np.save(temporary, array)
