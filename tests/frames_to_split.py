"""Tables of frames to split, with a few subjects tied by duplicates; at random for property-based tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

property_based = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make_frames(subjects: dict[str, int], frames_each: int = 3, tie: int = 0, seed: int = 0) -> pd.DataFrame:
    """`subjects` says how many of each class; the first `2 * tie` of each class are tied in pairs."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, count in subjects.items():
        for number in range(count):
            group = f"{label}-{number - number % 2 if number < 2 * tie else number}"
            for index in range(int(rng.integers(max(1, frames_each - 1), frames_each + 2))):
                rows.append((f"{label}-{number}#{index}", f"{label}-{number}", group, label))
    frames = pd.DataFrame(rows, columns=["frame_id", "subject", "group", "label"])
    return frames.assign(official_fold=None, official_split=None)


@st.composite
def studies(draw: st.DrawFn) -> pd.DataFrame:
    """Frames of 32 to 90 subjects in two or three classes."""
    counts = {
        name: draw(st.integers(16, 30)) for name in ("normal", "dilated", "cystic")[: draw(st.integers(2, 3))]
    }
    return make_frames(counts, draw(st.integers(1, 4)), draw(st.integers(0, 3)), draw(st.integers(0, 99)))
