"""What a run can show by scanner, centre and patient feature: only where a subgroup is such a column."""

from __future__ import annotations

from collections.abc import Collection

from usfmae.evaluation.subgroups import NOT_TOLD
from usfmae.report.checklists.evidence import Evidence, found
from usfmae.report.products import Products

#: Names of columns, in small letters, that say by themselves what they hold; of any other nothing is claimed.
SCANNER = {"device", "machine", "manufacturer", "probe", "scanner", "transducer"}
CENTRE = {"center", "centre", "clinic", "hospital", "institution", "site"}
FEATURE = {"age", "age_group", "bmi", "ethnicity", "gender", "race", "sex"}


def scanners(products: Products) -> Evidence | None:
    return _by(products, SCANNER, "test parts by {}; other settings of the acquisition are not read")


def centres(products: Products) -> Evidence | None:
    return _by(products, CENTRE, "test parts by {}; where they lie is not read")


def features(products: Products) -> Evidence | None:
    return _by(products, FEATURE, "test parts alone, by {}; training parts and other features are not shown")


def fairness(products: Products) -> Evidence | None:
    return _by(products, FEATURE, "results by {}; no test compares the groups")


def clusters(products: Products) -> Evidence | None:
    return _by(products, SCANNER | CENTRE, "results by {}; by no other cluster")


def _by(products: Products, columns: Collection[str], facts: str) -> Evidence | None:
    """`facts` with the groups that `subgroups.csv` tells, of tasks whose subgroup is one of the columns."""
    files, said = [], []
    for task in products.study.tasks:
        column = products.settings.tasks[task].subgroup
        table = products.statistics(task).get("subgroups")
        if column is None or table is None or column.strip().lower().replace(" ", "_") not in columns:
            continue
        names = [str(name) for name in table["subgroup"].dropna().unique() if name != NOT_TOLD]
        if names:
            files.append(f"statistics/{task}/subgroups.csv")
            said.append(f"{column} ({task}: {', '.join(names)})")
    return found(tuple(files), facts.format("; ".join(said)))
