"""How many cases the fuzz tests draw: few and the same ones by default, more with USFMAE_FUZZ=deep."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

#: `deep`: eight times as many; `random`: as many as deep, and other ones each time, to hunt with.
MODE = os.environ.get("USFMAE_FUZZ", "")
SECONDS = 20


def fuzz(examples: int) -> Callable[[Any], Any]:
    """So many cases, the same ones each time: a finding of CI is one that anybody can repeat."""
    return settings(
        max_examples=examples * (8 if MODE else 1),
        derandomize=MODE != "random",
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes like `content` with some of them changed, a piece repeated or cut out, or the end missing."""
    places = st.integers(0, max(0, len(content) - 1))
    # Headers lie at the front, and decide the most.
    near = st.one_of(st.integers(0, min(200, len(content) - 1)), places)
    values = st.one_of(
        st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 8, b"\x7f\xff"])
    )
    changes = st.lists(st.tuples(near, values), min_size=1, max_size=6)

    def apply(drawn: tuple[list[tuple[int, bytes]], int, int, bool]) -> bytes:
        changed = bytearray(content)
        for place, value in drawn[0]:
            changed[place : place + len(value)] = value
        start, end = sorted(drawn[1:3])
        if drawn[3]:
            del changed[start:end]
        return bytes(changed)

    return st.tuples(changes, places, places, st.booleans()).map(apply)


@contextmanager
def in_time() -> Iterator[None]:
    """Raises AssertionError where something takes longer than `SECONDS`."""

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
