"""The strict base of every settings model, and the sentence a person reads when a key is wrong."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, SerializationInfo, SerializerFunctionWrapHandler, model_serializer

#: Marks a setting that no result depends on: it is read by people, or says how a run is kept safe.
NO_EFFECT = "no effect on a result"
Text = Annotated[str, NO_EFFECT]


class SettingsError(ValueError):
    """A setting is wrong. The message names the file, the key and what to do."""


class Strict(BaseModel):
    """Refuses unknown keys; instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def effective(self) -> dict[str, Any]:
        """The settings that a result depends on, as plain data: changing any other makes nothing stale."""
        return self.model_dump(mode="json", context={"effective": True})

    @model_serializer(mode="wrap")
    def _without_texts(
        self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if not (info.context or {}).get("effective"):
            return values
        fields = type(self).model_fields
        return {key: value for key, value in values.items() if NO_EFFECT not in fields[key].metadata}


def nearest(key: str, known: list[str]) -> str:
    """` (did you mean "epochs"?)`, or the known keys where nothing comes near."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f' (did you mean "{close[0]}"?)'
    return f" (known here: {', '.join(sorted(known))})" if known else ""
