"""The benchmark of tracking runs at the size of seconds, and does not time a second pass that writes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tracked_study import open_store, runs_in

from benchmarks import tracking
from usfmae.tracking import sync


def test_a_fold_of_the_benchmark_has_960_metrics_and_40_parameters(tmp_path: Path) -> None:
    results = tmp_path / "results"
    tracking.write_runs(results, 2)
    sync(results)
    client = open_store(results)
    run = runs_in(client)["finetune/t/model0/r/fraction-1/seed-0/fold-1"]
    points = sum(len(client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics)
    assert (points, len(run.data.params)) == (tracking.METRICS, tracking.PARAMETERS)


def test_two_passes_are_timed_and_the_second_makes_no_write(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tracking", "--runs", "5"])
    tracking.main()
    said = capsys.readouterr().out
    assert "load average" in said and "cores" in said
    assert said.splitlines()[-2].endswith("| 6 |") and said.splitlines()[-1].endswith("| 0 |")


def test_a_second_pass_that_writes_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(results: Path) -> dict[str, object]:
        counts = sync(results)
        open_store(results).create_experiment(f"another {len(list(results.rglob('*')))} {id(counts)}")
        return counts

    monkeypatch.setattr(tracking, "sync", touched)
    with pytest.raises(AssertionError, match="the second pass wrote"):
        tracking.measure(1)
