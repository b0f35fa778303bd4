"""The page of the ledger: what the papers claim, beside what this study found, with a verdict each."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from usfmae.evaluation.verdict import VERDICTS
from usfmae.report.exhibits import Exhibits, Table
from usfmae.report.products import Products
from usfmae.report.words import count, metric_name, sample, with_interval

ARMS = ("published", "corrected")
#: The arms differ in the encoder, and in the split where the claim names another; in nothing else.
_ARM_TITLES = ("encoder as published", "encoder and split corrected")
_UNITS = {"percent": " %", "percent or points": " %, relative or in points", "share": "", "p": ""}


def claims_page(products: Products, exhibits: Exhibits) -> dict[str, Any] | None:
    """What the template needs: the claims by paper, how many have which verdict, and the arithmetic. None
    before the statistics stage, or where the configuration has no claim."""
    found = products.table("statistics", "claims.csv")
    if found is None or found.empty:
        return None
    papers = products.settings.papers
    rows = [_row(str(key), table, products) for key, table in found.groupby("claim", sort=False)]
    shown = pd.DataFrame([{"Paper": papers[row["paper"]].title, **row["cells"]} for row in rows])
    exhibits.table("claims", shown, "", set(shown))
    said = [row["verdict"] for row in rows]
    counts = ", ".join(f"{verdict} {said.count(verdict)}" for verdict in VERDICTS)
    return {
        "sentence": f"{len(rows)} claims: {counts}.",
        "arms": [f"Ours, {title}" for title in _ARM_TITLES],
        "papers": [
            {
                "title": paper.title,
                "reference": paper.reference,
                "read": paper.read,
                "rows": [row for row in rows if row["paper"] == name],
            }
            for name, paper in papers.items()
        ],
        "arithmetic": _arithmetic(products, exhibits),
    }


def _row(key: str, table: pd.DataFrame, products: Products) -> dict[str, Any]:
    """One claim; its lines of `claims.csv` differ in metric alone."""
    first = table.iloc[0].where(table.iloc[0].notna(), "")
    ours = [_ours(table, arm, products) for arm in ARMS]
    published = "–"
    if pd.notna(table["published"].iloc[0]):
        published = _published(first, products.settings.claims[key].rounding)
    texts = ["; ".join(filter(None, [*arm["lines"], arm["of"]])) or "–" for arm in ours]
    cells = {
        "Claim": first["says"],
        "Where": first["section"],
        "Published": published,
        f"Ours, {_ARM_TITLES[0]}": texts[0],
        f"Ours, {_ARM_TITLES[1]}": texts[1],
        "Protocol": "; ".join(filter(None, [first["protocol"], first["protocol_note"]])),
        "Seen in pretraining": "; ".join(filter(None, [first["seen"], first["seen_because"]])),
        "Audit": first["audit"],
        "Settled by": first["settled_by"],
        "Needs": first["needs"],
        "Verdict": first["verdict"],
        "Why": first["reason"],
        "Verdict, corrected": first["verdict_corrected"],
        "Why, corrected": first["reason_corrected"],
    }
    same = (first["verdict"], first["reason"]) == (first["verdict_corrected"], first["reason_corrected"])
    return {
        "key": key,
        "paper": first["paper"],
        "verdict": first["verdict"],
        "ours": ours,
        "corrected": "" if same else first["verdict_corrected"],
        "has_images": first["seen"] != "no test images",
        "cells": cells,
    }


def _published(line: pd.Series, rounding: float) -> str:
    digits = max(0, -math.floor(math.log10(rounding))) if rounding else 0
    return f"{line['published']:,.{digits}f}{_UNITS.get(line['unit'], ' ' + str(line['unit']))}"


def _ours(table: pd.DataFrame, arm: str, products: Products) -> dict[str, Any]:
    """`lines`: one a metric, with its interval; `of`: model, estimate, n, task, corpus and recipe, the same
    for all. Both are empty where there is nothing of ours."""
    found = table[table[f"value_{arm}"].notna()]
    if found.empty or (arm == "corrected" and found["kind"].iloc[0] == "count"):
        return {"lines": [], "of": ""}
    first = found.iloc[0]
    if first["kind"] == "count":
        return {"lines": [f"{first[f'value_{arm}']:,.0f}"], "of": first[f"estimate_{arm}"]}
    signed = first["kind"] in ("difference", "order")
    values = []
    for _, line in found.iterrows():
        value, lower, upper = (line[f"{each}_{arm}"] for each in ("value", "lower", "upper"))
        name = f"{metric_name(line['metric'])} " if pd.notna(line["metric"]) else ""
        values.append(name + with_interval(value, lower, upper, digits=3, sign=signed))
    n = sample(first[f"n_frames_{arm}"], first[f"n_subjects_{arm}"])
    if pd.notna(first[f"n_folds_{arm}"]):
        n += f", {count(first[f'n_folds_{arm}'], 'fold')}"
    who, against = first[f"model_{arm}"], first[f"baseline_{arm}"]
    who = products.titles.get(who, who)
    if pd.notna(against):
        who += f" less {products.titles.get(against, against)}"
    trained = "task {task}, corpus {corpus}, fine-tuning recipe {recipe}".format(
        **{name: first[f"{name}_{arm}"] for name in ("task", "corpus", "recipe")}
    )
    return {"lines": values, "of": f"{who}; {first[f'estimate_{arm}']}; {n}; {trained}"}


def _arithmetic(products: Products, exhibits: Exhibits) -> Table | None:
    table = products.table("statistics", "arithmetic.csv")
    if table is None or table.empty:
        return None
    names = {"check": "What", "published": "Published", "computed": "Computed", "means": "So"}
    shown = table[list(names)].rename(columns=names)
    caption = "What published figures allow by arithmetic alone. It needs no data, and nothing is trained."
    return exhibits.table("arithmetic", shown, caption, set(shown))
