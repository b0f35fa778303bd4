"""Audit: duplicate frames, their groups, what a corpus lacks and what overlaps; `run` is the way in."""
