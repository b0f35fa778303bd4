"""The study on a real Slurm: from nothing to the report, and what one failing job costs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
from slurm_study import FOLD, command, copied, run, submitted


def test_the_study_runs_on_slurm_from_nothing_to_the_report(study: Path) -> None:
    jobs = submitted(study)
    assert jobs["finetune_fold"] == 4 and jobs["pretrain_encoder"] == 1
    assert not {"fetch_dataset", "track"} & set(jobs)  # the login node has the network
    assert "Fetal neck" in (study / "results/report/report.html").read_text(encoding="utf-8")
    assert len(pd.read_csv(study / "results/statistics/neck/summary.csv")) > 0
    assert (study / "results/mlflow/synced.json").exists()


def test_of_an_array_of_folds_the_failing_one_is_named_the_others_finish_and_a_rerun_does_it_alone(
    study: Path, tmp_path: Path
) -> None:
    folder = copied(study, tmp_path)
    shutil.copytree(study / "results/pretrain", folder / "results/pretrain")
    # A file where the fold's folder of checkpoints belongs: an error in one fold alone.
    obstacle = folder / "checkpoints/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way", encoding="utf-8")
    every_step: dict[str, object] = {
        "recipes": {"finetune": {"tiny": {"training": {"checkpoint_minutes": 0}}}}
    }
    code, text = run([*command(folder, "finetune", settings=every_step), "--retries", "1"], folder)
    assert code != 0 and "Submitted array job" in text
    done = sorted(path.parent.as_posix() for path in folder.glob("results/finetune/**/predictions.parquet"))
    assert len(done) == 3
    assert not (folder / FOLD.format(model="resnet50_scratch", fold=1) / "predictions.parquet").exists()
    assert "logs/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1.log" in text
    assert "not tried again after an error" in (
        folder / "logs/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1.log"
    ).read_text(encoding="utf-8")

    obstacle.unlink()
    code, text = run(command(folder, "finetune"), folder)
    assert code == 0, text
    assert re.search(r"^finetune_fold +1$", text, re.MULTILINE), text


def test_a_job_that_got_other_gpus_than_it_asked_for_stops_with_one_line_and_costs_one_allocation(
    study: Path, tmp_path: Path
) -> None:
    """Without `device: cpu`: the pretended GPU is in CUDA_VISIBLE_DEVICES, and torch sees none."""
    folder = copied(study, tmp_path)
    settings: dict[str, object] = {"recipes": {"pretrain": {"demo": {"training": {"device": "cuda"}}}}}
    code, text = run([*command(folder, "pretrain", settings=settings), "--retries", "1"], folder)
    assert code != 0
    assert "error: the job asked for 1 GPUs, but torch sees 0; training.device: cpu needs none" in text
    assert text.count("not tried again after an error") >= 1


def test_short_folds_share_one_allocation_and_one_gpu(study: Path, tmp_path: Path) -> None:
    folder = copied(study, tmp_path)
    shutil.copytree(study / "results/pretrain", folder / "results/pretrain")
    started = command(folder, "finetune", "--groups", "finetune_fold=folds", "--group-components", "folds=4")
    code, text = run([*started, "--set-resource-scopes", "gpu=local", "--resources", "gpu=1"], folder)
    assert code == 0, text
    assert len(list(folder.glob("results/finetune/**/predictions.parquet"))) == 4
    assert text.count("has been submitted with SLURM jobid") == 1
