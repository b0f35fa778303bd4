"""The whole chain on a tiny study, through the same Snakefile and rules that a person runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from workflow import ROOT, planned, run_snakemake, snakemake

TINY = ROOT / "tests/data/tiny.yaml"
TASKS = ["kidney", "kidney_binary", "neck", "breast"]
TARGETS = ["download", "corpus", "pretrain", "finetune", "statistics", "explain", "report", "track"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny study has been run to its end."""
    folder = tmp_path_factory.mktemp("study")
    snakemake(folder, configfile=TINY)
    return folder


def plan(study: Path, *words: str) -> dict[str, int]:
    return planned(snakemake(study, *words, "-n", configfile=TINY))


def test_one_command_ends_in_a_report_that_names_every_task_and_says_simulated(study: Path) -> None:
    page = (study / "results/report/report.html").read_text(encoding="utf-8")
    for title in ("Fetal kidney, three classes", "Fetal neck", "Breast lesion", "ResNet-50, from scratch"):
        assert title in page
    assert "This study contains simulated data." in page


def test_every_task_and_model_has_results_for_every_fold(study: Path) -> None:
    for task in TASKS:
        folds = pd.read_csv(study / f"results/statistics/{task}/fold_metrics.csv")
        tested = folds[(folds["role"] == "test") & (folds["metric"] == "auc")]
        assert sorted(zip(tested["model"], tested["fold"], strict=True)) == [
            ("resnet50_scratch", 0),
            ("resnet50_scratch", 1),
            ("usfmae_demo", 0),
            ("usfmae_demo", 1),
        ]


def test_models_are_ranked_over_the_tasks_without_a_test_where_tasks_are_few(study: Path) -> None:
    ranks = pd.read_csv(study / "results/statistics/ranks.csv")
    assert set(ranks["model"]) == {"resnet50_scratch", "usfmae_demo"}
    assert ranks["p"].isna().all() and ranks["note"].str.contains("5 tasks or more").all()


def test_a_second_run_has_nothing_to_do(study: Path) -> None:
    assert "Nothing to be done" in snakemake(study, configfile=TINY)


@pytest.mark.parametrize("target", TARGETS)
def test_every_stage_is_a_target_that_is_up_to_date(study: Path, target: str) -> None:
    assert plan(study, target) == {}


def test_a_deleted_fold_reruns_that_fold_and_what_hangs_on_it_and_nothing_else(study: Path) -> None:
    deleted = (
        study / "results/finetune/neck/resnet50_scratch/tiny/fraction-1/seed-0/fold-1/predictions.parquet"
    )
    before = {path: path.stat().st_mtime_ns for path in study.glob("results/finetune/**/predictions.parquet")}
    content = pd.read_parquet(deleted)
    deleted.unlink()
    expected = {
        "finetune_fold": 1,
        "compare_models": 1,
        "rank_models": 1,
        "write_report": 1,
        "track": 1,
    }
    assert planned(snakemake(study, configfile=TINY)) == expected
    after = {path: path.stat().st_mtime_ns for path in study.glob("results/finetune/**/predictions.parquet")}
    assert {path for path in before if before[path] != after[path]} == {deleted}
    pd.testing.assert_frame_equal(pd.read_parquet(deleted), content)
    assert plan(study) == {}


def test_a_changed_recipe_reruns_the_training_but_not_the_corpus(study: Path) -> None:
    jobs = plan(study, "--config", "recipes={finetune: {tiny: {label_smoothing: 0.1}}}")
    assert jobs["finetune_fold"] == 16
    assert not {"fetch_dataset", "curate_dataset", "audit_corpus", "pretrain_encoder", "split_task"} & set(
        jobs
    )


def test_what_is_only_read_by_people_rewrites_the_report_and_computes_nothing(study: Path) -> None:
    jobs = plan(
        study,
        "--config",
        "datasets={simulated_kidney: {citation: another, title: Kidneys, licence: {name: MIT}}}",
        "tasks={neck: {notes: a doubt}}",
        "recipes={pretrain: {demo: {title: an MAE, training: {checkpoint_minutes: 3}}}}",
    )
    assert jobs == {"write_report": 1, "track": 1}


def test_an_edited_script_reruns_nothing(study: Path, tmp_path: Path) -> None:
    clone = clone_of_the_project(tmp_path)
    script = clone / "workflow/scripts/finetune_fold.py"
    script.write_text(script.read_text(encoding="utf-8") + "# a comment\n", encoding="utf-8")
    assert planned(snakemake(study, "-n", configfile=TINY, root=clone)) == {}


