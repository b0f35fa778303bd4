"""A fine-tuned fold as a folder that travels: weights, preprocessing, card, ONNX, and an MLflow model."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import usfmae
from usfmae.deployment.card import card
from usfmae.deployment.from_run import predictor_of_run
from usfmae.deployment.predictor import Predictor
from usfmae.record import Run
from usfmae.settings import Settings
from usfmae.training.batches import normalise

PACKAGE = Path(usfmae.__file__).parent
#: What `usfmae.deployment.served` imports, directly or through what it imports.
REQUIREMENTS = (
    *("av", "h5py", "mlflow", "numpy", "opencv-python-headless", "pandas", "pillow", "pyarrow", "pydantic"),
    *("pydicom", "pyyaml", "safetensors", "scikit-learn", "scipy", "simpleitk", "timm", "torch", "tqdm"),
)


def export(run: Path, settings: Settings, *, wildcards: dict[str, Any], summary: Path, out: Path) -> None:
    """Writes the folder `out`, as docs/predict.md describes it, from the fine-tuned fold in `run`.

    `summary` is the task's `summary.csv`. What was in `out` before is replaced as a whole.
    Raises ModelError where the run cannot be used.
    """
    parameters = {"corpus": settings.corpora[settings.tasks[wildcards["task"]].corpus].effective()}
    record = Run("export", out, wildcards=wildcards, parameters=parameters)
    told = json.loads((run / "run.json").read_text(encoding="utf-8"))
    predictor = predictor_of_run(run, settings)
    with _replacing(out) as folder:
        save_mlflow(folder)
        predictor.save(folder)
        save_onnx(predictor, folder / "model.onnx")
        text = card(
            predictor,
            settings,
            task=wildcards["task"],
            model=wildcards["model"],
            record=told,
            summary=pd.read_csv(summary),
            split=json.loads((run.parents[4] / "folds.json").read_text(encoding="utf-8")),
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
    record.finish(
        metrics={"temperature": predictor.temperature, "distance_threshold": predictor.distance.threshold},
        inputs=[run / "model.safetensors", run / "predictions.parquet", summary],
        outputs=[out / name for name in ("model.safetensors", "features.safetensors", "model.onnx")],
        simulated=told["simulated"],
    )


class _Judge(nn.Module):
    """float32 frames `(N, C, S, S)` from 0 to 1 → probabilities `(N, classes)`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        return self.network(normalise(frames)).softmax(dim=1)


def save_onnx(predictor: Predictor, path: Path) -> None:
    """The network with normalisation and softmax as one ONNX file; any number of frames."""
    corpus = predictor.corpus
    example = torch.zeros(2, corpus.channels, corpus.size, corpus.size)
    program = torch.onnx.export(
        _Judge(copy.deepcopy(predictor.network).cpu()).eval(),
        (example,),
        input_names=["frames"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()  # where it came from: paths of this machine
    program.save(path, external_data=False)


def save_mlflow(folder: Path) -> None:
    """Makes the empty `folder` an MLflow model from code; it holds this package's code and no pickle."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in REQUIREMENTS}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example.*")  # it would be an image
        mlflow.pyfunc.save_model(
            folder,
            python_model=str(PACKAGE / "deployment" / "served.py"),
            code_paths=[str(PACKAGE)],
            pip_requirements=[f"{name}=={version}" for name, version in versions.items()],
            signature=ModelSignature(Schema([ColSpec("string", "name"), ColSpec("binary", "image")])),
        )
    described = folder / "MLmodel"  # names the file by its path on this machine; MLflow reads its name alone
    described.write_text(described.read_text(encoding="utf-8").replace(f"{PACKAGE}/", "code/usfmae/"))


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yields a folder to be made, beside `out`; it takes the place of `out` on success."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".writing-", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        yield folder
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
