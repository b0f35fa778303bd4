"""Tables of a corpus: what curation and audit counted, and the registry's words and numbers beside it.

What the registry says may be corrected at any time and makes no audit stale, so it is joined here.
"""

from __future__ import annotations

import pandas as pd

from usfmae.report.words import number
from usfmae.settings import Settings
from usfmae.settings.datasets import Overlap

#: Share of the expected frames from which an overlap is confirmed: a dropped or blank frame has no copy.
MOST = 0.9


def dataset_table(frames: dict[str, pd.DataFrame], settings: Settings) -> pd.DataFrame:
    """Kept and dropped frames, subjects and labels of each dataset of a corpus (`frames.parquet`)."""
    rows = []
    for name, table in frames.items():
        kept = table[table["drop_reason"].isna()]
        labels = kept["label"].fillna("no label").value_counts().sort_index()
        rows.append(
            {
                "Dataset": settings.datasets[name].title,
                "Source": "simulated" if settings.datasets[name].simulated else "scanned",
                "Frames kept": f"{len(kept):,}",
                "Dropped": f"{len(table) - len(kept):,}",
                "Subjects": f"{kept['subject'].nunique():,}",
                "With mask": f"{int(kept['has_mask'].sum()):,}",
                "Labels (frames)": ", ".join(f"{label} ({n:,})" for label, n in labels.items())
                or "none: not available",
            }
        )
    return pd.DataFrame(rows)


def curation_table(curation: pd.DataFrame, availability: pd.DataFrame | None) -> pd.DataFrame:
    """`curation.csv` as a row a dataset, a column a finding; beside it what was not looked at, as far as any
    dataset of `availability.csv` has some."""
    counts = curation.groupby(["dataset", "finding"], sort=False)["frames"].sum().unstack(fill_value=0)
    if availability is not None:
        unseen = {"not_sampled": "frames not sampled", "other_files": "files without frames"}
        found = (
            availability.set_index("dataset").reindex(columns=list(unseen)).rename(columns=unseen).fillna(0)
        )
        counts = counts.join(found.loc[:, found.any()])
    return counts.map("{:,.0f}".format).rename(columns=str.capitalize).rename_axis("Dataset").reset_index()


def duplicates_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row a pair, in the order of the rows of `pairs`."""
    return pd.DataFrame(
        [
            {
                "Frame": row["frame_a"],
                "The same picture as": row["frame_b"],
                "Kind": row["kind"],
                "Bits": str(row["hamming"]),
                "Correlation": number(row["correlation"], 3),
                "Across subjects": "yes" if row["across_subjects"] else "no",
                "Labels differ": "yes" if row["labels_differ"] else "no",
            }
            for _, row in pairs.iterrows()
        ]
    )


def lacking_table(corpus: str, availability: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The datasets that a corpus names and lacks: unavailable (`availability.csv`), or left out for their
    licence; and why."""
    members, reasons = settings.members(corpus), availability.set_index("dataset")["reason"]
    gone = set(availability.loc[availability["status"] == "unavailable", "dataset"])
    rows = []
    for name in settings.corpora[corpus].datasets:
        dataset = settings.datasets[name]
        if name not in members:
            use = dataset.licence.use.replace("_", "-")
            why = f"licence {dataset.licence.name}, use {use}: not named in the corpus's `licences`"
            rows.append((dataset.title, "left out", why))
        elif name in gone:
            rows.append((dataset.title, "unavailable", str(reasons[name])))
    return pd.DataFrame(rows, columns=["Dataset", "Status", "Why"])


def differing_table(
    availability: pd.DataFrame, frames: dict[str, pd.DataFrame], settings: Settings
) -> pd.DataFrame:
    """Releases that do not hold as many files, subjects, frames, or files of a label as was published;
    published numbers beside those found (`availability.csv` and `frames.parquet`). What either side does not
    tell is not compared."""
    rows = []
    for _, found in availability[availability["status"] == "available"].iterrows():
        dataset, differs = settings.datasets[found["dataset"]], False
        row = {"Dataset": dataset.title}
        for what in ("files", "subjects", "frames"):
            published, counted = getattr(dataset.counts, what), found[what]
            differs |= published is not None and not pd.isna(counted) and published != counted
            row[f"{what.capitalize()} published"] = _counted(published)
            row[f"{what.capitalize()} found"] = _counted(counted)
        row["Labels found"] = labels = _differing_labels(dataset.counts.labels, frames[found["dataset"]])
        if differs or labels:
            rows.append(row)
    return pd.DataFrame(rows)


