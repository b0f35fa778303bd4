"""The model as MLflow loads and serves it: its code, which is copied into the folder of an export.

`mlflow.pyfunc.load_model("results/export/<task>/<model>")`. A row of the input is a file: `name`, whose
ending says the format, and `image`, its bytes (base64 in JSON). The output is that of `usfmae predict`.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from usfmae.deployment.predictor import Predictor


class Served(PythonModel):  # type: ignore[misc]  # MLflow types it as Any
    """A predictor behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        self.predictor = Predictor.load(Path(__file__).parent)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """A row a frame of each file; `path` is the name that was given."""
        names: dict[str, str] = {}
        with TemporaryDirectory() as folder:
            for number, (name, content) in enumerate(
                zip(model_input["name"], model_input["image"], strict=True)
            ):
                # Of the name only the ending is used: it came over the network.
                file = Path(folder, f"{number}{''.join(Path(name).suffixes[-2:])}")
                file.write_bytes(content)
                names[str(file)] = name
            tables = list(self.predictor.predict(map(Path, names)))
        table = pd.concat(tables, ignore_index=True)
        return table.assign(path=table["path"].map(names))


set_model(Served())