def test_pretraining_leaves_out_the_evaluation_sets(study: Path) -> None:
    record = json.loads((study / "results/pretrain/demo/run.json").read_text(encoding="utf-8"))
    groups = pd.read_parquet(study / "results/corpus/demo/groups.parquet")
    evaluation = groups["dataset"].isin(["simulated_kidney", "simulated_neck", "simulated_breast"]).sum()
    assert record["counts"]["left_out"] >= evaluation > 0


def test_curation_reports_every_planted_defect(study: Path) -> None:
    table = pd.read_csv(study / "results/corpus/demo/curation.csv").set_index(["dataset", "finding"])[
        "frames"
    ]
    for dataset in ("simulated_kidney", "simulated_neck", "simulated_breast"):
        assert table[dataset, "dropped: unreadable"] == 1
        assert table[dataset, "dropped: file missing"] == 1
        assert table[dataset, "kept without a label"] == 1
        assert table[dataset, "exact duplicate pairs"] == 1
        # The near copy too at 64 pixels (tests/test_duplicates.py); 24 hold too little detail for all.
        assert table[dataset, "duplicate pairs across subjects"] >= 1
        assert table[dataset, "with burnt-in text, calipers or colour"] >= 1
    assert table["pydicom_samples", "kept"] == 33


def test_no_subject_or_duplicate_group_stands_on_two_sides(study: Path) -> None:
    for task in TASKS:
        folds = pd.read_parquet(study / f"results/finetune/{task}/folds.parquet")
        for column in ("subject", "group"):
            assert folds.groupby(["fold", column])["role"].nunique().max() == 1


def test_every_rule_leaves_a_log_and_a_benchmark(study: Path) -> None:
    logs = {path.relative_to(study / "logs").with_suffix("") for path in (study / "logs").rglob("*.log")}
    benchmarks = {
        path.relative_to(study / "logs").with_suffix("") for path in (study / "logs").rglob("*.tsv")
    }
    assert logs == benchmarks
    assert len(logs) == 5 + 5 + 1 + 2 + 4 + 16 + 4 + 2 + 8 + 1 + 1  # 2 of statistics: ranks, claims


def test_snakemakes_own_report_holds_the_figures_with_captions_and_needs_no_network(study: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    snakemake(study, "--report", str(study / "own.zip"), configfile=TINY, **nowhere)
    with zipfile.ZipFile(study / "own.zip") as packed:
        names = {Path(name).name: name for name in packed.namelist()}
        page = packed.read(
            names["report.html"] if "own/report.html" not in names else "own/report.html"
        ).decode()
        for task in TASKS:
            for kind in ("roc", "precision_recall", "confusion", "folds", "differences", "reliability"):
                file = study / f"results/figures/{task}_{kind}.png"
                assert packed.read(names[file.name]) == file.read_bytes()
    assert {"demo_embedding.png", "samples.png", "panels.png", "kidney_summary.csv"} <= names.keys()
    for words in ("Figures", "Tables", "Corpus", "Explanations", "Fetal neck", "precision-recall curves"):
        assert words in page
    assert "the dotted diagonal is guessing" in page  # a caption
    assert not re.findall(r"""(?:src|href)=["']https?://[^"']+\.(?:js|css)""", page)


def test_a_wrong_key_stops_with_file_key_and_nearest_key(tmp_path: Path) -> None:
    overlay = tmp_path / "wrong.yaml"
    overlay.write_text("study: { recipee: demo }\n", encoding="utf-8")
    done = run_snakemake(tmp_path, "-n", configfile=overlay)
    assert done.returncode != 0
    assert f'{overlay}: study.recipee: unknown key (did you mean "recipe"?)' in done.stdout
    assert "Traceback" not in done.stdout


def test_the_slurm_profile_plans_from_a_clean_clone(tmp_path: Path) -> None:
    clone = clone_of_the_project(tmp_path)
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "-n"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    jobs = planned(done.stdout + done.stderr)
    assert jobs["fetch_dataset"] == 46  # the study of the papers, which the profile names
    assert jobs["curate_dataset"] == 2 * 46
    assert jobs["finetune_fold"] == 5 * (4 * 5 + 2) * 17  # shares of the subjects, folds of the tasks, models


def clone_of_the_project(folder: Path) -> Path:
    """What git has of the project, committed or not yet, in a folder of its own."""
    clone = folder / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name, follow_symlinks=False)
    return clone
