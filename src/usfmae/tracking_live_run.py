"""The run that a training has on an MLflow server until `track` writes the one of its record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from usfmae.record import Run
from usfmae.tracking_content import of_epochs, parameters_of
from usfmae.tracking_names import experiment_of, name_of
from usfmae.tracking_store import LIVE, Store


class LiveRun:
    """A run with the key of its record to come and the tag `usfmae.live`."""

    def __init__(self, run: Run, address: str) -> None:
        """Makes the run, and takes those out of sight that earlier attempts left."""
        self._store = Store(run.results.resolve(), address)
        for old in self._store.runs(run.key).get(run.key, []):
            if old.data.tags.get(LIVE) == "true":
                self._store.discard(old)
        content = of_epochs([], _now())
        content.params = parameters_of({"wildcards": run.wildcards, "parameters": run.parameters})
        content.tags = {"usfmae.stage": run.stage}
        identity = {"usfmae.key": run.key, LIVE: "true"}
        self._id = self._store.begin(experiment_of(run.key), name_of(run.key), content, identity)

    def send(self, rows: Iterable[Mapping[str, Any]], status: str | None) -> None:
        """Adds epochs, and ends the run where a status is given."""
        self._store.add(self._id, of_epochs(rows, _now()))
        if status is not None:
            self._store.end(self._id, _now(), status)


def _now() -> int:
    """Milliseconds since 1970."""
    return round(time.time() * 1000)
