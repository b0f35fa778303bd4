"""The fuzz tests with eight times as many cases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("file", sorted(path.name for path in TESTS.glob("test_fuzz_*.py")))
def test_eight_times_as_many_cases(file: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", str(TESTS / file)]
    environment = os.environ | {"USFMAE_FUZZ": "deep"}
    done = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
