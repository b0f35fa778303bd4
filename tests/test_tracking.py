"""Tracking: MLflow is filled from the files in results/, once, and can be rebuilt from them."""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tracked_study import (
    EXPLAINED,
    HOME,
    SETTING,
    artifact,
    experiment_of,
    fold,
    open_store,
    runs_in,
    write_fold,
    write_results,
    write_run,
)

from usfmae import record, tracking_store
from usfmae.tracking import sync
from usfmae.tracking_store import locked


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("empty") / "results"
    results.mkdir()
    sync(results)
    return results / "mlflow/mlflow.db"


@pytest.fixture
def results(tmp_path: Path, empty_store: Path) -> Path:
    """The small study beside an empty store, because making its tables takes a second."""
    results = write_results(tmp_path)
    (results / "mlflow").mkdir()
    shutil.copy(empty_store, results / "mlflow")
    return results


MEAN = "finetune/kidney/usfmae/demo/fraction-1.0"


def test_runs_lie_in_an_experiment_a_stage_and_task_of_the_model_development_kind(results: Path) -> None:
    sync(results)
    client = open_store(results)
    runs = runs_in(client)
    experiments = {key: experiment_of(client, run) for key, run in runs.items()}
    assert {key: experiment.name for key, experiment in experiments.items()} == {
        "corpus/demo": "corpus",
        "corpus/demo/simulated": "corpus",
        "pretrain/small": "pretrain",
        f"pretrain/small/grid/{SETTING}/fold-0": "pretrain",
        f"pretrain/small/grid/{SETTING}/fold-1": "pretrain",
        "finetune/kidney": "finetune/kidney",
        **{
            f"finetune/kidney/{model}/demo/fraction-1.0{end}": "finetune/kidney"
            for model in ("usfmae", "densenet169")
            for end in ("", "/seed-0/fold-0", "/seed-0/fold-1")
        },
        "statistics": "statistics",
        "statistics/kidney": "statistics/kidney",
        "explain/kidney/usfmae": "explain/kidney",
        "report": "report",
    }
    kinds = {experiment.tags.get("mlflow.experimentKind") for experiment in experiments.values()}
    assert kinds == {"custom_model_development"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_an_explanation_is_in_the_store_with_its_tables_and_figures_but_not_its_frames(results: Path) -> None:
    sync(results)
    run = runs_in(open_store(results))["explain/kidney/usfmae"]
    assert run.data.metrics["deletion"] == 0.2
    for name in set(EXPLAINED) - {"masks.npy"}:
        assert artifact(run, name).read_text() == f"content of {name}"
    assert not artifact(run, "masks.npy").exists()


def test_folds_are_children_of_a_run_with_their_mean_under_the_same_names(results: Path) -> None:
    sync(results)
    runs = runs_in(open_store(results))
    mean, child = runs[MEAN], runs[f"{MEAN}/seed-0/fold-1"]
    assert child.info.run_name == "usfmae · fold 1 · seed 0"
    assert child.data.tags["mlflow.parentRunId"] == mean.info.run_id
    assert child.data.metrics["test_auc"] == 0.9
    assert mean.data.metrics["test_auc"] == pytest.approx(0.85)
    assert mean.data.metrics["test_auc_sd"] == pytest.approx(statistics.stdev([0.8, 0.9]))
    assert mean.info.run_name == "usfmae · demo" and mean.data.params["n_runs"] == "2"
    assert mean.data.params["model"] == "usfmae" and "fold" not in mean.data.params
    assert mean.data.params["training.epochs"] == child.data.params["training.epochs"] == "3"


def test_the_folds_of_a_pretraining_grid_are_children_of_the_recipes_run(results: Path) -> None:
    sync(results)
    runs = runs_in(open_store(results))
    final, child = runs["pretrain/small"], runs[f"pretrain/small/grid/{SETTING}/fold-1"]
    assert child.info.run_name == f"small · {SETTING} · fold 1"
    assert child.data.tags["mlflow.parentRunId"] == final.info.run_id
    assert "mlflow.parentRunId" not in final.data.tags
    assert (child.data.metrics["validation_loss"], final.data.metrics["validation_loss"]) == (0.5, 0.4)
    assert child.data.params["setting"] == SETTING and child.data.metrics["epoch/train_loss"] == 0.5
    listed = json.loads(artifact(final, "artifacts.json").read_text())
    assert {"grid.csv", "grid.json", "reconstructions.npz", "model.safetensors"} <= set(listed)
    assert not [name for name in listed if "fold" in name]


def test_a_new_final_run_takes_over_the_folds_of_its_grid(results: Path) -> None:
    sync(results)
    write_run(results / "pretrain/small", "pretrain", {"validation_loss": 0.3}, recipe="small")
    counts = sync(results)
    assert (counts["written"], counts["deleted"]) == (1, 1)
    runs = runs_in(open_store(results))
    child = runs[f"pretrain/small/grid/{SETTING}/fold-0"]
    assert child.data.tags["mlflow.parentRunId"] == runs["pretrain/small"].info.run_id


@pytest.mark.parametrize("kept", [{"grid.csv", "grid.json"}, set()])
def test_a_grid_without_its_final_run_is_tracked_all_the_same(kept: set[str], results: Path) -> None:
    """Its folds hang on the run that holds what was chosen, or on none where nothing was chosen yet."""
    for path in (results / "pretrain/small").iterdir():
        if path.is_file() and path.name not in kept:
            path.unlink()
    sync(results)
    runs = runs_in(open_store(results))
    child = runs[f"pretrain/small/grid/{SETTING}/fold-0"]
    assert ("pretrain/small" in runs) == bool(kept)
    assert ("mlflow.parentRunId" in child.data.tags) == bool(kept)


def test_a_mean_counts_only_the_runs_of_the_study(results: Path) -> None:
    kept = fold(results, "usfmae", 0).relative_to(results).as_posix()
    sync(results, runs={kept})  # fold 1 was left by earlier settings
    runs = runs_in(open_store(results))
    assert runs[MEAN].data.metrics["test_auc"] == pytest.approx(0.8)
    assert runs[MEAN].data.params["n_runs"] == "1"


def test_a_figure_that_a_fold_lacks_has_no_mean(results: Path) -> None:
    write_run(fold(results, "usfmae", 0), "finetune", {"validation_loss": 0.6}, fold="0")
    sync(results)
    metrics = runs_in(open_store(results))[MEAN].data.metrics
    assert "test_auc" not in metrics and metrics["validation_loss"] == pytest.approx(0.65)


def test_each_epoch_is_a_step_and_an_undefined_value_is_no_point(results: Path) -> None:
    sync(results)
    client = open_store(results)
    run = runs_in(client)["pretrain/small"]
    losses = client.get_metric_history(run.info.run_id, "epoch/train_loss")
    assert [(point.step, point.value) for point in losses] == [(0, 0.9), (1, 0.6), (2, 0.5)]
    validation = client.get_metric_history(run.info.run_id, "epoch/validation_loss")
    assert [point.step for point in validation] == [0, 2]
    assert run.data.metrics["validation_loss"] == 0.4, "the final figure is not the last epoch's"
    assert run.info.end_time - run.info.start_time == 12_500


def test_tags_and_parameters_say_what_made_the_run(results: Path) -> None:
    digests = sync(results)["runs"]
    run = runs_in(open_store(results))[f"{MEAN}/seed-0/fold-0"]
    tags = run.data.tags
    assert tags["usfmae.digest"] == digests[f"{MEAN}/seed-0/fold-0"]
    assert tags["usfmae.stage"] == "finetune" and tags["usfmae.simulated"] == "true"
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.params["count.test_frames"] == "20"
    assert json.loads(tags["usfmae.wildcards"])["fold"] == "0"
    assert len(tags["usfmae.config_digest"]) == len(tags["usfmae.data_digest"]) == 64


def test_more_figures_than_one_call_takes_are_all_there(results: Path) -> None:
    folder = results / "pretrain/small"
    found = json.loads((folder / "run.json").read_text())
    found["metrics"] = {f"figure_{number}": number for number in range(2100)}
    found["parameters"] = {f"key_{number}": number for number in range(250)}
    record.write_json(folder / "run.json", found)
    sync(results)
    run = runs_in(open_store(results))["pretrain/small"]
    assert found["metrics"].items() <= run.data.metrics.items()
    assert {f"key_{number}": str(number) for number in range(250)}.items() <= run.data.params.items()


def test_the_manifests_that_a_run_read_are_its_datasets(results: Path) -> None:
    sync(results)
    run = runs_in(open_store(results))[f"{MEAN}/seed-0/fold-0"]
    read = [(given.dataset.name, given.dataset.digest) for given in run.inputs.dataset_inputs]
    assert read == [("results/corpus/demo/groups.parquet", ("ab" * 32)[:36])]


def test_tables_give_their_headline_figures(results: Path) -> None:
    sync(results)
    runs = runs_in(open_store(results))
    metrics = runs["statistics/kidney"].data.metrics
    assert metrics == {
        "usfmae/test/mean of folds/auc": 0.85,
        "usfmae/test/mean of folds/auc_lower": 0.7,
        "usfmae/test/mean of folds/auc_upper": 0.95,
    }
    assert runs["corpus/demo"].data.metrics == {"simulated/kept": 100}


@pytest.mark.parametrize("log_weights", [False, True])
def test_every_file_of_the_study_is_in_the_store_by_copy_or_digest(results: Path, log_weights: bool) -> None:
    sync(results, log_weights=log_weights)
    runs = runs_in(open_store(results))
    copies, listed = set(), set()
    for run in runs.values():
        if not (listing := artifact(run, "artifacts.json")).exists():
            continue
        for name, entry in json.loads(listing.read_text()).items():
            listed.add(entry["sha256"])
            if entry["copied"]:
                assert record.sha256(artifact(run, name)) == entry["sha256"]
                copies.add(entry["sha256"])
    files = [path for path in results.rglob("*") if path.is_file() and results / "mlflow" not in path.parents]
    assert len(files) > 20
    assert {record.sha256(path) for path in files} == listed
    by_digest = {path.suffix for path in files if record.sha256(path) not in copies}
    assert by_digest == ({".npy"} if log_weights else {".npy", ".safetensors"})


def test_a_second_pass_writes_nothing(results: Path) -> None:
    first = sync(results)
    database = results / "mlflow/mlflow.db"
    before = database.read_bytes()
    second = sync(results)
    assert first["written"] == len(first["runs"]) and first["unchanged"] == 0
    assert second == first | {"written": 0, "unchanged": first["written"]}
    assert database.read_bytes() == before


def test_a_changed_fold_replaces_its_run_and_its_mean_alone(results: Path) -> None:
    sync(results)
    client = open_store(results)
    before = runs_in(client)
    changed = f"{MEAN}/seed-0/fold-0"
    write_fold(results, "usfmae", 0, 0.5)
    counts = sync(results)
    after = runs_in(client)
    assert (counts["written"], counts["deleted"]) == (2, 2)
    assert {key for key in after if after[key].info.run_id != before[key].info.run_id} == {MEAN, changed}
    assert after[MEAN].data.metrics["test_auc"] == pytest.approx(0.7)
    kept = after[f"{MEAN}/seed-0/fold-1"]
    assert kept.data.tags["mlflow.parentRunId"] == after[MEAN].info.run_id
    assert {run.data.tags["usfmae.superseded"] for run in runs_in(client, deleted=True).values()} == {"true"}
    assert sync(results)["written"] == 0


def test_a_run_without_files_leaves_the_store(results: Path) -> None:
    sync(results)
    shutil.rmtree(results / "explain")
    counts = sync(results)
    assert (counts["written"], counts["deleted"]) == (0, 1)
    assert "explain/kidney/usfmae" not in runs_in(open_store(results))


def test_a_run_that_was_cut_off_is_written_again(results: Path) -> None:
    sync(results)
    client = open_store(results)
    client.update_run(runs_in(client)["pretrain/small"].info.run_id, status="RUNNING")
    assert sync(results)["written"] == 1
    assert runs_in(client)["pretrain/small"].info.status == "FINISHED"


def content(results: Path, *own: str) -> dict[str, Any]:
    """What the store says of each run, but for what is `own` to one store."""
    own = ("mlflow.parentRunId", "mlflow.runName", *own)
    return {
        key: (
            run.info.run_name,
            run.data.params,
            run.data.metrics,
            {name: value for name, value in run.data.tags.items() if name not in own},
        )
        for key, run in runs_in(open_store(results)).items()
    }


def test_a_deleted_store_comes_back_with_the_same_keys_values_and_digests(results: Path) -> None:
    digests = sync(results)["runs"]
    before = content(results)
    shutil.rmtree(results / "mlflow")
    assert sync(results)["runs"] == digests
    assert content(results) == before


def test_on_a_shared_server_folders_of_one_path_on_two_machines_are_two_owners(tmp_path: Path) -> None:
    """Else each would take the other's runs for its own that are gone."""
    here = tracking_store._owner(tmp_path, shared=True)
    assert tracking_store._owner(tmp_path, shared=True) == here
    (tmp_path / ".study").unlink()  # what stands for another machine
    assert tracking_store._owner(tmp_path, shared=True) != here
    alone = tracking_store._owner(tmp_path, shared=False)
    (tmp_path / ".study").unlink()
    assert tracking_store._owner(tmp_path, shared=False) == alone and not (tmp_path / ".study").exists()


def test_the_store_of_a_moved_folder_is_built_anew_with_the_files_where_they_are(
    results: Path, tmp_path: Path
) -> None:
    first = sync(results)
    before = content(results, "usfmae.results")
    (tmp_path / "new home").mkdir()
    moved = Path(shutil.move(results, tmp_path / "new home"))
    again = sync(moved)
    assert (again["runs"], again["written"]) == (first["runs"], first["written"])
    assert content(moved, "usfmae.results") == before
    run = runs_in(open_store(moved))["report"]
    assert artifact(run, "report/report.html").read_text() == "content of report/report.html"
    assert artifact(run, "artifacts.json").is_relative_to(moved)
    assert sync(moved)["written"] == 0


def test_what_somebody_else_keeps_in_the_local_store_does_not_make_it_a_moved_one(results: Path) -> None:
    sync(results)
    open_store(results).create_experiment("mine", "file:///somewhere/else")
    assert sync(results)["written"] == 0


def test_no_user_name_and_no_home_folder_enter_the_store(results: Path) -> None:
    sync(results)
    for run in runs_in(open_store(results)).values():
        assert run.data.tags["mlflow.user"] == "usfmae"
        for value in (*run.data.tags.values(), *run.data.params.values()):
            assert HOME not in value and str(results) not in value


def test_half_written_files_are_no_part_of_a_run(results: Path) -> None:
    digests = sync(results)["runs"]
    (results / "pretrain/small/.writing-x.json").write_text("{")
    assert sync(results)["runs"] == digests


def test_errors_say_what_to_do(results: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the other stages"):
        sync(tmp_path / "nowhere")
    (results / "pretrain/small/run.json").write_text("{")
    with pytest.raises(ValueError, match=r"pretrain/small/run.json: not a run record"):
        sync(results)


def test_a_lock_lets_one_process_at_a_time_open_the_store(tmp_path: Path) -> None:
    seen: list[str] = []

    def second() -> None:
        with locked(tmp_path):
            seen.append("second")

    with locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        seen.append("first")
    thread.join()
    assert seen == ["first", "second"]
