"""Any configuration: settings, or a sentence that names the file and the key."""

from __future__ import annotations

import copy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from usfmae.settings import Settings, SettingsError, load, settings_from

CONFIG = Path(__file__).resolve().parents[1] / "config"
FILES = ("datasets", "models", "recipes", "tasks", "config")

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["auto", "1e-3", "../x", "{fold}", "[", "(?P<", "kidney", "demo", "0x10", "2026-11-23"]),
    st.dates(),
)
KEYS = st.one_of(st.text(max_size=6), st.sampled_from(["kind", "host", "training", "epochs", "demo"]))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


@cache
def merged() -> dict[str, Any]:
    """The configuration of the demo, without the registry of 46 datasets."""
    content: dict[str, Any] = {}
    for name in FILES:
        content |= yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every key and list entry of a configuration."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += [(*path, key), *places(inner, (*path, key))]
    return found


PLACES = places(merged())


@given(place=st.sampled_from(PLACES), value=VALUES, key=st.one_of(st.none(), KEYS))
@fuzz(50)
def test_a_changed_value_or_a_further_key_is_taken_or_named(
    place: tuple[Any, ...], value: Any, key: str | None
) -> None:
    config = copy.deepcopy(merged())
    *above, last = place
    inner: Any = config
    for part in above:
        inner = inner[part]
    if key is not None and isinstance(inner, dict):
        last = key
    inner[last] = value
    try:
        settings = settings_from(config)
    except SettingsError as error:
        assert str(error).strip()
    else:
        assert isinstance(settings, Settings)
        settings.study.effective()


def load_text(content: bytes) -> None:
    """Loads a file over the demo's; only a SettingsError that names the file may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder) / "overlay.yaml"
        overlay.write_bytes(content)
        try:
            load(*(CONFIG / f"{name}.yaml" for name in FILES), overlay)
        except SettingsError as error:
            assert str(overlay) in str(error) or ".yaml" in str(error) or "--config" in str(error)


@given(
    content=st.dictionaries(st.sampled_from(["study", "recipes", "tasks", "models", "x"]), VALUES, max_size=3)
)
@fuzz(6)
def test_an_overlay_of_any_structure_is_taken_or_named(content: dict[str, Any]) -> None:
    load_text(yaml.safe_dump(content).encode())


@given(content=st.one_of(st.binary(max_size=40), st.text(alphabet="ab:-[]{}&*!|>'\"#%@\n\t 0", max_size=40)))
@fuzz(40)
def test_a_file_of_any_bytes_is_taken_or_named(content: bytes | str) -> None:
    load_one(content if isinstance(content, bytes) else content.encode())


def load_one(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "overlay.yaml"
        file.write_bytes(content)
        with pytest.raises(SettingsError, match=r"overlay\.yaml|mistakes"):  # it lacks what every study needs
            load(file)
