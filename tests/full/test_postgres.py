"""Tracking against a real PostgreSQL behind an `mlflow server`; 32 processes that fill one store at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from many_syncs import sync_at_once
from mlflow.tracking import MlflowClient
from postgres import Database, postgres
from tracked_study import open_store, runs_in, write_fold, write_results, write_run
from tracking_server import server

from usfmae.tracking import sync

MEAN = "finetune/kidney/usfmae/demo/fraction-1.0"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres() as database:
        yield database


@pytest.fixture(scope="module")
def address(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over the database, with an artifact store of its own."""
    with server(tmp_path_factory.mktemp("server"), database.address) as address:
        yield address


def test_a_server_over_postgresql_is_filled_once_and_a_changed_run_replaces_its_own(
    database: Database, address: str, tmp_path: Path
) -> None:
    client, results = MlflowClient(address), write_results(tmp_path)
    first = sync(results, address)
    before = runs_in(client, results=results)
    assert before.keys() == first["runs"].keys() and first["written"] == len(before)
    assert before[MEAN].data.metrics["test_auc"] == pytest.approx(0.85)
    page = client.download_artifacts(before["report"].info.run_id, "report/report.html", str(tmp_path))
    assert Path(page).read_text() == "content of report/report.html"
    assert not (results / "mlflow/artifacts").exists(), "the files lie at the server"

    rows = database.content()
    assert len(rows) > 10_000
    second = sync(results, address)
    assert (second["written"], second["deleted"]) == (0, 0)
    assert database.content() == rows, "a second pass writes no row"

    write_fold(results, "usfmae", 0, 0.5)
    third = sync(results, address)
    after = runs_in(client, results=results)
    assert (third["written"], third["deleted"]) == (2, 2)
    changed = {key for key in after if after[key].info.run_id != before[key].info.run_id}
    assert changed == {MEAN, f"{MEAN}/seed-0/fold-0"}
    gone = runs_in(client, deleted=True, results=results)
    assert {run.data.tags["usfmae.superseded"] for run in gone.values()} == {"true"}


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    for name in ("one", "two", "three"):
        write_run(tmp_path / f"results/pretrain/{name}", "pretrain", {"validation_loss": 0.4}, recipe=name)
    return tmp_path / "results"


@pytest.mark.parametrize("store", ["SQLite", "PostgreSQL"])
def test_32_processes_that_fill_one_store_at_once_make_no_error_and_no_duplicate(
    store: str, three_runs: Path, request: pytest.FixtureRequest
) -> None:
    uri = None if store == "SQLite" else request.getfixturevalue("address")
    counts = sync_at_once(32, three_runs, uri)
    assert sum(one["written"] for one in counts) == 3 and sum(one["deleted"] for one in counts) == 0
    assert all(one["runs"] == counts[0]["runs"] for one in counts)
    client = MlflowClient(uri) if uri else open_store(three_runs)
    found = runs_in(client, results=three_runs)  # two runs of one key fail there
    assert found.keys() == counts[0]["runs"].keys()
    assert {run.info.status for run in found.values()} == {"FINISHED"}
