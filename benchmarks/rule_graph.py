"""Draws the graph of the rules as docs/workflow.md shows it.

    python -m benchmarks.rule_graph [> docs/workflow.md]

The rules of the study of the papers, as Snakemake plans them where every release and checkpoint is at hand
(here: said to be). An arrow that other arrows imply is left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from graphlib import TopologicalSorter
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
#: A part of the study that has every rule.
STUDY = {
    "tasks": ["bus_bra"],
    "models": ["usfmae_corrected", "usfmae_published", "densenet169_imagenet"],
    "pretrain": ["usfmae_corrected", "usfmae_published"],
    "fractions": [0.5, 1.0],
    "explain": {"models": ["densenet169_imagenet"]},
}
HEAD = """\
# The workflow's rules

Made by `python -m benchmarks.rule_graph`; a test fails when it is out of date. Each box is a rule, an arrow
leads from what makes a file to what reads it; an arrow that others imply is left out. A study runs most rules
many times: a job a dataset, fold, model and seed.

"""


def entries(file: str, kind: str) -> list[str]:
    """Names of what a configuration file describes."""
    return list(yaml.safe_load((ROOT / f"config/{file}.yaml").read_text(encoding="utf-8"))[kind])


def arrows() -> dict[str, set[str]]:
    """Rule → the rules that it reads from."""
    with tempfile.TemporaryDirectory() as folder:
        at_hand = json.dumps({"status": "available", "root": ".", "files": []})
        for name in [
            *entries("openus46", "datasets"),
            *(f"weights/{c}" for c in entries("models", "checkpoints")),
        ]:
            fetched = Path(folder, "resources", name, "fetched.json")
            fetched.parent.mkdir(parents=True)
            fetched.write_text(at_hand, encoding="utf-8")
        overlay = Path(folder, "part.yaml")
        overlay.write_text(yaml.safe_dump({"study": STUDY}), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "all", "export", "--directory", folder]
        command += ["--rulegraph", "mermaid-js", "--configfile", "config/paper.yaml", str(overlay)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", done.stdout, re.MULTILINE))
    before: dict[str, set[str]] = {name: set() for name in names.values()}
    for source, target in re.findall(r"^\s*(id\d+) --> (id\d+)", done.stdout, re.MULTILINE):
        before[names[target]].add(names[source])
    return {rule: sources for rule, sources in before.items() if rule not in ("all", "export")}


def reduced(before: dict[str, set[str]]) -> list[tuple[str, str]]:
    """(from, to) without the arrows that others imply, in the order in which the rules run."""
    order = list(TopologicalSorter({rule: sorted(before[rule]) for rule in sorted(before)}).static_order())
    above: dict[str, set[str]] = {}
    for rule in order:
        above[rule] = before[rule].union(*(above[source] for source in before[rule]))
    return [
        (source, rule)
        for rule in order
        for source in sorted(before[rule])
        if not any(source in above[other] for other in before[rule])
    ]


def main() -> None:
    lines = [f"    {source} --> {rule}" for source, rule in reduced(arrows())]
    print(HEAD + "\n".join(["```mermaid", "flowchart TB", *lines, "```"]))


if __name__ == "__main__":
    main()
