"""The strict base of every settings model, and the sentence a person reads when a key is wrong."""

from __future__ import annotations

import difflib

from pydantic import BaseModel, ConfigDict


class SettingsError(ValueError):
    """A setting is wrong. The message names the file, the key and what to do."""


class Strict(BaseModel):
    """Refuses unknown keys; instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def nearest(key: str, known: list[str]) -> str:
    """` (did you mean "epochs"?)`, or the known keys where nothing comes near."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f' (did you mean "{close[0]}"?)'
    return f" (known here: {', '.join(sorted(known))})" if known else ""
