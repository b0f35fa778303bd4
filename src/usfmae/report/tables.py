"""Results as tables that people read: every cell is text, every number has its interval and its n."""

from __future__ import annotations

from typing import Any

import pandas as pd

from usfmae.report.words import (
    NOT_RUN,
    class_name,
    count,
    duration,
    estimate_name,
    metric_name,
    number,
    p_value,
    role_name,
    shown_estimates,
    smallest_p,
    with_interval,
)

#: Metrics in the short table; the long one has all.
MAIN_METRICS = ["auc", "sensitivity", "specificity", "balanced_accuracy", "accuracy", "f1_macro", "brier"]


def primary_table(summary: pd.DataFrame, metric: str, titles: dict[str, str]) -> pd.DataFrame:
    """A row a model, a column an estimate of the primary metric with its 95 % interval."""
    rows = []
    found = summary[summary["metric"] == metric].set_index(["model", "role", "estimate"])
    used = shown_estimates(summary)
    folds = summary["n_folds"].max()
    for model, title in titles.items():
        row = {"Model": title}
        for role, estimate in used:
            key = (model, role, estimate)
            name = estimate_name(role, estimate, folds)
            row[name] = _interval(found.loc[key]) if key in found.index else NOT_RUN
        rows.append(row)
    return pd.DataFrame(rows)


def metrics_table(
    summary: pd.DataFrame, role: str, estimate: str, titles: dict[str, str], only: list[str] | None = None
) -> pd.DataFrame:
    """A row a metric, a column a model that ran; `only` chooses metrics. Recall is left out: it is
    sensitivity by another name."""
    part = summary[(summary["role"] == role) & (summary["estimate"] == estimate)]
    part = part[part["metric"] != "recall"]
    found = part.set_index(["metric", "model"])
    names = [name for name in dict.fromkeys(part["metric"]) if only is None or name in only]
    models = [model for model in titles if model in set(part["model"])]
    return pd.DataFrame(
        [
            {"Metric": metric_name(name)}
            | {titles[model]: _interval(found.loc[name, model]) for model in models}
            for name in names
        ]
    )


def folds_table(
    fold_metrics: pd.DataFrame, summary: pd.DataFrame, metric: str, titles: dict[str, str]
) -> pd.DataFrame:
    """The primary metric of each test fold (mean over seeds), their mean and standard deviation."""
    test = fold_metrics[(fold_metrics["role"] == "test") & (fold_metrics["metric"] == metric)]
    values = test.pivot_table(index="model", columns="fold", values="value")
    means = summary[(summary["metric"] == metric) & (summary["estimate"] == "mean of folds")].set_index(
        "model"
    )
    rows = []
    for model, title in titles.items():
        ran = model in values.index
        row = {"Model": title}
        row |= {f"Fold {fold}": number(values.at[model, fold], 3) if ran else "–" for fold in values}
        row["Mean (95 % interval)"] = _interval(means.loc[model]) if ran else NOT_RUN
        row["SD"] = number(means.at[model, "sd"], 3) if ran else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def comparisons_table(comparisons: pd.DataFrame, titles: dict[str, str]) -> pd.DataFrame:
    """A row a test of the reference against another model."""
    return pd.DataFrame(
        [
            {
                "Against": titles.get(row["model_b"], row["model_b"]),
                "On": role_name(row["role"]),
                "Test": row["test"],
                "n": f"{row['n_pairs']:,.0f}",
                "Difference (95 % interval)": with_interval(
                    row["difference"], row["lower"], row["upper"], digits=3, sign=True
                ),
                "Statistic": number(row["statistic"]),
                "p": p_value(row["p"]),
                "Smallest p": smallest_p(row["smallest_p"]),
                "p (Holm)": p_value(row["p_holm"]),
                "Valid": "–" if row["valid"] == "not made" else row["valid"],
            }
            for _, row in comparisons.iterrows()
        ]
    )


def split_table(folds: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Frames by class, frames and subjects of each part of each fold; the hold-out once."""
    parts = folds[folds["role"] != "holdout"].groupby(["fold", "role"], sort=False)
    roles = ["train", "validation", "test"]
    order = sorted(parts.groups, key=lambda key: (key[0], roles.index(key[1])))
    rows = [_part(f"Fold {fold}", role, parts.get_group((fold, role)), classes) for fold, role in order]
    holdout = folds[folds["role"] == "holdout"].drop_duplicates("frame_id")
    if len(holdout):
        rows.append(_part("All folds", "hold-out", holdout, classes))
    return pd.DataFrame(rows)


def _part(fold: str, role: str, rows: pd.DataFrame, classes: list[str]) -> dict[str, str]:
    of_class = rows["label"].value_counts()
    return {
        "Fold": fold,
        "Part": {"train": "training"}.get(role, role),
        "Subjects": f"{rows['subject'].nunique():,}",
        "Frames": f"{len(rows):,}",
        **{class_name(name): f"{of_class.get(name, 0):,}" for name in classes},
    }


def stage_table(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Runs, time and largest memory of each stage, from the run records."""
    rows = []
    for stage in dict.fromkeys(run["stage"] for run in runs):
        of_stage = [run for run in runs if run["stage"] == stage]
        rows.append(
            {
                "Stage": stage,
                "Runs": f"{len(of_stage):,}",
                "Time, summed over runs": duration(sum(run["seconds"] for run in of_stage)),
                "Largest memory": f"{max(run['peak_memory_mb'] for run in of_stage):,.0f} MB",
            }
        )
    return pd.DataFrame(rows)


def versions_table(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """What the runs ran on; a cell holds several values where runs differ."""

    def different(values: list[Any]) -> str:
        return ", ".join(dict.fromkeys(str(value) for value in values))

    places = [run["environment"] for run in runs]
    changed = {False: " (changed files)"}
    commits = [f"{run['git']['commit'][:12]}{changed.get(run['git']['clean'], '')}" for run in runs]
    packages = dict.fromkeys(name for place in places for name in place["packages"])
    rows = {
        "commit": different(commits),
        "python": different([place["python"] for place in places]),
        **{name: different([p["packages"].get(name, "unknown") for p in places]) for name in packages},
        "processor": different(
            [f"{place['processor']}, {count(place['cores'], 'core')}" for place in places]
        ),
        "device": different([place["device"] for place in places]),
    }
    return pd.DataFrame({"What": list(rows), "Version": list(rows.values())})


def _interval(row: Any) -> str:
    return with_interval(row["value"], row["lower"], row["upper"])
