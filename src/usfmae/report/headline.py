"""A task's result in one or two sentences, and its comparisons' null hypotheses in words."""

from __future__ import annotations

import math

import pandas as pd

from usfmae.report.words import count, metric_name, p_value, sample, smallest_p, with_interval
from usfmae.settings import Settings


def best_model(summary: pd.DataFrame, metric: str, titles: dict[str, str]) -> str:
    """The highest primary metric with interval and n: on the hold-out, else the mean of the folds, and of a
    single official test part that part itself."""
    primary = summary[summary["metric"] == metric]
    holdout = primary[primary["estimate"] == "mean of fold models"]
    test = primary[primary["role"] == "test"]
    one_part = bool((test["n_folds"] == 1).all())
    folds = test[test["estimate"] == ("pooled" if one_part else "mean of folds")]
    chosen = holdout if len(holdout) else folds
    if chosen.empty:
        return "No result yet."
    row = chosen.loc[chosen["value"].idxmax()]
    value = with_interval(row["value"], row["lower"], row["upper"])
    n = sample(row["n_frames"], row["n_subjects"])
    where = f"the independent hold-out ({n}, mean of {count(row['n_folds'], 'fold model')})"
    if chosen is not holdout:
        where = f"the official test part ({n})"
        if not one_part:
            where = f"cross-validation ({n}, mean of {count(row['n_folds'], 'fold')})"
    among = f", the highest of {len(chosen)} models" if len(chosen) > 1 else ""
    return f"{titles[row['model']]} reaches {metric_name(metric)} {value} on {where}{among}."


def foundation_against_scratch(settings: Settings, comparisons: pd.DataFrame, metric: str) -> str:
    """The reference, if pretrained, against the same encoder from scratch; empty where not compared."""
    models, reference = settings.models, settings.study.reference
    twins = [
        name
        for name in settings.study.models
        if models[name].weights == "scratch" and models[name].encoder == models[reference].encoder is not None
    ]
    if models[reference].weights != "pretrain" or not twins:
        return ""
    pair = comparisons[(comparisons["model_a"] == reference) & (comparisons["model_b"] == twins[0])]
    tests = {row["test"]: row for _, row in pair[pair["role"] == "test"].iterrows()}
    t, signed = tests.get("corrected resampled t"), tests.get("Wilcoxon signed-rank")
    if t is None or signed is None:
        return ""
    difference = with_interval(t["difference"], t["lower"], t["upper"], digits=3, sign=True)
    verdict = "no difference is shown"
    if t["valid"] == "no":
        verdict = f"no verdict. {t['note']}"
    elif not math.isnan(t["p_holm"]) and t["p_holm"] < 0.05:
        verdict = "the pretrained model is better" if t["difference"] > 0 else "the pretrained model is worse"
    folds = count(t["n_pairs"], "fold")
    how = "corrected resampled t, Holm"
    how += "; not simulated for such data" if t["valid"] == "not simulated" else ""
    return (
        f"{models[reference].title} minus {models[twins[0]].title}: {difference} {metric_name(metric)} over "
        f"{folds}, p = {p_value(t['p_holm'])} ({how}): {verdict.rstrip('.')}. "
        f"Wilcoxon signed-rank: p = {p_value(signed['p'])}, where {folds} can give no p below "
        f"{smallest_p(signed['smallest_p'])}."
    )


def hypotheses(comparisons: pd.DataFrame) -> list[dict[str, str]]:
    """Each test once: `test`, its `null` in words, and the methods and notes of all its rows."""
    found = []
    for test, rows in comparisons.groupby("test", sort=False):
        notes = " ".join(dict.fromkeys(str(note).strip() for note in rows["note"].dropna()))
        method = " or ".join(dict.fromkeys(rows["method"]))
        found.append({"test": str(test), "null": rows["null"].iloc[0], "method": method, "notes": notes})
    return found
