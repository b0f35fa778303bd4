"""What may never be split: frames of one subject, and subjects tied by copies."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def groups(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """`frame_id, dataset, subject, group`: subjects joined by duplicates are one group, which bears the
    name of its first subject."""
    names, subject = np.unique(table["subject"].to_numpy(dtype=str), return_inverse=True)
    of_frame = pd.Series(subject, index=table["frame_id"])
    a = pairs["frame_a"].map(of_frame).to_numpy(dtype=np.int64)
    b = pairs["frame_b"].map(of_frame).to_numpy(dtype=np.int64)
    ties = coo_array((np.ones(len(a)), (a, b)), shape=(len(names), len(names)))
    _, component = connected_components(ties, directed=False)
    leader = pd.Series(names).groupby(component).transform("min").to_numpy()
    return table[["frame_id", "dataset", "subject"]].assign(group=leader[subject])
