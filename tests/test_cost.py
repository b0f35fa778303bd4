"""The cost of a study is counted over the runs that the workflow plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cost
from workflow import ROOT, planned, snakemake


def test_the_counted_runs_are_the_planned_ones(tmp_path: Path) -> None:
    jobs = planned(snakemake(tmp_path, "-n"))
    settings = cost.read([], seeds=1)
    assert cost.finetuning(settings).runs == jobs["finetune_fold"]
    assert cost.pretraining(settings, held=100).runs == jobs["pretrain_encoder"]
    assert cost.explaining(settings).runs == jobs["explain_model"]


def test_twice_the_seeds_cost_twice_as_much_and_pretraining_grows_with_the_frames() -> None:
    one, two = (cost.finetuning(cost.read([], seeds)) for seeds in (1, 2))
    assert two.operations == pytest.approx(2 * one.operations) and two.stored == 2 * one.stored
    settings = cost.read([], seeds=1)
    small, large = (cost.pretraining(settings, held) for held in (100, 300))
    assert small.operations > 0 and large.operations == pytest.approx(3 * small.operations)


def test_a_grid_counts_its_folds() -> None:
    """Four settings of five folds on four fifths of the frames, and the final run on all."""
    settings = cost.read([ROOT / "config/paper.yaml"], seeds=1)
    only = settings.model_copy(
        update={"study": settings.study.model_copy(update={"pretrain": ["usfmae_published"], "models": []})}
    )
    stage = cost.pretraining(only, held=10)
    assert stage.runs == 21
    assert stage.frames == pytest.approx(100 * 10 * (1 + 20 * 0.8))
