"""What the files of a release mean: which hold frames, and each frame's mask, subject and label."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from usfmae.corpus.releases.patterns import matches, matching
from usfmae.corpus.releases.tables import LayoutError, Row, read_rows
from usfmae.settings.datasets import Dataset

__all__ = ["LayoutError", "Source", "column_of", "missing", "release_files", "sources"]

#: Never frames, whatever `include` says.
TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".xlsx", ".xml", ".md")


@dataclass(frozen=True)
class Source:
    """One file with frames, and what the release says of it. Paths are relative to the release."""

    path: str
    exists: bool = True
    mask: str | None = None
    subject: str | None = None
    label: str | None = None
    fold: str | None = None
    split: str | None = None


def release_files(root: Path) -> list[str]:
    """Every file below `root` in a fixed order, but for hidden ones and our own `fetched.json`."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + name for name in files if not name.startswith(".") and name != "fetched.json"]
    return sorted(found)


def sources(name: str, dataset: Dataset, root: Path) -> list[Source]:
    """The release's sources, ordered by path; rows of the table without a file come last.

    Raises LayoutError where the table or one of its columns is missing, where its rows contradict each
    other or fit two files, and where no file holds frames.
    """
    files = release_files(root)
    holds_frames = _holding_frames(dataset, files)
    if not holds_frames:
        raise LayoutError(f"{name}: no file below {root} matches include: {dataset.include}")
    rows: list[Row] = []
    if dataset.table is not None:
        rows = read_rows(name, dataset.table, root, files)
    by_name = {row.frame: row for row in rows}
    for row in rows:  # tables written on Windows are careless about case
        by_name.setdefault(row.frame.casefold(), row)
    masks = {path.casefold(): path for path in files}
    seen: dict[str, str] = {}
    found = []
    told = {path: found_row for path in holds_frames if (found_row := _row_of(path, by_name))}
    named = {row.frame for row in told.values()}
    by_end = _by_end([row for row in rows if row.frame not in named])
    for path in holds_frames:
        row_of_path = told.get(path) or by_end.get(path.casefold())
        if row_of_path is not None:
            first = seen.setdefault(row_of_path.frame, path)
            if first != path:
                raise LayoutError(
                    f"{name}: one row of the table fits two files, {first} and {path}: name frames by "
                    "their path in the table, or leave one of the files out with `exclude`"
                )
        found.append(_source(path, dataset, row_of_path, masks))
    found += [_source(row.frame, dataset, row, {}, exists=False) for row in rows if row.frame not in seen]
    return found


def column_of(name: str, dataset: Dataset, root: Path, column: str) -> dict[str, str]:
    """Path of each source → its value in a column of the release's table; sources without one are left out.

    Raises LayoutError as `sources` does, and where the release has no table.
    """
    if dataset.table is None:
        raise LayoutError(f"{name}: it has no `table` in which to look for the column {column!r}")
    table = dataset.table.model_copy(update={"label": column})
    asked = dataset.model_copy(update={"table": table, "label_pattern": None, "label_names": {}})
    return {source.path: source.label for source in sources(name, asked, root) if source.label is not None}


def missing(dataset: Dataset, root: Path) -> list[str]:
    """What the release below `root` lacks of its layout, one sentence each; empty where it is whole.

    Each `include` pattern needs a file, and so does each table that is `required`. Layouts of which one is
    enough are alternatives inside one pattern: `**/{OTU_2d,OTU_CEUS}/*.jpg`.
    """
    files = release_files(root)
    lacks = [
        f"no file matches include {pattern!r}"
        for pattern in dataset.include
        if not _holding_frames(dataset.model_copy(update={"include": [pattern]}), files)
    ]
    table = dataset.table
    if table is not None and table.required:
        wanted = [table.file, *table.join]
        lacks += [f"the table {file} is not there" for file in wanted if not matching(files, file)]
    return lacks


def _holding_frames(dataset: Dataset, files: list[str]) -> list[str]:
    return [
        path
        for path in files
        if any(matches(path, pattern) for pattern in dataset.include)
        and not any(matches(path, pattern) for pattern in dataset.exclude)
        and not path.lower().endswith(TEXT_ENDINGS)
    ]


def _row_of(path: str, rows: dict[str, Row]) -> Row | None:
    """The row that names the frame by its path or the end of it, with or without the file's ending."""
    if not rows:
        return None
    parts = path.split("/")
    for start in range(len(parts)):
        end_of_path = "/".join(parts[start:])
        for key in (end_of_path, re.sub(r"(\.nii)?\.[^./]*$", "", end_of_path)):
            row = rows.get(key) or rows.get(key.casefold())
            if row is not None:
                return row
    return None


def _by_end(rows: list[Row]) -> dict[str, Row]:
    """The rows by each end of their frame's path, in lower case, where no other row's path ends so: a copy of
    a release often lies without its outer folders."""
    found: dict[str, Row | None] = {}
    for row in rows:
        parts = row.frame.casefold().split("/")
        for start in range(1, len(parts)):
            end = "/".join(parts[start:])
            found[end] = None if end in found else row
    return {end: row for end, row in found.items() if row is not None}


def _source(
    path: str, dataset: Dataset, row: Row | None, masks: dict[str, str], *, exists: bool = True
) -> Source:
    told = row or Row(path)
    label = told.label or _found(dataset.label_pattern, path)
    return Source(
        path=path,
        exists=exists,
        mask=_mask(path, dataset, masks),
        subject=told.subject or _found(dataset.subject_pattern, path),
        label=dataset.label_names.get(label, label) if label is not None else None,
        fold=told.fold,
        split=told.split or _found(dataset.split_pattern, path),
    )


def _mask(path: str, dataset: Dataset, files: dict[str, str]) -> str | None:
    """The first of the dataset's mask templates that names a file. `files`: lower case → path."""
    if dataset.masks is None:
        return None
    pure = PurePosixPath(path)
    folder, parent = ("" if str(p) == "." else str(p) for p in (pure.parent, pure.parent.parent))
    stem = _found(dataset.mask_stem, pure.stem) or pure.stem
    for template in [dataset.masks] if isinstance(dataset.masks, str) else dataset.masks:
        mask = template.format(stem=stem, name=pure.name, folder=folder, parent=parent).lstrip("/")
        if mask.casefold() in files:
            return files[mask.casefold()]
    return None


def _found(pattern: str | None, text: str) -> str | None:
    """What the pattern's groups found, joined by a hyphen; None where it does not fit."""
    found = re.search(pattern, text) if pattern else None
    return "-".join(group for group in found.groups() if group) or None if found else None
