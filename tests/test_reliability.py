"""docs/reliability.md promises nothing that no test shows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_table_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 40
    absent = [f"{file}::{name}" for file, name in named if name not in functions(file)]
    assert not absent


def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| (?!fault|what is drawn|-)", line)]
    assert len(rows) > 30
    assert not [row for row in rows if "`tests/" not in row.rsplit("|", 2)[1]]


def test_every_fault_and_fuzz_test_file_is_in_the_table() -> None:
    files = [*ROOT.glob("tests/test_fuzz_*.py"), *ROOT.glob("tests/full/test_faults_*.py")]
    assert len(files) >= 8
    assert not [file.name for file in files if file.name not in PAGE]
