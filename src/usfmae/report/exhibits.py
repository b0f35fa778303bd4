"""Figures and tables on their way into the page: written to their folder, and embedded."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from usfmae.record import atomic, write_table
from usfmae.report import table_formats


@dataclass(frozen=True)
class Picture:
    """An embedded figure. `width` and `height` are CSS pixels, half of the picture's own."""

    source: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """A table of text. `prose` names the columns that hold words; the others are aligned as numbers."""

    caption: str
    columns: list[str]
    prose: frozenset[str]
    rows: list[list[str]]


class Exhibits:
    """The folders `results/figures` and `results/tables`."""

    def __init__(self, figures: Path, tables: Path) -> None:
        self.figures, self.tables = figures, tables
        figures.mkdir(parents=True, exist_ok=True)  # a study without a task has none

    def table(self, name: str, frame: pd.DataFrame, caption: str, prose: set[str]) -> Table:
        """Writes `<tables>/<name>.csv`, `.md` and `.tex` with the cells as the page shows them."""
        write_table(self.tables / f"{name}.csv", frame)
        left = frozenset(prose)
        self.text(f"{name}.md", table_formats.markdown(frame, caption, left))
        self.text(f"{name}.tex", table_formats.latex(frame, caption, name, left))
        return Table(caption, list(frame.columns), left, frame.to_numpy().tolist())

    def text(self, file: str, content: str) -> str:
        """Writes `<tables>/<file>`; returns the content, for the page."""
        with atomic(self.tables / file) as temporary:
            temporary.write_text(content, encoding="utf-8")
        return content


def embedded(path: Path, alt: str, caption: str) -> Picture:
    """`<path>.png` as a data address."""
    file = path.with_name(f"{path.name}.png")
    with Image.open(file) as image:
        width, height = image.size
    source = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
    return Picture(source, alt, caption, width // 2, height // 2)
