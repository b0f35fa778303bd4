"""The report: one self-contained HTML page with the study's figures and tables."""

from __future__ import annotations

from pathlib import Path

import jinja2

from usfmae.record import atomic
from usfmae.report.checklists.table import write_checklists
from usfmae.report.claims_page import claims_page
from usfmae.report.corpus_section import corpus_section
from usfmae.report.exhibits import Exhibits
from usfmae.report.pretraining_section import pretraining_section
from usfmae.report.products import Products
from usfmae.report.ranks_section import ranks_section
from usfmae.report.sections import methods_section, overview_section
from usfmae.report.task_section import task_section
from usfmae.report.words import class_name
from usfmae.settings import Settings

_HERE = Path(__file__).parent
LEDGER = "claims.html"


def write_report(settings: Settings, results: Path, out: Path, figures: Path, tables: Path) -> None:
    """Writes the page `out`, its figures as PNG and PDF into `figures` and its tables as CSV, Markdown and
    LaTeX into `tables`; beside it the page of the ledger of claims, `LEDGER`.

    `results` holds the stages' products as docs/contracts.md says. A product that is not there leaves its
    part out; a model without predictions is listed as not run. The same products give the same bytes.
    """
    products, exhibits = Products(settings, results), Exhibits(figures, tables)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["class_name"] = class_name
    simulated = products.simulated(products.datasets)
    claims = claims_page(products, exhibits)
    common = {"title": settings.study.title, "style": (_HERE / "page.css").read_text(encoding="utf-8")}
    page = environment.get_template("page.html").render(
        **common,
        claims=claims,
        ledger=LEDGER,
        checklists=write_checklists(products, exhibits),
        simulated=sorted(settings.datasets[name].title for name in simulated),
        all_simulated=len(simulated) == len(products.datasets),
        overview=overview_section(products, exhibits),
        ranks=ranks_section(products, exhibits),
        corpora=[corpus_section(name, products, exhibits) for name in products.corpora],
        recipes=[pretraining_section(name, products, exhibits) for name in products.recipes],
        tasks=[task_section(name, products, exhibits) for name in settings.study.tasks],
        methods=methods_section(products, exhibits),
    )
    with atomic(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    page = environment.get_template(LEDGER).render(**common, claims=claims, report=out.name)
    with atomic(out.with_name(LEDGER)) as temporary:
        temporary.write_text(page, encoding="utf-8")
