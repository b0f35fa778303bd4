"""The models' mean ranks over all tasks on the page: a diagram where tasks are enough, else why not."""

from __future__ import annotations

from typing import Any

from usfmae.report import figures_comparisons
from usfmae.report.exhibits import Exhibits, embedded
from usfmae.report.products import Products
from usfmae.report.words import number, p_value


def ranks_section(products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """`parts`: the critical-difference diagram; `absent`: a sentence where there is none. Both are empty
    before the statistics have ranked the models."""
    ranks = products.table("statistics", "ranks.csv")
    if ranks is None or ranks.empty:
        return {"parts": [], "absent": ""}
    first = ranks.iloc[0]
    if ranks["critical_difference"].isna().any():
        return {"parts": [], "absent": f"No critical-difference diagram. {first['note']}"}
    tasks = products.study.tasks
    simulated = any(products.simulated(products.settings.tasks[task].datasets) for task in tasks)
    out = exhibits.figures / "critical_difference"
    figures_comparisons.critical_difference_diagram(ranks, products.titles, out, simulated=simulated)
    caption = (
        f"Mean ranks over the tasks, 1 is best; a bar ties models that Nemenyi's test does not tell apart. "
        f"Friedman's chi-square {number(first['statistic'])}, p {p_value(first['p'])}. {first['note']}"
    )
    return {"parts": [embedded(out, "Mean ranks of the models on a line.", caption)], "absent": ""}
