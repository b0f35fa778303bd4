"""Models ranked over tasks: Friedman's test and Nemenyi's critical difference, where tasks are enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from scipy import stats

from usfmae.evaluation.comparison.result import ALPHA

#: Demšar (2006, J. Mach. Learn. Res. 7:1) asks for more than a handful of data sets.
FEWEST_TASKS = 5
FEWEST_MODELS = 3
RANK_COLUMNS = ["model", "mean_rank", "n_tasks", "n_models", "statistic", "p", "critical_difference", "note"]


def rank_models(
    values: Mapping[str, Mapping[str, float]], datasets: Mapping[str, Iterable[str]] | None = None
) -> pd.DataFrame:
    """A row a model that ran on every task, best first, with its mean rank (1 is best, ties share).

    `values[task][model]` is the task's primary metric, higher is better. `statistic` and `p` are Friedman's
    (1937) over the tasks; two mean ranks differ by Nemenyi's (1963) test at 5 % if they lie further apart
    than `critical_difference` = q / √2 · √(k (k + 1) / 6 N), with q of the studentized range. With fewer than
    5 tasks or 3 models there is no test, and `note` says so.

    `datasets[task]` names the task's datasets: of tasks with the same ones only the first counts, because
    the same images twice are no sample of two, and `note` names the others. Where no model ran on every task,
    the table is one row without a model.
    """
    again = repeated(datasets or {})
    table = pd.DataFrame({task: each for task, each in values.items() if task not in again}).T
    table = table.dropna(axis=1)  # (tasks, models)
    n_tasks, n_models = table.shape
    ranks = table.rank(axis=1, ascending=False)
    statistic = p = difference = np.nan
    notes = ["Ranks of the mean over the folds."]
    if again:
        named = ", ".join(f"{task} (as {first})" for task, first in again.items())
        notes.append(f"Not counted, because their images are those of another task: {named}.")
    if n_models == 0:
        notes = [f"No model ran on each of the {n_tasks} tasks, so none is ranked.", *notes[1:]]
    if n_tasks < FEWEST_TASKS or n_models < FEWEST_MODELS:
        notes.append(
            f"No test: Friedman's and Nemenyi's need {FEWEST_TASKS} tasks or more, and {FEWEST_MODELS} "
            f"models or more that ran on all of them; here are {n_tasks} and {n_models}."
        )
    else:
        statistic, p = stats.friedmanchisquare(*(table[model] for model in table))
        q = stats.studentized_range.ppf(1 - ALPHA, n_models, np.inf) / np.sqrt(2)
        difference = float(q * np.sqrt(n_models * (n_models + 1) / (6 * n_tasks)))
        notes.append("Friedman's p from chi-squared; the tasks count as a sample of tasks.")
    mean = ranks.mean() if n_models else pd.Series({"": np.nan})
    found = mean.sort_values(kind="stable").rename("mean_rank").rename_axis("model").reset_index()
    found = found.assign(
        n_tasks=n_tasks,
        n_models=n_models,
        statistic=statistic,
        p=p,
        critical_difference=difference,
        note=" ".join(notes),
    )
    return found[RANK_COLUMNS]


def repeated(datasets: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Each task whose datasets an earlier task has, all of them and no other, and that earlier task."""
    first: dict[frozenset[str], str] = {}
    found = {}
    for task, names in datasets.items():
        earlier = first.setdefault(frozenset(names), task)
        if earlier != task:
            found[task] = earlier
    return found


def task_values(summary: pd.DataFrame, primary: str) -> dict[str, float]:
    """Each model's mean over the folds of the primary metric, from one task's `summary.csv`."""
    rows = summary[(summary["estimate"] == "mean of folds") & (summary["metric"] == primary)]
    return dict(zip(rows["model"], rows["value"], strict=True))
