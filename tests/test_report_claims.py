"""The page of the ledger: every claim with a verdict, readable from disk, and the same in its table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from fake_claims import (
    FIGURE,
    GAIN,
    ORDER,
    claimed_study,
    difference_row,
    summary_row,
    write_availability,
    write_task,
)
from fake_results import write

from usfmae.evaluation.arithmetic import arithmetic
from usfmae.evaluation.claims import ledger
from usfmae.record import write_table
from usfmae.settings import load, settings_from
from usfmae.settings.load import FILES

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = {
    "figure": FIGURE | {"says": "AUC of <90 %> on necks."},
    "precise": FIGURE
    | {"published": 99.5, "rounding": 0.01, "protocol": "unknown", "protocol_note": "no split"},
    "gain": GAIN | {"published": 11},
    "order": ORDER,
    "kidneys": FIGURE | {"task": "kidney", "data": "private", "needs": "the hospital's kidneys"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with claims and given values, and its pages."""
    folder: Path = tmp_path_factory.mktemp("ledger")
    results, settings = folder / "results", claimed_study(CLAIMS)
    write_availability(results)
    rows = [summary_row("usfmae", 0.90, 0.03), summary_row("usfmae_right", 0.80, 0.03)]
    rows += [summary_row("imagenet", 0.78, 0.03)]
    folds = [row | {"estimate": "mean of folds"} for row in rows]
    write_task(results, rows + folds, [difference_row("usfmae", "imagenet", 0.12, 0.05)])
    write_table(results / "statistics/claims.csv", ledger(settings, results))
    write_table(results / "statistics/arithmetic.csv", arithmetic(settings))
    for path in ("statistics/neck", "finetune", "corpus"):  # the page reads the ledger alone
        for file in sorted((results / path).rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
    write(folder, settings)
    return folder


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "results/report/claims.html").read_text(encoding="utf-8")


def row_of(page: str, claim: str) -> str:
    return re.search(rf'<tr id="{claim}">.*?</tr>', page, re.DOTALL)[0]  # type: ignore[index]


def test_every_claim_is_a_row_with_a_verdict(page: str) -> None:
    assert re.findall(r'<tr id="(\w+)">', page) == list(CLAIMS)
    assert page.count('<strong class="verdict ') == len(CLAIMS)
    assert "5 claims: agrees 3, differs 1, cannot be told apart 0, cannot be tested 1." in page


def test_published_and_both_arms_stand_side_by_side_with_interval_and_n(page: str) -> None:
    row = row_of(page, "figure")
    assert "AUC of &lt;90 %&gt; on necks." in row and "<td>90 %</td>" in row
    assert "AUC 0.900 (0.870–0.930)" in row and "AUC 0.800 (0.770–0.830)" in row
    assert "USF-MAE; pooled; 96 frames of 24 subjects, 4 folds; task neck, corpus demo, fine-tuning" in row
    assert row.count("fine-tuning recipe standard") == 2
    assert 'class="verdict agrees"' in row and "Corrected arm differs" in row
    assert "Seen in pretraining: no; made up." in row and "cuts 3 groups" in row


def test_a_value_is_printed_as_finely_as_it_was_published(page: str) -> None:
    assert "<td>99.50 %</td>" in row_of(page, "precise")
    assert "Protocol: unknown; no split." in row_of(page, "precise")


def test_a_difference_names_both_models_and_its_sign(page: str) -> None:
    assert "AUC +0.120 (+0.070 to +0.170)" in row_of(page, "gain")
    assert "USF-MAE less DenseNet-169; difference, corrected resampled t" in row_of(page, "order")


def test_what_cannot_be_tested_says_why_and_what_it_needs(page: str) -> None:
    row = row_of(page, "kidneys")
    assert "the images are private" in row and "Needs: the hospital&#39;s kidneys; the weights." in row


def test_the_page_opens_from_disk_and_leads_to_the_report_and_back(page: str, root: Path) -> None:
    assert re.findall(r'href="([^"]+)"', page) == ["report.html"]
    assert "<script" not in page and "src=" not in page and "url(" not in page
    assert 'href="claims.html"' in (root / "results/report/report.html").read_text(encoding="utf-8")


def test_the_table_has_what_the_page_has(root: Path) -> None:
    table = pd.read_csv(root / "results/tables/claims.csv")
    assert len(table) == len(CLAIMS) and table["Verdict"].notna().all()
    ours = {"Ours, encoder as published", "Ours, encoder and split corrected"}
    assert ours | {"Published", "Protocol", "Audit", "Why"} <= set(table)


def test_the_shipped_claims_and_the_arithmetic_make_a_page_before_anything_has_run(tmp_path: Path) -> None:
    shipped = load(*(ROOT / f"config/{name}.yaml" for name in ("openus46", *FILES)))
    results = tmp_path / "results"
    write_table(results / "statistics/claims.csv", ledger(shipped, results))
    write_table(results / "statistics/arithmetic.csv", arithmetic(shipped))
    write(tmp_path, shipped)
    page = (results / "report/claims.html").read_text(encoding="utf-8")
    assert page.count('<strong class="verdict ') == len(shipped.claims)
    assert "1,875 + 1,469 + 514 = 3,858" in page and "4 folds x 4 metrics can give it" in page
    assert not re.search(r"\bnan\b|\bNone\b", page)


def test_without_statistics_the_page_says_so(tmp_path: Path) -> None:
    merged = claimed_study(CLAIMS).model_dump(mode="json", exclude_none=True)
    report = write(tmp_path, settings_from(merged, []))
    assert "claims.html" not in report
    page = (tmp_path / "results/report/claims.html").read_text(encoding="utf-8")
    assert "No claim is configured, or the statistics have not been made." in page
