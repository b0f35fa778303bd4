"""The MLflow UI in a headless browser: it opens on a synced store and shows runs side by side."""

from __future__ import annotations

import json
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from test_tracking import MEAN, runs_in, write_results
from tracking_server import server

from usfmae.tracking import sync
from workflow import ROOT, snakemake

TINY = ROOT / "tests/data/tiny.yaml"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MEANS = (MEAN, MEAN.replace("usfmae", "densenet169"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's chromium, driven by the driver that Debian ships with it."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = Options()
    options.binary_location = CHROMIUM
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1600,1200"):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    with Chrome(options=options, service=Service(DRIVER)) as driver:
        yield driver


def shows(browser: Chrome, url: str, name: str, *texts: str) -> None:
    """Waits until the page shows all the texts; a screenshot where USFMAE_SCREENSHOTS names a folder.

    Raises AssertionError with what the page says where one of them has not come within a minute.
    """
    browser.get("about:blank")  # another #/route of the page that is open would not load it anew
    browser.get(url)

    def missing() -> list[str]:
        said = browser.find_element(By.TAG_NAME, "body").text
        return [text for text in texts if text not in said]

    try:
        ignored = [NoSuchElementException, StaleElementReferenceException]
        WebDriverWait(browser, 60, ignored_exceptions=ignored).until(lambda _: not missing())
    except TimeoutException:
        said = browser.find_element(By.TAG_NAME, "body").text
        raise AssertionError(f"{url} never showed {missing()}; it says:\n{said}") from None
    if folder := os.environ.get("USFMAE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        browser.save_screenshot(str(Path(folder, f"{name}.png")))


def comparison(address: str, runs: list[Run]) -> str:
    """Address of the view that sets runs side by side."""
    ids = urllib.parse.quote(json.dumps([run.info.run_id for run in runs]))
    experiments = urllib.parse.quote(json.dumps([runs[0].info.experiment_id]))
    return f"{address}/#/compare-runs?runs={ids}&experiments={experiments}"


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, MlflowClient]]:
    """Address of the server, page of the kidney task in it, and a client of its store."""
    root = tmp_path_factory.mktemp("ui")
    results = write_results(root)
    page = sync(results)["pages"]["finetune/kidney"]
    store = f"sqlite:///{results}/mlflow/mlflow.db"
    with server(root, store) as address:
        yield address, page, MlflowClient(store)


def test_the_page_of_a_task_opens_on_its_runs(ui: tuple[str, str, MlflowClient], browser: Chrome) -> None:
    address, page, _ = ui
    texts = ("finetune/kidney", "usfmae · demo", "densenet169 · demo")
    shows(browser, address + page, "mlflow-runs", *texts)


def test_the_charts_of_a_task_carry_the_metrics(ui: tuple[str, str, MlflowClient], browser: Chrome) -> None:
    address, page, _ = ui
    texts = ("usfmae · demo", "densenet169 · demo", "test_auc")
    shows(browser, f"{address}{page}&compareRunsMode=CHART", "mlflow-charts", *texts)


def test_models_stand_side_by_side_in_the_compare_view(
    ui: tuple[str, str, MlflowClient], browser: Chrome
) -> None:
    address, _, client = ui
    runs = [runs_in(client)[key] for key in MEANS]
    texts = ("usfmae · demo", "densenet169 · demo", "test_auc", "0.85", "0.65", "training.epochs")
    shows(browser, comparison(address, runs), "mlflow-compare", *texts)


def test_a_tracking_server_takes_the_same_runs_and_keeps_those_of_others(tmp_path: Path) -> None:
    ours, others = write_results(tmp_path / "ours"), write_results(tmp_path / "others")
    with server(tmp_path, f"sqlite:///{tmp_path}/server.db") as address:
        digests = sync(ours, address)["runs"]
        assert sync(others, address)["deleted"] == 0
        again = sync(ours, address)
        assert (again["written"], again["deleted"], again["runs"]) == (0, 0, digests)
    assert not (ours / "mlflow/mlflow.db").exists()
    assert list((tmp_path / "served").rglob("report.html")), "the artifacts lie at the server"


def test_the_store_of_a_study_that_ran_shows_its_models_side_by_side(tmp_path: Path, browser: Chrome) -> None:
    study = "study={tasks: [neck], models: [usfmae_demo, vit_scratch], explain: {models: []}}"
    # Configuration files first: what --config says wins over them.
    snakemake(tmp_path, "track", "--config", study, configfile=TINY)
    store = f"sqlite:///{tmp_path}/results/mlflow/mlflow.db"
    runs = runs_in(MlflowClient(store))
    means = [runs[f"finetune/neck/{model}/tiny/fraction-1"] for model in ("usfmae_demo", "vit_scratch")]
    with server(tmp_path, store) as address:
        texts = ("usfmae_demo · tiny", "vit_scratch · tiny", "test_auc")
        shows(browser, comparison(address, means), "mlflow-study", *texts)