def _differing_labels(published: dict[str, int], frames: pd.DataFrame) -> str:
    """`malignant 605 of 607`: labels that not as many files bear as published; empty where none is told."""
    there = frames[frames["drop_reason"].fillna("") != "file missing"]
    files = there["label"].groupby(there["frame_id"].str.rsplit("#", n=1).str[0]).first()
    found = files.value_counts()
    differing = {label: n for label, n in published.items() if len(found) and found.get(label, 0) != n}
    return ", ".join(f"{label} {found.get(label, 0):,} of {n:,}" for label, n in differing.items())


def overlaps_table(
    overlaps: pd.DataFrame, frames: dict[str, pd.DataFrame], settings: Settings
) -> pd.DataFrame:
    """A row a pair of datasets that share frames (`overlaps.csv`) or of which the registry says something.

    `frames`: `frames.parquet` of each dataset of the corpus. The verdict is `_verdict`'s, `not checkable`
    where a side has no frame in this corpus, or `not expected`.
    """
    said = _expected(list(frames), settings)
    present = {name for name, table in frames.items() if table["drop_reason"].isna().any()}
    found = {(row["dataset_a"], row["dataset_b"]): row for _, row in overlaps.iterrows()}
    counts = {
        "exact_pairs": "Equal pairs",
        "near_pairs": "Near pairs",
        "across_subjects": "Across subjects",
        "across_splits": "Across official parts",
        "frames_of_a": "Frames of the first",
        "frames_of_b": "Frames of the second",
    }
    rows = []
    for a, b in sorted(found.keys() | said.keys()):
        numbers = {column: int(found[a, b].get(column, 0)) if (a, b) in found else 0 for column in counts}
        if (a, b) not in said:
            verdict = "not expected"
        elif {a, b} <= present:
            verdict = "; ".join(
                dict.fromkeys(_verdict(overlap, numbers, at_first=name == a) for name, overlap in said[a, b])
            )
        else:
            verdict = "not checkable"
        words = " ".join(dict.fromkeys(overlap.note for _, overlap in said.get((a, b), [])))
        rows.append(
            {"Dataset": a, "And": b}
            | {title: f"{numbers[column]:,}" for column, title in counts.items()}
            | {"Said before": words, "Verdict": verdict}
        )
    return pd.DataFrame(rows)


def _verdict(overlap: Overlap, numbers: dict[str, int], *, at_first: bool) -> str:
    """What was found of what one dataset expects: of its own frames, with the number where one is known."""
    n = numbers["frames_of_a" if at_first else "frames_of_b"]
    if overlap.expected == "unknown":
        return f"found, {n:,} frames" if n else "none found"
    if overlap.expected == "none":
        return f"refuted, {n:,} frames" if n else "confirmed, none found"
    if not n or (overlap.across_splits and not numbers["across_splits"]):
        return "refuted, none found" + (" across the official parts" if n else "")
    if overlap.frames is None:
        return f"confirmed, {n:,} frames"
    whole = "confirmed" if n >= MOST * overlap.frames else "confirmed in part"
    return f"{whole}, {n:,} of {overlap.frames:,} frames"


def _expected(datasets: list[str], settings: Settings) -> dict[tuple[str, str], list[tuple[str, Overlap]]]:
    """(dataset, dataset), in the order of the alphabet → what the registry says, and at which of them."""
    said: dict[tuple[str, str], list[tuple[str, Overlap]]] = {}
    for name in datasets:
        for other, overlap in settings.datasets[name].overlaps.items():
            said.setdefault((min(name, other), max(name, other)), []).append((name, overlap))
    return said


def _counted(value: int | None) -> str:
    return "unknown" if value is None or pd.isna(value) else f"{int(value):,}"


def licence_table(names: list[str], settings: Settings) -> pd.DataFrame:
    """Licence, use and citation of each dataset."""
    rows = []
    for name in names:
        dataset = settings.datasets[name]
        use = {"non_commercial": "non-commercial", "agreement": "after an agreement"}
        rows.append(
            {
                "Dataset": dataset.title,
                "Licence": dataset.licence.name,
                "Use": use.get(dataset.licence.use, dataset.licence.use),
                "May be passed on": {True: "yes", False: "no", None: "unknown: no"}[
                    dataset.licence.redistribution
                ],
                "Citation": dataset.citation,
            }
        )
    return pd.DataFrame(rows)
