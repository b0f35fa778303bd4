"""What a job gets when it is sent again: more of what it lacked, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake.iocontainers import Wildcards

from workflow import ROOT

AGAIN: dict[str, Any] = {"workflow": SimpleNamespace(rules=[])}
exec((ROOT / "workflow/rules/again.smk").read_text(encoding="utf-8"), AGAIN)  # Python alone


@pytest.mark.parametrize(
    ("ends", "memory", "minutes"),
    [
        ([None], 4000, 60),
        (["stopped"], 2000, 120),
        (["failed"], 2000, 60),
        ([None, None], 6000, 60),
        ([None, "stopped"], 4000, 120),  # what was learned stays
        (["stopped", None, "stopped"], 4000, 180),
    ],
)
def test_a_job_gets_more_memory_for_each_kill_and_more_time_for_each_cut(
    ends: list[str | None], memory: int, minutes: int, tmp_path: Path
) -> None:
    """Snakemake writes the constraint of a wildcard into the log's pattern."""
    pattern, wildcards = str(tmp_path / "{task,neck|kidney}.log"), Wildcards(fromdict={"task": "neck"})
    for attempt, end in enumerate(ends, 1):
        if end:
            with (tmp_path / f"neck.{end}").open("a") as mark:
                mark.write(f"{attempt}\n")
    resources = {
        "mem_mb": AGAIN["growing"](pattern, "mem_mb", 2000, "killed"),
        "runtime": AGAIN["growing"](pattern, "runtime", 60, "stopped"),
    }
    first = [r.evaluate(wildcards, attempt=1).value for r in resources.values()]
    next_one = [r.evaluate(wildcards, attempt=len(ends) + 1).value for r in resources.values()]
    assert first == [2000, 60] and next_one == [memory, minutes]


@pytest.mark.parametrize("keeps_state", [False, True])
def test_what_keeps_its_state_needs_no_more_time(keeps_state: bool) -> None:
    given = {"mem_mb": SimpleNamespace(value=1, is_evaluable=lambda: False)}
    given["runtime"] = SimpleNamespace(value=1, is_evaluable=lambda: False)
    before = dict(given)
    params = {"checkpoints": "checkpoints/x"} if keeps_state else {}
    AGAIN["grow_when_sent_again"]([SimpleNamespace(log=["a.log"], params=params, resources=given)])
    assert given["mem_mb"] is not before["mem_mb"]
    assert (given["runtime"] is before["runtime"]) == keeps_state
