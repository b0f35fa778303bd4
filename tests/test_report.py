"""The report: whole, honest about what is simulated or missing, and the same bytes every time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_results import duplicates, fill, write, write_corpus
from fake_study import KIDNEY, SIDE, TASKS, study
from PIL import Image

from usfmae.record import write_table
from usfmae.report import words
from usfmae.report.figures_corpus import corpus_samples, duplicate_pairs
from usfmae.report.headline import best_model, foundation_against_scratch
from usfmae.settings import settings_from


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("report")
    fill(folder / "results")
    return folder


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return write(root)


def test_the_page_needs_nothing_but_itself_and_links_to_files_that_lie_beside_it(
    page: str, root: Path
) -> None:
    sources = re.findall(r'src="([^"]{0,40})', page)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    links = {link for link in re.findall(r'href="([^"]+)"', page) if not link.startswith("#")}
    assert links == {
        "../tables/claim_2024.md",
        "../tables/tripod_ai.md",
    }  # this study has no ledger of claims
    assert all((root / "results/report" / link).exists() for link in links)
    assert "<script" not in page and "@import" not in page and "url(" not in page


def test_the_page_shows_the_references_main_tests_and_a_table_beside_it_all_of_every_pair(
    page: str, root: Path
) -> None:
    tables = root / "results/tables"
    shown, everything = (
        pd.read_csv(tables / f"neck_{name}.csv") for name in ("comparisons", "all_comparisons")
    )
    assert set(shown["Test"]) == {
        "Wilcoxon signed-rank",
        "corrected resampled t",
        "subject-cluster bootstrap, pooled",
        "none",  # the model that was not run
    }
    assert set(shown["Valid"]) <= {"yes", "no", "–"} and "neck_all_comparisons.csv" in page
    assert set(everything["Family"]) == {"reference", "other pairs"}
    assert set(everything["Counted by"]) == {"frames", "subjects"}
    assert len(everything) > 4 * len(shown) and everything["Test"].str.contains("DeLong").any()
    resampled = everything[everything["Test"] == "Bayesian correlated t"]
    assert (resampled[["P(lower)", "P(equivalent)", "P(higher)"]].astype(float).sum(axis=1) - 1 < 0.002).all()
    assert "DeLong" not in page


def test_every_anchor_of_the_contents_exists(page: str) -> None:
    for target in re.findall(r'href="#([^"]+)"', page):
        assert page.count(f'id="{target}"') == 1


def test_every_picture_has_words_for_those_who_cannot_see_it(page: str) -> None:
    assert len(re.findall(r'<img [^>]*alt="[^"]{20,}', page)) == page.count("<img ") > 10


def test_every_task_and_model_is_named_and_escaped(page: str) -> None:
    for title in ("Kidney &lt;frames&gt;", "Neck &lt;frames&gt;", "USF-MAE (demo)", "ViT from scratch"):
        assert title in page
    assert "Angles &amp; depths differ." in page and "<frames>" not in page


def test_the_duplicates_say_what_was_asked_of_frames_of_this_size(page: str) -> None:
    assert "correlates at least 0.75 after alignment" in page  # at 32 px; 0.5 from 128 px on


def test_simulated_data_are_called_simulated(page: str) -> None:
    assert "This study contains simulated data." in page
    assert "Simulated kidneys, Simulated necks" in page
    assert page.count('class="badge"') >= 5


def test_a_study_without_simulated_data_has_no_banner(tmp_path: Path) -> None:
    merged = study().model_dump(mode="json", exclude_none=True)
    for name in ("kidney", "neck"):
        merged["datasets"][name]["access"] = {"host": "folder", "folder": "/data"}
    page = write(tmp_path, settings_from(merged, []))
    assert 'class="banner"' not in page and 'class="badge"' not in page


def test_a_model_without_predictions_is_listed_as_not_run(page: str, root: Path) -> None:
    assert "DenseNet-169 from scratch: not run (weights missing)" in page
    summary = pd.read_csv(root / "results" / "tables" / "kidney_summary.csv").set_index("Model")
    assert set(summary.loc["DenseNet-169 from scratch"]) == {"not run (weights missing)"}
    assert "not run" not in summary.loc["USF-MAE (demo)"].str.cat()


def test_a_dataset_that_is_not_available_leaves_a_note_on_the_sheet(tmp_path: Path) -> None:
    empty = tmp_path / "kidney"
    write_corpus(empty, KIDNEY, np.random.default_rng(0))
    table = pd.read_parquet(empty / "frames.parquet")
    write_table(empty / "frames.parquet", table.iloc[:0])
    np.save(empty / "frames.npy", np.empty((0, SIDE, SIDE), dtype=np.uint8))
    write_table(tmp_path / "duplicates.parquet", duplicates().iloc[:0])
    corpus_samples(tmp_path, ["kidney"], {"kidney"}, tmp_path / "samples")
    duplicate_pairs(tmp_path, ["kidney"], {"kidney"}, tmp_path / "duplicates")
    assert (tmp_path / "samples.pdf").exists() and (tmp_path / "duplicates.pdf").exists()


def test_missing_products_leave_their_part_out(tmp_path: Path) -> None:
    page = write(tmp_path)  # nothing has run
    assert "No result yet." in page and "<img" not in page


def test_every_figure_is_drawn_as_png_and_pdf(page: str, root: Path) -> None:
    figures = root / "results" / "figures"
    images = sorted(figures.glob("*.png"))
    names = {image.stem for image in images}
    kinds = (
        "roc",
        "precision_recall",
        "confusion",
        "folds",
        "differences",
        "training",
        "reliability",
        "label_efficiency",
    )
    explained = {f"neck_{kind}" for kind in ("usfmae_methods", "localisation", "perturbation")}
    assert {f"{task}_{kind}" for task in TASKS for kind in kinds} | explained | {
        "mae_loss",
        "mae_reconstructions",
        "mae_embedding",
    } == names
    images += [root / "results" / "corpus" / "demo" / f"{name}.png" for name in ("samples", "duplicates")]
    explanation = root / "results" / "explain" / "neck" / "usfmae"
    images += [explanation / "panels.png", explanation / "contact_sheet.png"]
    for image in images:
        pixels = np.asarray(Image.open(image).convert("L"))
        assert pixels.std() > 5, f"{image.name} is blank"
        assert image.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_same_results_give_the_same_bytes_in_another_process(
    page: str, root: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "settings.json"
    inputs.write_text(json.dumps(study().model_dump(mode="json", exclude_none=True)))
    code = (
        "import json, sys; from pathlib import Path; from usfmae.settings import settings_from;"
        "from usfmae.report.page import write_report;"
        "s, results, out = sys.argv[1:]; out = Path(out);"
        "s = settings_from(json.loads(Path(s).read_text()), []);"
        "write_report(s, Path(results), out / 'report.html', out / 'figures', out / 'tables')"
    )
    results, again = root / "results", tmp_path / "again"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, inputs, results, again], check=True, env=environment)
    first = [
        *(results / "figures").iterdir(),
        *(results / "tables").iterdir(),
        results / "report" / "report.html",
    ]
    for file in first:
        folder = again if file.suffix == ".html" else again / file.parent.name
        assert (folder / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_headline_prefers_the_holdout_and_gives_interval_and_n() -> None:
    row = {"model": "a", "metric": "auc", "n_frames": 40, "n_subjects": 10, "n_folds": 4}
    pooled = row | {"role": "test", "estimate": "pooled", "value": 0.9, "lower": 0.8, "upper": 0.95}
    holdout = row | {
        "role": "holdout",
        "estimate": "mean of fold models",
        "value": 0.8,
        "lower": 0.7,
        "upper": 0.88,
    }
    titles = {"a": "A", "b": "B"}
    assert best_model(pd.DataFrame([pooled, holdout]), "auc", titles) == (
        "A reaches AUC 0.80 (0.70–0.88) on the independent hold-out "
        "(40 frames of 10 subjects, mean of 4 fold models)."
    )
    folds = pooled | {"model": "b", "estimate": "mean of folds", "value": 0.93}
    assert best_model(pd.DataFrame([pooled, folds]), "auc", titles) == (
        "B reaches AUC 0.93 (0.80–0.95) on cross-validation (40 frames of 10 subjects, mean of 4 folds)."
    )
    one_part = pooled | {"n_folds": 1}
    assert best_model(pd.DataFrame([one_part]), "auc", titles).endswith(
        "on the official test part (40 frames of 10 subjects)."
    )


@pytest.mark.parametrize(
    ("difference", "p", "valid", "verdict"),
    [
        (0.1, 0.01, "yes", "Holm): the pretrained model is better."),
        (-0.1, 0.01, "yes", "Holm): the pretrained model is worse."),
        (0.1, 0.06, "yes", "Holm): no difference is shown."),
        (0.1, 0.01, "not simulated", "Holm; not simulated for such data): the pretrained model is better."),
        (0.1, 0.01, "no", "Holm): no verdict. Not valid: 2 folds; it was simulated with 3 and more."),
    ],
)
def test_the_foundation_model_is_called_better_only_with_evidence(
    difference: float, p: float, valid: str, verdict: str
) -> None:
    both = {
        "model_a": "usfmae",
        "model_b": "vit_scratch",
        "role": "test",
        "n_pairs": 4,
        "difference": difference,
    }
    t = both | {
        "test": "corrected resampled t",
        "lower": -0.1,
        "upper": 0.2,
        "p": p,
        "smallest_p": 0,
        "p_holm": p,
        "valid": valid,
        "note": "Not valid: 2 folds; it was simulated with 3 and more.",
    }
    signed = both | {"test": "Wilcoxon signed-rank", "p": 0.125, "smallest_p": 0.125, "p_holm": 0.25}
    sentence = foundation_against_scratch(study(), pd.DataFrame([t, signed]), "auc")
    assert verdict in sentence and "no p below 0.125" in sentence


def test_numbers_read_as_a_clinician_expects() -> None:
    assert words.with_interval(0.84, 0.79, 0.881) == "0.84 (0.79–0.88)"
    assert words.with_interval(-0.01, -0.05, 0.03, sign=True) == "−0.01 (−0.05 to +0.03)"
    assert words.with_interval(0.84, float("nan"), float("nan")) == "0.84"
    assert (words.p_value(0.0004), words.p_value(0.0312), words.smallest_p(0)) == (
        "<0.001",
        "0.031",
        "no bound",
    )
    assert words.metric_name("sensitivity_cystic hygroma") == "Sensitivity, cystic hygroma"
    assert words.duration(7384) == "2 h 03 min"
