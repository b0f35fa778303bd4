"""What the Snakemake workflow catalogue asks for: its files, and a study that they plan."""

from __future__ import annotations

from pathlib import Path

import yaml

from workflow import ROOT, planned, snakemake


def test_the_catalogue_finds_the_workflow_and_it_plans_the_same_study(tmp_path: Path) -> None:
    by_catalogue = planned(snakemake(tmp_path, "-n", "--snakefile", "workflow/Snakefile"))
    assert by_catalogue.pop("study") == 1
    assert by_catalogue == planned(snakemake(tmp_path, "-n"))
    assert by_catalogue["finetune_fold"] > 1


def test_the_catalogue_says_what_the_workflow_needs() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert usage["software-stack-deployment"]["conda"] and usage["report"]
    assert (ROOT / "config/README.md").exists() and (ROOT / "README.md").exists()
