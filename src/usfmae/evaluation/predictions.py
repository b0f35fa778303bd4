"""Reads the predictions of many runs into one table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from usfmae.record import as_recorded

#: Why a model has no results, the same words in every table.
NOT_RUN = "not run (weights missing)"

_RUN = re.compile(r"/(?P<model>[^/]+)/[^/]+/fraction-[^/]+/seed-(?P<seed>\d+)/fold-(?P<fold>\d+)/[^/]+$")


def read_predictions(paths: list[Path]) -> pd.DataFrame:
    """The rows of all `predictions.parquet` with `model`, `seed` and `fold` from their paths.

    Raises ValueError where there is none, where a path is not that of a run's predictions, and where a file
    is not what its run wrote.
    """
    if not paths:
        raise ValueError(f"no predictions: every model of the study was {NOT_RUN}")
    tables = []
    for path in paths:
        found = _RUN.search(path.as_posix())
        if found is None:
            raise ValueError(f"{path}: not …/<model>/<recipe>/fraction-…/seed-…/fold-…/predictions.parquet")
        run = {"model": found["model"], "seed": int(found["seed"]), "fold": int(found["fold"])}
        tables.append(pd.read_parquet(as_recorded(path)).assign(**run))
    return pd.concat(tables, ignore_index=True)
