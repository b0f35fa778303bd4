"""Tables of calibration, label efficiency and shortcut tests as people read them."""

from __future__ import annotations

import pandas as pd

from usfmae.report.words import NOT_RUN, metric_name, number, role_name, subjects, with_interval


def calibration_table(calibration: pd.DataFrame, titles: dict[str, str]) -> pd.DataFrame:
    """A row a model and role, a column a measure before and after temperature scaling."""
    found = calibration.set_index(["model", "role", "metric", "calibration"])
    rows = []
    for model, title in titles.items():
        for role in calibration["role"].unique():
            row = {"Model": title, "On": role_name(role)}
            for metric in calibration["metric"].unique():
                for when in ("before", "after"):
                    key = (model, role, metric, when)
                    cell = _interval(found.loc[key], 3) if key in found.index else NOT_RUN
                    row[f"{metric_name(metric)}, {when}"] = cell
            rows.append(row)
    return pd.DataFrame(rows)


def label_efficiency_table(table: pd.DataFrame, titles: dict[str, str]) -> pd.DataFrame:
    """A row a model, a column a share of the training subjects with their mean number."""
    subjects = table.groupby("fraction")["training_subjects"].mean()
    found = table.set_index(["model", "fraction"])
    rows = []
    for model, title in titles.items():
        row = {"Model": title}
        for fraction, n in subjects.items():
            key = (model, fraction)
            cell = _interval(found.loc[key]) if key in found.index else NOT_RUN
            row[f"{fraction:.0%} ({number(n, 0)} subjects)"] = cell
        rows.append(row)
    return pd.DataFrame(rows)


def subgroup_table(
    table: pd.DataFrame, metric: str, classes: list[str], titles: dict[str, str]
) -> pd.DataFrame:
    """A row a subgroup and role, a column a model; `NOT_RUN` for one without results."""
    rows = []
    primary = table[table["metric"] == metric]
    for (role, group), found in primary.groupby(["role", "subgroup"], sort=False):
        first, by_model = found.iloc[0], found.set_index("model")
        row = {"Group": group, "On": role_name(role)}
        row |= {f"Frames, {name}": f"{first[f'frames_{name}']:,.0f}" for name in classes}
        row["Subjects"] = subjects(first["n_subjects"])
        for model, title in titles.items():
            row[title] = _interval(by_model.loc[model]) if model in by_model.index else NOT_RUN
        rows.append(row | {"Note": first["note"]})
    return pd.DataFrame(rows)


def shortcut_table(table: pd.DataFrame, metric: str, titles: dict[str, str]) -> pd.DataFrame:
    """A row a model, a column a kind of frame; `Note` says why a model was not tested."""
    found = table[table["metric"] == metric].set_index(["model", "shown"])
    notes = table[table["note"].notna()].set_index("model")["note"].to_dict()
    rows = []
    for model, title in titles.items():
        ran = model in set(found.index.get_level_values("model"))
        row = {"Model": title}
        row |= {
            shown[:1].upper() + shown[1:]: _interval(found.loc[model, shown]) if ran else "–"
            for shown in table["shown"].dropna().unique()
        }
        row["Frames"] = f"{found.loc[model, 'n_frames'].iloc[0]:,.0f}" if ran else "–"
        rows.append(row | {"Note": notes.get(model, "" if ran else NOT_RUN)})
    return pd.DataFrame(rows)


def _interval(row: pd.Series, digits: int = 2) -> str:
    return with_interval(row["value"], row["lower"], row["upper"], digits)
