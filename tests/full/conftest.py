"""What the tests of a whole study share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_study import finish


@dataclass(frozen=True)
class Unbroken:
    """A study that ran from nothing to its end in one piece."""

    folder: Path
    seconds: float


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    started = time.monotonic()
    finish(folder)
    return Unbroken(folder, time.monotonic() - started)
