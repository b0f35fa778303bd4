"""A checklist as a table: an item is answered by a location, No, or NA with a reason, never by a tick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import yaml
from pydantic import Field

from usfmae.report.checklists import checks, evidence, groups, results
from usfmae.report.checklists.evidence import Evidence, Show
from usfmae.report.exhibits import Exhibits
from usfmae.report.products import Products
from usfmae.settings import Strict

_HERE = Path(__file__).parent
NAMES = ("claim_2024", "tripod_ai")
NOT_STATED = "not stated"
COLUMNS = [
    "Item",
    "Section",
    "Topic",
    "Answer",
    "Facts of the run",
    "Declared by a person",
    "Left to a person",
]


class Item(Strict):
    item: str
    section: str
    topic: str
    """In our own words."""
    by: Literal["run", "both", "person"]
    """Who can fill it: a run from its own files, a run and a person, a person alone."""
    only: Literal["development", "evaluation"] | None = None
    """Of TRIPOD+AI: asked of studies of this kind alone."""
    evidence: list[str] = []
    """Names of functions of the modules beside this one."""
    person: str = ""
    """What only a person can add."""
    declared: list[str] = []
    """Keys of `study.declared`; `datasets.` before one: of each dataset."""


class Checklist(Strict):
    title: str
    reference: str
    note: str
    items: Annotated[list[Item], Field(min_length=1)]


def checklist(name: str) -> Checklist:
    """One of `NAMES`, from its file beside this one."""
    return Checklist.model_validate(yaml.safe_load((_HERE / f"{name}.yaml").read_text(encoding="utf-8")))


def shows(name: str) -> Show:
    """The function that finds an evidence."""
    for module in (results, checks, groups):
        if hasattr(module, name):
            function: Show = getattr(module, name)
            return function
    return getattr(evidence, name)


def checklist_table(products: Products, of: Checklist) -> pd.DataFrame:
    """A row an item, in `COLUMNS`, from what stands in `results/` and in `study.declared`."""
    shown = {name: shows(name)(products) for item in of.items for name in item.evidence}
    return pd.DataFrame([_row(item, shown, products) for item in of.items], columns=COLUMNS)


def write_checklists(products: Products, exhibits: Exhibits) -> dict[str, str]:
    """Writes `<name>.csv` and `<name>.md` into the tables; title by file name, for the page."""
    titles = {}
    for name in NAMES:
        of = checklist(name)
        table = checklist_table(products, of)
        exhibits.table(name, table, "", set(COLUMNS))
        exhibits.text(f"{name}.md", _markdown(of, table, products))
        titles[f"{name}.md"] = of.title
    return titles


def _row(item: Item, shown: dict[str, Evidence | None], products: Products) -> list[str]:
    there = [each for name in item.evidence if (each := shown[name]) is not None]
    reasons = [each.not_applicable for each in there if each.not_applicable]
    files = list(dict.fromkeys(file for each in there for file in each.files))
    facts = ". ".join(dict.fromkeys(each.facts for each in there if each.facts))
    declared = _declared(item, products)
    files += [f"config: study.declared.{key}" for key in declared]
    answer = "No"
    if files:
        answer = "Location: " + _short(files)
    elif reasons:
        answer = f"NA: {'; '.join(reasons)}"
    left = item.person if item.person and not (item.by == "person" and declared) else ""
    asked = f"{item.topic} ({item.only} only)" if item.only else item.topic
    stated = "; ".join(declared.values()) or (NOT_STATED if item.person else "")
    return [item.item, item.section, asked, answer, facts, stated, left]


def _short(files: list[str], most: int = 3) -> str:
    """The first files, and how many more."""
    more = f" and {len(files) - most} more" if len(files) > most else ""
    return ", ".join(files[:most]) + more


def _declared(item: Item, products: Products) -> dict[str, str]:
    """What `study.declared` says, word for word, by its key there; a key that says nothing is not listed."""
    of, said = products.study.declared, {}
    for key in item.declared:
        if not key.startswith("datasets."):
            said[key] = getattr(of, key)
            continue
        field = key.removeprefix("datasets.")
        for name, dataset in of.datasets.items():
            if text := getattr(dataset, field):
                said[f"datasets.{name}.{field}"] = f"{products.settings.datasets[name].title}: {text}"
    return {key: text for key, text in said.items() if text}


def _markdown(of: Checklist, table: pd.DataFrame, products: Products) -> str:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    simulated = products.simulated(products.datasets)
    head = [
        f"# {of.title}: {products.study.title}",
        "",
        f"{of.reference}. {of.note}",
        "",
        "Written by a run from its own files. An answer is a location below results/, No, or NA and why. It",
        "does not say that what stands there is enough. What only a person can say is declared in",
        f'`study.declared` of the configuration, and is "{NOT_STATED}" until then: nothing is guessed.',
        "",
    ]
    if simulated:
        head += ["**This study contains simulated data: no patient was examined.**", ""]
    rows = [line(COLUMNS), "|" + "---|" * len(COLUMNS), *(line(row) for row in table.to_numpy().tolist())]
    return "\n".join([*head, *rows, ""])
