"""Which of a task's many comparisons the page shows, and the table of all of them beside it."""

from __future__ import annotations

import pandas as pd

from usfmae.evaluation.comparison import resampled, signed_rank, subjects
from usfmae.report import tables
from usfmae.report.exhibits import Exhibits
from usfmae.report.products import Products
from usfmae.report.words import metric_name, number

#: The tests over folds that the page shows; of those over subjects, the bootstrap.
MAIN_TESTS = (signed_rank.TEST, resampled.TEST, "over folds", "none")


def main_tests(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Rows of `comparisons.csv` that the page shows: Wilcoxon over folds, corrected t, cluster bootstrap."""
    if comparisons.empty:
        return comparisons
    test = comparisons["test"]
    return comparisons[test.isin(MAIN_TESTS) | test.str.startswith(f"{subjects.BOOTSTRAP},")]


def write_all_tests(name: str, products: Products, exhibits: Exhibits) -> str:
    """Writes every test of every pair, by frames and by subjects, to `<task>_all_comparisons.csv`; returns a
    sentence that names it."""
    found = []
    for level, file in (("frames", "comparisons.csv"), ("subjects", "comparisons_subjects.csv")):
        table = products.table("statistics", name, file)
        if table is not None and len(table):
            known = table["model_a"].isin(products.titles) & table["model_b"].isin(products.titles)
            found.append(_in_words(table[known], level, products.titles))
    if not found:
        return ""
    exhibits.table(f"{name}_all_comparisons", pd.concat(found, ignore_index=True), "", set())
    return (
        f" Every test of every pair, by frames and by subjects: {name}_all_comparisons.csv in results/tables."
    )


def _in_words(table: pd.DataFrame, level: str, titles: dict[str, str]) -> pd.DataFrame:
    shown = tables.comparisons_table(table, titles).assign(Null=table["null"].to_numpy())
    shown.insert(0, "Model", [titles[model] for model in table["model_a"]])
    shown.insert(0, "Counted by", level)
    shown.insert(0, "Family", table["family"].to_numpy())
    metrics = [", ".join(map(metric_name, row.split(", "))) for row in table["metric"]]
    shown.insert(4, "Metric", metrics)
    for column, digits in {"effect_size": 2, "detectable": 3, "left": 3, "rope": 3, "right": 3}.items():
        shown[COLUMNS[column]] = [number(value, digits) for value in table[column]]
    return shown.assign(Note=table["note"].fillna("").to_numpy())


COLUMNS = {
    "effect_size": "Effect size",
    "detectable": "Detectable difference",
    "left": "P(lower)",
    "rope": "P(equivalent)",
    "right": "P(higher)",
}
