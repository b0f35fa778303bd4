"""What the files of a release mean: which hold frames, and each frame's mask, subject and label."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from usfmae.settings.base import nearest
from usfmae.settings.datasets import Dataset, Table


class LayoutError(ValueError):
    """The release is not laid out as its entry in config/ says."""


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
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in paths
        if path.name != "fetched.json" and not any(part.startswith(".") for part in path.parts)
    )


def sources(name: str, dataset: Dataset, root: Path) -> list[Source]:
    """The release's sources, ordered by path; rows of the table without a file come last.

    Raises LayoutError where the table or one of its columns is missing, where its rows contradict each
    other or fit two files, and where a pattern finds no file.
    """
    files = release_files(root)
    holds_frames = [
        path
        for path in files
        if any(matches(path, pattern) for pattern in dataset.include)
        and not any(matches(path, pattern) for pattern in dataset.exclude)
        and not path.endswith((".csv", ".txt", ".json", ".md"))
    ]
    if not holds_frames:
        raise LayoutError(f"{name}: no file below {root} matches include: {dataset.include}")
    rows = _rows(name, dataset.table, root) if dataset.table else {}
    seen: dict[int, str] = {}
    found = []
    for path in holds_frames:
        row = _row_of(path, rows)
        if row is not None and row.name in seen:
            raise LayoutError(
                f"{name}: one row of the table fits two files, {seen[row.name]} and {path}: name frames by "
                "their path in the table, or leave one of the files out with `exclude`"
            )
        if row is not None:
            seen[row.name] = path
        found.append(_source(path, dataset, row, set(files)))
    unseen = {row.name: (key, row) for key, row in rows.items() if row.name not in seen}
    found += [_source(key, dataset, row, set(), exists=False) for key, row in unseen.values()]
    return found


def matches(path: str, pattern: str) -> bool:
    """Shell pattern on the whole relative path; `**/` stands for any number of folders, none included."""
    expression = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    expression = expression.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.fullmatch(expression, path, flags=re.IGNORECASE) is not None


def _rows(name: str, table: Table, root: Path) -> dict[str, pd.Series]:
    """The table's rows by what its `frame` column says. All cells are text; empty cells are null."""
    rows = _read_csv(name, root / table.file)
    _need(name, table.file, rows, "frame", table.frame)
    for file, column in table.join.items():
        other = _read_csv(name, root / file)
        _need(name, file, other, "join", column)
        other = other.rename(columns={column: table.frame}).drop_duplicates(table.frame)
        new = [c for c in other.columns if c == table.frame or c not in rows.columns]
        rows = rows.merge(other[new], on=table.frame, how="left")
    meant = {key: getattr(table, key) for key in ("subject", "label", "fold", "split")}
    columns = [column for column in meant.values() if column is not None]
    for key, column in meant.items():
        if column is not None:
            _need(name, table.file, rows, key, column)
    rows = rows[rows[table.frame].notna()].reset_index(drop=True)
    clashes = rows.drop_duplicates([table.frame, *columns])[table.frame]
    if clashes.duplicated().any():
        frame = clashes[clashes.duplicated()].iat[0]
        raise LayoutError(
            f"{name}: {table.file} has rows for {frame!r} that differ in {' or '.join(columns)}: keep one"
        )
    return {str(row[table.frame]).replace("\\", "/"): row for _, row in rows.iterrows()}


def _read_csv(name: str, file: Path) -> pd.DataFrame:
    try:
        text = file.read_text(encoding="utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        return pd.read_csv(io.StringIO(text), dtype=str, sep=separator)
    except FileNotFoundError:
        raise LayoutError(f"{name}: the table {file} is missing") from None
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LayoutError(f"{name}: {file} is not a CSV table in UTF-8: {error}") from None


def _need(name: str, file: str, rows: pd.DataFrame, key: str, column: str) -> None:
    if column not in rows.columns:
        hint = nearest(column, [str(c) for c in rows.columns])
        raise LayoutError(f"{name}: {file} has no column {column!r}, which table.{key} names{hint}")


def _row_of(path: str, rows: dict[str, pd.Series]) -> pd.Series | None:
    """The row that names the frame by its path, its file name or its file name without ending."""
    pure = PurePosixPath(path)
    for key in (path, pure.name, pure.stem):
        if key in rows:
            return rows[key]
    return None


def _source(
    path: str, dataset: Dataset, row: pd.Series | None, files: set[str], *, exists: bool = True
) -> Source:
    def cell(column: str | None) -> str | None:
        if row is None or column is None or pd.isna(row[column]):
            return None
        return str(row[column]).strip() or None

    table = dataset.table or Table(file="", frame="")
    mask = _mask_path(path, dataset)
    return Source(
        path=path,
        exists=exists,
        mask=mask if mask in files else None,
        subject=cell(table.subject) or _found(dataset.subject_pattern, path),
        label=cell(table.label) or _found(dataset.label_pattern, path),
        fold=cell(table.fold),
        split=cell(table.split),
    )


def _mask_path(path: str, dataset: Dataset) -> str | None:
    if dataset.masks is None:
        return None
    pure = PurePosixPath(path)
    stem = _found(dataset.mask_stem, pure.stem) or pure.stem
    folder = "" if str(pure.parent) == "." else str(pure.parent)
    return dataset.masks.format(stem=stem, name=pure.name, folder=folder).lstrip("/")


def _found(pattern: str | None, text: str) -> str | None:
    found = re.search(pattern, text) if pattern else None
    return found.group(1) if found else None
