"""What datasets need is shown against what is free; what does not fit is refused before its first byte."""

from __future__ import annotations

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stand_in import stand_in

from usfmae.corpus.download import space
from usfmae.corpus.download.catalogues import FileToFetch
from usfmae.corpus.download.fetch import fetch
from usfmae.corpus.download.space import need_room, space_table, space_text
from usfmae.corpus.download.unavailable import Unavailable
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset

URL = "https://data.example.org/scans.zip"


def dataset(**more: Any) -> Dataset:
    access = {"host": "http", "files": [{"name": "scans.zip", "url": URL}]}
    licence = {"name": "CC-BY-4.0", "use": "open"}
    entry = {
        "title": "A release",
        "anatomy": "mixed",
        "access": access,
        "licence": licence,
        "citation": "none",
    }
    return Dataset.model_validate(entry | more)


DATASETS = {
    "small": dataset(bytes=2_000_000_000, unpacked_bytes=3_000_000_000),
    "huge": dataset(bytes=10_000_000_000, unpacked_bytes=105_000_000_000),
    "unknown": dataset(),
    "made": dataset(access={"host": "simulated", "anatomy": "neck", "subjects": {"normal": 1}}),
}


@pytest.fixture(autouse=True)
def eight_gigabytes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=8_000_000_000)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage)


def test_what_is_not_known_stays_unknown(tmp_path: Path) -> None:
    table = space_table(DATASETS, tmp_path).set_index("dataset")
    assert list(table.index) == ["small", "huge", "unknown"]
    assert (table.at["small", "download_gb"], table.at["small", "unpacked_gb"]) == (2, 3)
    assert math.isnan(table.at["unknown", "download_gb"])
    assert space_table({}, tmp_path).empty


def test_the_sizes_of_the_files_stand_in_for_that_of_the_dataset(tmp_path: Path) -> None:
    files = [{"name": name, "url": URL, "bytes": 500_000_000} for name in ("a.zip", "b.zip")]
    table = space_table({"x": dataset(access={"host": "http", "files": files})}, tmp_path)
    assert table.at[0, "download_gb"] == 1


def test_what_is_on_disk_already_is_counted(tmp_path: Path) -> None:
    (tmp_path / "small/archives").mkdir(parents=True)
    (tmp_path / "small/archives/scans.zip").write_bytes(bytes(3_000_000))
    assert space_table(DATASETS, tmp_path).at[0, "there_gb"] == 0.003


def test_the_table_says_what_does_not_fit(tmp_path: Path) -> None:
    lines = space_text(DATASETS, tmp_path / "not there yet").splitlines()
    assert [line.split()[0] for line in lines if "does not fit" in line] == ["huge"]
    assert "unknown" in lines[3]
    needed = "needed at least 120.0 GB, and 1 datasets of unknown size"
    assert lines[-1] == f"{needed}; free 8.0 GB: they do not all fit"
    assert space_text({"small": DATASETS["small"]}, tmp_path) == "\n".join(
        [*lines[:2], "needed 5.0 GB; free 8.0 GB: they fit"]
    )


def test_a_dataset_that_does_not_fit_is_refused_before_its_first_byte(tmp_path: Path) -> None:
    with stand_in({URL: b"never sent"}) as server:
        fetched = fetch("huge", DATASETS["huge"], tmp_path / "huge", Download(mirrors=server.mirrors))
        assert server.seen == []
    assert fetched["status"] == "unavailable"
    assert "10.00 GB to download, 105.00 GB unpacked, 8.00 GB free" in fetched["reason"]


def test_an_archive_of_which_nobody_says_what_it_unpacks_to_takes_at_least_its_own_size_again(
    tmp_path: Path,
) -> None:
    assert space_text({"half": dataset(bytes=5_000_000_000)}, tmp_path).endswith(
        "needed at least 10.0 GB; free 8.0 GB: they do not all fit"
    )
    for name, fits in (("scans.zip", False), ("scans.png", True)):
        access = {"host": "http", "files": [{"name": name, "url": URL, "bytes": 5_000_000_000}]}
        need = partial(need_room, dataset(access=access), [FileToFetch(name, URL, 5_000_000_000)], tmp_path)
        if fits:  # a loose file is on the disk once
            need()
        else:
            with pytest.raises(Unavailable, match=r"5\.00 GB to download, at least 5\.00 GB unpacked, 8\.00"):
                need()
