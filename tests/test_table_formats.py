"""Tables for a paper: the cells of the CSV, in Markdown and in LaTeX that compiles."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from usfmae.report.exhibits import Exhibits
from usfmae.report.table_formats import escape_latex, latex, markdown

NASTY = pd.DataFrame(
    {
        "Model": ["A_1 & {B}", "100 % #2", r"$x^2$ ~ C:\temp", "a | b <i>"],
        "p (Holm)": ["<0.001", "−0.01 (−0.05 to +0.03)", "0.84 (0.79–0.88)", "≥ 1 × 2"],
    }
)


def body_of(tex: str) -> list[str]:
    return re.findall(r"\\midrule\n(.*)\\bottomrule", tex, re.DOTALL)[0].splitlines()


def test_every_special_character_of_latex_is_escaped() -> None:
    assert escape_latex(r"a_b & 5 % #1 {x} $y$ ~ ^ \z") == (
        r"a\_b \& 5 \% \#1 \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )
    assert escape_latex("<0.001, −1 to 2–3 ±") == r"\textless{}0.001, $-$1 to 2--3 $\pm$"


def test_no_cell_of_the_report_keeps_a_character_that_latex_would_stumble_over() -> None:
    plain = re.sub(
        r"\\[A-Za-z]+(?:\{\d?\})?|\\[&%$#_{}]|\$\\?[a-z-]+\$", "", escape_latex("".join(NASTY["Model"]))
    )
    assert not set(plain) & set("\\&%$#_{}~^")
    assert escape_latex("".join(NASTY["p (Holm)"])).isascii()


def test_a_latex_table_has_the_structure_of_booktabs_and_as_many_cells_as_the_csv() -> None:
    tex = latex(NASTY, "50 % of A_1", "kidney_summary", frozenset({"Model"}))
    order = [
        r"\begin{table}",
        r"\caption{50 \% of A\_1}",
        r"\label{tab:kidney_summary}",
        r"\begin{tabular}{lr}",
    ]
    order += [r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    assert [tex.count(part) for part in order] == [1] * len(order)
    assert sorted(order, key=tex.index) == order
    rows = body_of(tex)
    assert len(rows) == len(NASTY) and all(row.endswith(r" \\") for row in rows)
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [1] * len(rows)
    depth = re.sub(r"\\[{}]", "", tex)
    assert depth.count("{") == depth.count("}")


def test_a_markdown_table_has_a_cell_for_each_of_the_csv() -> None:
    caption, empty, head, marks, *rows = markdown(NASTY, "A table.", frozenset({"Model"})).splitlines()
    assert (caption, empty) == ("A table.", "")
    assert (head, marks) == ("| Model | p (Holm) |", "| --- | ---: |")
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3] * len(NASTY)
    assert r"a \| b \<i\>" in rows[3]


def test_a_cell_with_a_line_break_stays_one_row() -> None:
    frame = pd.DataFrame({"Note": ["first\nsecond"]})
    assert body_of(latex(frame, "", "x", frozenset())) == [r"first second \\"]
    assert markdown(frame, "", frozenset()).endswith("| first second |\n")


@pytest.mark.parametrize("ending", ["csv", "md", "tex"])
def test_the_report_writes_each_table_in_three_formats(tmp_path: Path, ending: str) -> None:
    exhibits = Exhibits(tmp_path, tmp_path / "tables")
    exhibits.table("kidney_summary", NASTY, "A caption.", {"Model"})
    assert (tmp_path / "tables" / f"kidney_summary.{ending}").stat().st_size > 50
