"""Reads a release's tables (CSV, text list, spreadsheet, COCO): what they say of each frame."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd

from usfmae.corpus.releases.patterns import matching
from usfmae.settings.base import nearest
from usfmae.settings.datasets import Table

MEANINGS = ("subject", "label", "fold", "split")


class LayoutError(ValueError):
    """The release is not laid out as its entry in config/ says."""


@dataclass(frozen=True)
class Row:
    """What a table says of one frame; `frame` is its name as the table writes it."""

    frame: str
    subject: str | None = None
    label: str | None = None
    fold: str | None = None
    split: str | None = None


def read_rows(name: str, table: Table, root: Path, files: Sequence[str]) -> list[Row]:
    """The rows of the release's tables, each frame once, in their order.

    `files` are all of the release's, relative to `root`. All cells are text; an empty cell is None. Raises
    LayoutError where a table or one of its columns is missing or unreadable, and where rows of one frame
    contradict each other.
    """
    if not table.required and not matching(files, table.file):
        return []
    found: dict[str, Row] = {}
    further = {file: _only(name, root, files, file) for file in table.join}
    for path in _all(name, root, files, table.file):
        for row in _rows_of(name, table, root, path, further):
            if found.setdefault(row.frame, row) != row:
                told = [column for column in _meant(table).values() if column is not None]
                raise LayoutError(
                    f"{name}: {path} has rows for {row.frame!r} that differ in {' or '.join(told)}: keep one"
                )
    return list(found.values())


def _all(name: str, root: Path, files: Sequence[str], pattern: str) -> list[str]:
    found = matching(files, pattern)
    if not found:
        raise LayoutError(f"{name}: the table {root / pattern} is missing")
    return found


def _only(name: str, root: Path, files: Sequence[str], pattern: str) -> str:
    found = _all(name, root, files, pattern)
    if len(found) > 1:
        raise LayoutError(f"{name}: {' and '.join(found)} fit table.join {pattern!r}: one file is meant")
    return found[0]


def _rows_of(name: str, table: Table, root: Path, path: str, further: dict[str, str]) -> list[Row]:
    cells = _read(name, root / path, table.columns)
    if table.path_pattern is not None:
        groups = re.search(table.path_pattern, path)
        if groups is None:
            raise LayoutError(f"{name}: table.path_pattern does not fit {path}: {table.path_pattern}")
        cells = cells.assign(**groups.groupdict())
    of_frame = [field for _, field, _, _ in Formatter().parse(table.frame) if field] or [table.frame]
    for column in of_frame:
        _need(name, path, cells, "frame", column)
    for pattern, column in table.join.items():
        other = _read(name, root / further[pattern], [])
        _need(name, further[pattern], other, "join", column)
        other = other.rename(columns={column: table.frame}).drop_duplicates(table.frame)
        new = [c for c in other.columns if c == table.frame or c not in cells.columns]
        cells = cells.merge(other[new], on=table.frame, how="left")
    meant = _meant(table)
    for key, meant_column in meant.items():
        if meant_column is not None:
            _need(name, path, cells, key, meant_column)
    for column, value in table.only.items():
        _need(name, path, cells, "only", column)
        cells = cells[cells[column] == value]
    cells = cells.dropna(subset=of_frame)
    return [
        Row(
            _frame(table, record),
            **{key: record[column] or None for key, column in meant.items() if column is not None},
        )
        for record in cells.fillna("").to_dict("records")
    ]


def _frame(table: Table, record: dict[Any, str]) -> str:
    frame = table.frame.format_map(record) if "{" in table.frame else record[table.frame]
    return frame.replace("\\", "/")


def _meant(table: Table) -> dict[str, str | None]:
    return {key: getattr(table, key) for key in MEANINGS}


def _need(name: str, file: str, cells: pd.DataFrame, key: str, column: str) -> None:
    if column not in cells.columns:
        hint = nearest(column, [str(c) for c in cells.columns])
        raise LayoutError(f"{name}: {file} has no column {column!r}, which table.{key} names{hint}")


def _read(name: str, file: Path, columns: list[str]) -> pd.DataFrame:
    """All cells as stripped text, empty ones null."""
    reader, kind = READERS.get(file.suffix.lower(), (_text, "CSV table in UTF-8"))
    try:
        cells = reader(file, columns)
    except Exception as error:  # pandas and openpyxl let through what zip, XML and cells raise when broken
        raise LayoutError(f"{name}: {file} is not a {kind}: {error}") from None
    cells = cells.rename(columns=lambda column: str(column).strip())
    return cells.apply(lambda column: column.str.strip()).replace("", None)


def _text(file: Path, columns: list[str]) -> pd.DataFrame:
    """Comma, semicolon or tab, whichever is most frequent in the first line; else blanks in a list."""
    text = file.read_text(encoding="utf-8-sig")
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    if not columns:
        return pd.read_csv(io.StringIO(text), dtype=str, sep=separator)
    if separator not in first:
        separator = r"\s+"
    return pd.read_csv(io.StringIO(text), dtype=str, sep=separator, header=None, names=columns)


def _spreadsheet(file: Path, columns: list[str]) -> pd.DataFrame:
    return pd.read_excel(file, dtype=str, engine="openpyxl", **({"names": columns} if columns else {}))


def _json(file: Path, columns: list[str]) -> pd.DataFrame:
    """A list of records, or a COCO file: its images, with the names of their annotations as `category`."""
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict):
        names = {category["id"]: category["name"] for category in content["categories"]}
        of_image: dict[Any, set[str]] = {}
        for annotation in content["annotations"]:
            of_image.setdefault(annotation["image_id"], set()).add(names[annotation["category_id"]])
        content = [
            image | {"category": " and ".join(sorted(of_image.get(image["id"], ())))}
            for image in content["images"]
        ]
    cells = pd.DataFrame(content)
    return cells.astype(object).where(cells.isna(), cells.astype(str))


READERS: dict[str, tuple[Callable[[Path, list[str]], pd.DataFrame], str]] = {
    ".xlsx": (_spreadsheet, "spreadsheet"),
    ".json": (_json, "list of records or COCO file"),
}
