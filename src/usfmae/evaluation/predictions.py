"""Reads the predictions of many runs into one table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from usfmae.record import as_recorded

#: Why a model has no results, the same words in every table.
NOT_RUN = "not run (weights missing)"

_RUN = re.compile(r"/(?P<model>[^/]+)/[^/]+/fraction-[^/]+/seed-(?P<seed>\d+)/fold-(?P<fold>\d+)/[^/]+$")


def files_as_subjects(predictions: pd.DataFrame) -> int:
    """How many subjects are but a file: where no patient is told, curation names the subject after the file
    (`<dataset>/<path>`, and the frame `<dataset>/<path>#<number>`)."""
    file = predictions["frame_id"].str.rpartition("#")[0]
    return int(predictions.loc[file == predictions["subject"], "subject"].nunique())


def with_unknown_patients(table: pd.DataFrame) -> pd.DataFrame:
    """A table of results in which files counted as subjects: it gives no number of subjects, and says so."""
    table = table.assign(n_subjects=pd.array([pd.NA] * len(table), dtype="Int64"))
    if "interval" in table:
        said = table["interval"].str.replace("of the subjects", "of the files, patients unknown")
        table = table.assign(interval=said)
    return table


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
