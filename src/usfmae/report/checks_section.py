"""What stands beside a task's main results: subjects, calibration, fewer labels, and no lesion."""

from __future__ import annotations

import pandas as pd

from usfmae.report import figures_checks, tables_checks
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.products import Products
from usfmae.report.tables import MAIN_METRICS, metrics_table
from usfmae.report.words import count, estimate_name, metric_name

Parts = list[Table | Picture]


def subjects_parts(name: str, summary: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    """The main metrics with a subject's frames averaged; nothing where each subject has one frame."""
    parts: Parts = []
    for (role, estimate), rows in summary.groupby(["role", "estimate"], sort=False):
        n_frames, n_subjects = rows[["n_frames", "n_subjects"]].iloc[0]
        if estimate in ("pooled", "mean of fold models") and n_frames > n_subjects:
            shown = metrics_table(rows, role, estimate, products.titles, only=MAIN_METRICS)
            named = estimate_name(role, estimate, rows["n_folds"].max())
            caption = (
                f"By subject: the mean of a subject's frames, cut at a threshold of the validation subjects. "
                f"{named}: {count(n_subjects, 'subject')} with "
                f"{count(n_frames, 'frame')}, 95 % intervals."
            )
            parts.append(exhibits.table(f"{name}_subjects_{role}", shown, caption, {"Metric"}))
    return parts


def calibration_parts(
    name: str, calibration: pd.DataFrame, reliability: pd.DataFrame, products: Products, exhibits: Exhibits
) -> Parts:
    """Brier score and calibration error before and after temperature scaling, and the reliability diagram."""
    out = exhibits.figures / f"{name}_reliability"
    shown = tables_checks.calibration_table(calibration, products.titles)
    caption = (
        "Calibration, with 95 % intervals; lower is better. One temperature a run, fitted on its validation "
        "frames alone, divides the logits. It changes no prediction and no figure elsewhere on this page."
    )
    table = exhibits.table(f"{name}_calibration", shown, caption, {"Model", "On"})
    simulated = bool(products.simulated(products.settings.tasks[name].datasets))
    figures_checks.reliability_diagrams(reliability, products.titles, out, simulated=simulated)
    caption = (
        "Reliability: share of right answers among frames of like confidence, in 15 bins; larger dots have "
        "more frames. On the diagonal, confidence means what it says; below it the model is too sure."
    )
    return [table, embedded(out, "Reliability diagrams, before and after scaling, a panel a model.", caption)]


def label_efficiency_parts(name: str, table: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    """The primary metric at each share of the training subjects."""
    task, titles = products.settings.tasks[name], products.titles
    metric, out = metric_name(task.metric), exhibits.figures / f"{name}_label_efficiency"
    figures_checks.label_efficiency(
        table, metric, titles, out, simulated=bool(products.simulated(task.datasets))
    )
    n_seeds = int(table["n_seeds"].max())
    caption = f"{metric} by share of the training subjects: mean of the folds with 95 % interval."
    if n_seeds > 1:
        caption += f" The {n_seeds} seeds are repeats, not independent pairs: they are averaged first."
    shown = tables_checks.label_efficiency_table(table, titles)
    return [
        exhibits.table(f"{name}_label_efficiency", shown, caption, {"Model"}),
        embedded(out, f"{metric} against the number of training subjects, a line a model.", caption),
    ]


def subgroup_parts(name: str, table: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    """The primary metric among the frames of one device, say."""
    task = products.settings.tasks[name]
    shown = tables_checks.subgroup_table(table, task.metric, list(task.classes), products.titles)
    caption = (
        f"{metric_name(task.metric)} by `{task.subgroup}` of the release, with 95 % intervals over the "
        "group's own subjects; thresholds and models are those of all frames. Groups differ in how common "
        "the classes are, so no test compares them."
    )
    return [exhibits.table(f"{name}_subgroups", shown, caption, {"Group", "On"})]


def shortcut_parts(name: str, table: pd.DataFrame, products: Products, exhibits: Exhibits) -> Parts:
    """The primary metric of the trained models on frames without the lesion."""
    metric = products.settings.tasks[name].metric
    shown = tables_checks.shortcut_table(table, metric, products.titles)
    caption = (
        f"Without the lesion: {metric_name(metric)} of the models as trained, on test frames that have a "
        "mask, first seed, with 95 % intervals. What stays well above chance is not learned from the lesion; "
        "what falls may only show that such frames are strange to the model."
    )
    return [exhibits.table(f"{name}_shortcuts", shown, caption, {"Model", "Note"})]
