"""The graph in docs/workflow.md is that of the workflow, and holds every rule that makes something."""

from __future__ import annotations

import re

import pytest

from benchmarks import rule_graph
from workflow import ROOT


def test_the_graph_in_the_docs_is_the_workflows(capsys: pytest.CaptureFixture[str]) -> None:
    rule_graph.main()
    drawn = capsys.readouterr().out
    assert drawn == (ROOT / "docs/workflow.md").read_text(encoding="utf-8"), (
        "run python -m benchmarks.rule_graph > docs/workflow.md"
    )
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk")]
    rules = set(re.findall(r"^(?:rule|checkpoint) (\w+):", "\n".join(files), re.MULTILINE))
    targets = {"verify", "retry", "pin", "export", "label_efficiency", "shortcuts"}
    # Features are cached for frozen encoders alone, and frames embedded for an audit: not in this study.
    assert set(re.findall(r"\w+", drawn.split("flowchart TB")[1])) == rules - targets - {
        "extract_features",
        "embed_frames",
    }


def test_an_arrow_that_others_imply_is_left_out() -> None:
    before: dict[str, set[str]] = {"a": set(), "b": {"a"}, "c": {"a", "b"}}
    assert rule_graph.reduced(before) == [("a", "b"), ("b", "c")]
