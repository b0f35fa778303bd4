"""Published weights on this machine: fetched by the transfer code of the datasets, found by `fetched.json`.

`resources/weights/<checkpoint>/` is laid out as `resources/<dataset>/` is (docs/contracts.md): in `archives/`
lies the file as downloaded, or put there by a person. Light to import: Snakemake loads it at each start.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from usfmae.corpus.download.fetch import DOWNLOAD, fetch, listing_digest
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset, Licence
from usfmae.settings.models import Checkpoint


class MissingWeights(Exception):
    """Weights that a model promises are not on this machine; the message says which, and what to do."""


def fetch_weights(
    name: str, checkpoint: Checkpoint, folder: Path, download: Download = DOWNLOAD, lock: Path | None = None
) -> dict[str, Any]:
    """Fetches a checkpoint into `folder` and writes `folder/fetched.json`, which it returns.

    As `usfmae.corpus.download.fetch.fetch`: checksums are compared or pinned, and weights that cannot be had
    have `status: unavailable` and a `reason` in one line, with where to put the file by hand.
    """
    return fetch(name, as_release(checkpoint), folder, download, lock)


def weights_listing(checkpoint: Checkpoint, folder: Path) -> str:
    """Changes when a person's file appears, vanishes or changes; empty where there is none."""
    return listing_digest(as_release(checkpoint), folder)


def weights_of(path: Path) -> Path:
    """The weights that a `fetched.json` stands for: its one file, or the folder of several (Hugging Face).

    Any other path is returned as it is. Raises MissingWeights where they are not here.
    """
    if path.name != "fetched.json":
        return path
    if reason := _missing(path):
        raise MissingWeights(f"the weights {path.parent.name} are missing: {reason}")
    fetched = json.loads(path.read_text(encoding="utf-8"))
    root = path.parent / fetched["root"]
    files = [root / entry["path"] for entry in fetched["files"]]
    return files[0] if len(files) == 1 else root


def missing_weights(resources: Path, checkpoints: Iterable[str]) -> dict[str, str]:
    """Checkpoint → why its weights are not on this machine; those that are here are left out.

    `resources` is the folder of that name. A model that starts from one of them is not run.
    """
    reasons = {name: _missing(resources / "weights" / name / "fetched.json") for name in checkpoints}
    return {name: reason for name, reason in reasons.items() if reason}


def _missing(fetched: Path) -> str | None:
    """Why there are no weights, or None where they lie here."""
    if not fetched.is_file():
        return f"{fetched} is not there: run `snakemake {fetched}`"
    content = json.loads(fetched.read_text(encoding="utf-8"))
    if content["status"] != "available":
        return str(content["reason"])
    files = [fetched.parent / content["root"] / entry["path"] for entry in content["files"]]
    gone = next((file for file in files if not file.is_file()), None)
    return f"{gone} is gone: delete {fetched} and start the same command again" if gone else None


def as_release(checkpoint: Checkpoint) -> Dataset:
    """A checkpoint is a release of one file, or of a folder."""
    return Dataset(
        title=checkpoint.title,
        anatomy="none",
        access=checkpoint.access,
        licence=Licence(name=checkpoint.licence),
        citation="none",
    )
