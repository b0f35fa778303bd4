"""Curation: from the files of a release to `frames.npy` and a row a frame; `frames` is the way in."""
