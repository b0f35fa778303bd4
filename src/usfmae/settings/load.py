"""From configuration files to typed settings, with errors that name file, key and the nearest known key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from usfmae.settings.base import SettingsError, nearest
from usfmae.settings.checks import (
    broken_references,
    closed_by_licence,
    pretrained_on_its_test,
    without_a_network,
)
from usfmae.settings.claims import ClaimsFile
from usfmae.settings.datasets import DatasetsFile
from usfmae.settings.models import ModelsFile
from usfmae.settings.recipes import RecipesFile
from usfmae.settings.study import StudyFile
from usfmae.settings.tasks import TasksFile
from usfmae.settings.whole import Settings

#: One model a file of config/. An overlay given with --configfile may hold keys of any of them.
FILES: dict[str, type[BaseModel]] = {
    "claims": ClaimsFile,
    "config": StudyFile,
    "datasets": DatasetsFile,
    "models": ModelsFile,
    "recipes": RecipesFile,
    "tasks": TasksFile,
}


def settings_from(merged: dict[str, Any], files: Sequence[Path] = ()) -> Settings:
    """Typed settings from Snakemake's merged `config`.

    `files` are the files it was merged from, in order; they are read only to say where a mistake is.
    Raises SettingsError.
    """
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        lines = [_sentence(detail, files) for detail in error.errors()]
        raise SettingsError("the configuration has mistakes\n  " + "\n  ".join(lines)) from None
    broken = list(broken_references(settings))
    if broken:
        lines = [
            f"{_file_of(path, files)}: {'.'.join(path)}: there is no {kind} {name!r}{nearest(name, known)}"
            for path, kind, name, known in broken
        ]
        raise SettingsError("the configuration names what it does not define\n  " + "\n  ".join(lines))
    closed = list(closed_by_licence(settings))
    if closed:
        raise SettingsError("a task uses what its corpus leaves out\n  " + "\n  ".join(closed))
    unexplained = list(without_a_network(settings))
    if unexplained:
        raise SettingsError("a model cannot be explained\n  " + "\n  ".join(unexplained))
    leaks = list(pretrained_on_its_test(settings))
    if leaks:
        raise SettingsError("a model would be pretrained on frames it is tested on\n  " + "\n  ".join(leaks))
    return settings


def load(*files: Path | str) -> Settings:
    """Settings from YAML files, the later ones over the earlier, without Snakemake.

    Lists are replaced, mappings are merged, as Snakemake does. Raises SettingsError.
    """
    merged: dict[str, Any] = {}
    for file in files:
        _merge(merged, _read(Path(file)))
    return settings_from(merged, [Path(file) for file in files])


def schemas() -> dict[str, str]:
    """File name → JSON schema text, one for each configuration file."""
    return {
        f"{name}.schema.json": json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        for name, model in FILES.items()
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{file}: no such configuration file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # other than YAMLError: not UTF-8, no date
        raise SettingsError(f"{file}: not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: a configuration file holds `key: value` pairs at its top")
    return content


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _sentence(detail: Any, files: Sequence[Path]) -> str:
    path, known = _place([str(part) for part in detail["loc"]])
    kind, context, shown = detail["type"], detail.get("ctx", {}), repr(detail["input"])
    if kind.startswith("union_tag"):  # the key that says which of several models this is
        path = [*path, context["discriminator"].strip("'")]
    where = f"{_file_of(path, files)}: {'.'.join(path)}"
    if kind == "extra_forbidden":
        return f"{where}: unknown key{nearest(path[-1], known)}"
    if kind == "union_tag_invalid":
        choices = [choice.strip("'") for choice in context["expected_tags"].split(", ")]
        return f"{where}: there is no {path[-1]} {context['tag']!r}{nearest(context['tag'], choices)}"
    if kind in ("missing", "union_tag_not_found"):
        return f"{where}: this key is missing"
    if kind == "value_error":
        return f"{where}: {detail['msg'].removeprefix('Value error, ')}"
    return f"{where}: {detail['msg']}" + (f" (it is {shown})" if len(shown) < 60 else "")


def _place(path: list[str]) -> tuple[list[str], list[str]]:
    """(keys as the file has them, known keys of the model that holds the last one).

    pydantic puts the tag of a discriminated union ("grouped") into its path; the file has no such key.
    """
    schema = Settings.model_json_schema()
    node: dict[str, Any] = schema
    written: list[str] = []
    known: list[str] = []
    for part in path:
        node = _resolve(node, schema)
        if "oneOf" in node:
            node = next((o for o in (_resolve(o, schema) for o in node["oneOf"]) if _tagged(o, part)), {})
            continue
        written.append(part)
        properties = node.get("properties", {})
        known = list(properties)
        node = properties.get(part) or node.get("additionalProperties") or node.get("items") or {}
    return written, known


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference names, also where it may be null instead."""
    node = next((option for option in node.get("anyOf", []) if "$ref" in option), node)
    if "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return found
    return node


def _tagged(option: dict[str, Any], tag: str) -> bool:
    return any(value.get("const") == tag for value in option.get("properties", {}).values())


def _file_of(path: list[str], files: Sequence[Path]) -> str:
    """The last file that writes the longest part of `path`; where none does, the one that should."""
    home = next((name for name, model in FILES.items() if path[0] in model.model_fields), None)
    best, depth = f"{home}.yaml" if home else "--config on the command line", 0
    for file in files:
        value: Any = _read(Path(file))
        reached = 0
        for part in path:
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict) and part in value:
                value = value[part]
            else:
                break
            reached += 1
        if reached and reached >= depth:
            best, depth = str(file), reached
    return best
