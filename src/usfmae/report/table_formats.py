"""A table of text as Markdown and as LaTeX, for a paper; the same cells as its CSV."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # What a LaTeX of 8 bits lacks, or sets in another way.
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "²": r"\textsuperscript{2}",
    "√": r"$\surd$",
    "→": r"$\rightarrow$",
    "…": r"\ldots{}",
}
_SPECIAL = re.compile("|".join(map(re.escape, _LATEX)))


def escape_latex(text: str) -> str:
    """Text with every character that LaTeX would read as a command, or does not know, written for it."""
    return _SPECIAL.sub(lambda found: _LATEX[found[0]], text)


def latex(frame: pd.DataFrame, caption: str, label: str, prose: frozenset[str]) -> str:
    r"""A `table` in the style of the package booktabs; columns in `prose` to the left, numbers to the right.

    Needs `\usepackage{booktabs}`. All cells are text, and are escaped.
    """
    columns = "".join("l" if column in prose else "r" for column in frame.columns)
    rows = [_row(list(frame.columns), escape_latex, " & "), *_body(frame, escape_latex, " & ")]
    head, *body = [f"{row} \\\\" for row in rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def markdown(frame: pd.DataFrame, caption: str, prose: frozenset[str]) -> str:
    """A table in the pipes of GitHub's Markdown below its caption; numbers to the right."""
    marks = ["---" if column in prose else "---:" for column in frame.columns]
    rows = [_row(list(frame.columns), _escape_markdown, " | "), " | ".join(marks)]
    rows += _body(frame, _escape_markdown, " | ")
    return f"{_escape_markdown(caption)}\n\n" + "".join(f"| {row} |\n" for row in rows)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_<>`])", r"\\\1", text)


def _body(frame: pd.DataFrame, escape: Callable[[str], str], between: str) -> list[str]:
    return [_row(cells, escape, between) for cells in frame.to_numpy().tolist()]


def _row(cells: list[object], escape: Callable[[str], str], between: str) -> str:
    return between.join(escape(" ".join(str(cell).split())) for cell in cells)
