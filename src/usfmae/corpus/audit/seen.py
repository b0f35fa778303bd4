"""Frames of a task's corpus with a copy in another corpus, on which an encoder was pretrained.

Inside one corpus, groups keep copies of evaluation frames out of pretraining. Between two corpora the copies
are counted and nothing more: a new private task shall not make a pretraining of three days stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from usfmae.settings.study import Corpus

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SEEN_COLUMNS = {"frame": "str", "pretraining_frame": "str", "kind": "str", "correlation": "float64"}


def seen_frames(corpus: Corpus, folder: Path, pretraining: Corpus, pretraining_folder: Path) -> pd.DataFrame:
    """A row a frame of `corpus` and a copy of it in `pretraining`: `frame, pretraining_frame, kind,
    correlation`, as `find_pairs` finds and describes them.

    The folders are those of the two corpora, `results/corpus/<name>`. They may be curated in different ways:
    pictures are compared at the smaller of the two sizes. Two frames with equal pixels before curation are
    always found, however they were cropped and cleaned; other copies where the crops agree to 10 %.
    """
    import numpy as np
    import pandas as pd

    from usfmae.corpus.audit.duplicates import find_pairs

    ours, our_frames, our_thumbnails = _frames(corpus, folder, "ours")
    theirs, their_frames, their_thumbnails = _frames(pretraining, pretraining_folder, "theirs")
    if ours.empty or theirs.empty:
        return pd.DataFrame(columns=list(SEEN_COLUMNS)).astype(SEEN_COLUMNS)
    exact = ours.merge(theirs.drop_duplicates("pixel_hash"), on="pixel_hash", suffixes=("", "_theirs"))
    pairs = find_pairs(
        pd.concat([ours, theirs], ignore_index=True),
        our_frames + their_frames,
        np.concatenate([our_thumbnails, their_thumbnails]),
        corpus.duplicates,
    )
    near = pairs[pairs["kind"] == "near"]  # our frame first, as in the table
    found = [
        exact[["frame_id", "frame_id_theirs"]].assign(kind="exact", correlation=1.0),
        near[["frame_a", "frame_b", "kind", "correlation"]],
    ]
    table = pd.concat([part.set_axis(list(SEEN_COLUMNS), axis=1) for part in found], ignore_index=True)
    return table.astype(SEEN_COLUMNS).sort_values(["frame", "pretraining_frame"], ignore_index=True)


def _frames(corpus: Corpus, folder: Path, name: str) -> tuple[pd.DataFrame, list[np.ndarray], np.ndarray]:
    """Table, frames and thumbnails of a corpus, to be put together with another's. It is one subject, called
    `name`: pairs inside a corpus are its own audit's, and are not looked for."""
    from usfmae.corpus.audit.run import read_thumbnails
    from usfmae.corpus.curated import read_corpus

    folders = [folder / dataset for dataset in corpus.datasets]
    table, frames = read_corpus(folders)
    table = table.assign(subject=name, dataset=name + "/" + table["dataset"])
    if corpus.resize == "squash":  # the crop fills the frame, as a square one does without black bars
        table["crop"] = "0,0,1,1"
    return table, frames, read_thumbnails(folders)
