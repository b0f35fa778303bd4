"""The report: one self-contained HTML page with the study's figures and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd
import yaml

from usfmae.record import atomic
from usfmae.report import sections
from usfmae.report.exhibits import Exhibits
from usfmae.report.products import Products
from usfmae.settings import Settings


def write_report(settings: Settings, results: Path, out: Path, figures: Path, tables: Path) -> None:
    """Writes the page `out`, its figures as PNG and PDF into `figures` and its tables as CSV into `tables`.

    `results` holds the stages' products as docs/contracts.md says. A product that is not there leaves its
    part out; a model without predictions is listed as not run. The same products give the same bytes.
    """
    products, exhibits = Products(settings, results), Exhibits(figures, tables)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tasks = [sections.task(task, products, exhibits) for task in settings.study.tasks]
    page = environment.get_template("page.html").render(
        title=settings.study.title,
        style=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        simulated=sorted(
            settings.datasets[name].title for name in products.simulated(products.datasets)
        ),
        all_simulated=len(products.simulated(products.datasets)) == len(products.datasets),
        overview=sections.overview(products, exhibits),
        corpora=[sections.corpus(corpus, products, exhibits) for corpus in products.corpora],
        recipes=[sections.pretraining(recipe, products, exhibits) for recipe in settings.study.pretrain],
        tasks=tasks,
        methods=sections.methods(products, exhibits),
    )
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
