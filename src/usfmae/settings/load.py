"""From configuration files to typed settings, with errors that name file, key and the nearest known key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from usfmae.settings.base import SettingsError, nearest
from usfmae.settings.datasets import DatasetsFile
from usfmae.settings.models import ModelsFile
from usfmae.settings.recipes import RecipesFile
from usfmae.settings.study import StudyFile
from usfmae.settings.tasks import TasksFile

#: One model a file of config/. An overlay given with --configfile may hold keys of any of them.
FILES: dict[str, type[BaseModel]] = {
    "config": StudyFile,
    "datasets": DatasetsFile,
    "models": ModelsFile,
    "recipes": RecipesFile,
    "tasks": TasksFile,
}


class Settings(StudyFile, DatasetsFile, ModelsFile, RecipesFile, TasksFile):
    """All configuration files together."""


def settings_from(merged: dict[str, Any], files: list[Path]) -> Settings:
    """Typed settings from Snakemake's merged `config`.

    `files` are the files it was merged from, in order; they are read only to say where a mistake is.
    Raises SettingsError.
    """
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        lines = [_sentence(detail, merged, files) for detail in error.errors()]
        raise SettingsError("the configuration has mistakes\n  " + "\n  ".join(lines)) from None
    broken = list(_broken_references(settings))
    if broken:
        lines = [
            f"{_file_of(path, files)}: {'.'.join(path)}: there is no {kind} {name!r}{nearest(name, known)}"
            for path, kind, name, known in broken
        ]
        raise SettingsError("the configuration names what it does not define\n  " + "\n  ".join(lines))
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
    except yaml.YAMLError as error:
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


def _sentence(detail: Any, merged: dict[str, Any], files: list[Path]) -> str:
    # pydantic puts the tag of a discriminated union ("grouped") into the path; the file has no such key.
    path = [str(part) for part in detail["loc"]]
    written = [part for i, part in enumerate(path) if _holds(merged, path[:i], part) or i == len(path) - 1]
    where = f"{_file_of(written, files)}: {'.'.join(written)}"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(written[-1], _known_keys(path))}"
    if detail["type"] == "missing":
        return f"{where}: this key is missing"
    message = detail["msg"].removeprefix("Value error, ")
    shown = repr(detail["input"])
    return f"{where}: {message}" + (f" (it is {shown})" if len(shown) < 60 else "")


def _holds(merged: Any, before: list[str], part: str) -> bool:
    """Whether the value at `before`, skipping tags, has the key or index `part`."""
    value = merged
    for step in [*before, part]:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif step == part:
            return False
    return True


def _known_keys(path: list[str]) -> list[str]:
    """Keys of the model in which the last part of `path` was not found."""
    schema = Settings.model_json_schema()
    node: dict[str, Any] = schema
    for part in path[:-1]:
        node = _resolve(node, schema)
        options = node.get("oneOf") or node.get("anyOf")
        if options:
            node = next((o for o in (_resolve(o, schema) for o in options) if _tagged(o, part)), {})
            continue
        properties = node.get("properties", {})
        node = properties.get(part) or node.get("additionalProperties") or node.get("items") or {}
    node = _resolve(node, schema)
    options = [_resolve(option, schema) for option in node.get("anyOf", [])]
    return [key for option in [node, *options] for key in option.get("properties", {})]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return found
    return node


def _tagged(option: dict[str, Any], tag: str) -> bool:
    return any(value.get("const") == tag for value in option.get("properties", {}).values())


def _file_of(path: list[str], files: list[Path]) -> str:
    """The last file that writes the longest part of `path`."""
    best, depth = "--config on the command line", 0
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


def _broken_references(s: Settings) -> Iterator[tuple[list[str], str, str, list[str]]]:
    """(path of the key, kind of thing, name, known names) for each name without an entry."""
    references: list[tuple[list[str], str, str, Any]] = []

    def add(path: list[str], kind: str, names: str | list[str] | None, known: Any) -> None:
        for name in [names] if isinstance(names, str) else names or []:
            references.append((path, kind, name, known))

    for key, corpus in s.corpora.items():
        add(["corpora", key, "datasets"], "dataset", corpus.datasets, s.datasets)
    for key, model in s.models.items():
        add(["models", key, "encoder"], "encoder", model.encoder, s.encoders)
        add(["models", key, "pretrain"], "pretraining recipe", model.pretrain, s.recipes.pretrain)
    for key, recipe in s.recipes.pretrain.items():
        add(["recipes", "pretrain", key, "encoder"], "encoder", recipe.encoder, s.encoders)
        add(["recipes", "pretrain", key, "corpus"], "corpus", recipe.corpus, s.corpora)
    for key, task in s.tasks.items():
        if key in s.study.tasks:
            add(["tasks", key, "corpus"], "corpus", task.corpus, s.corpora)
            members = s.corpora[task.corpus].datasets if task.corpus in s.corpora else []
            add(
                ["tasks", key, "datasets"],
                f"dataset in corpus {task.corpus!r} called",
                task.datasets,
                members,
            )
    add(["study", "pretrain"], "pretraining recipe", s.study.pretrain, s.recipes.pretrain)
    add(["study", "tasks"], "task", s.study.tasks, s.tasks)
    add(["study", "models"], "model", s.study.models, s.models)
    add(["study", "reference"], "model in study.models called", s.study.reference, s.study.models)
    add(["study", "recipe"], "fine-tuning recipe", s.study.recipe, s.recipes.finetune)
    add(["study", "explain", "recipe"], "explain recipe", s.study.explain.recipe, s.recipes.explain)
    add(
        ["study", "explain", "models"], "model in study.models called", s.study.explain.models, s.study.models
    )
    for path, kind, name, known in references:
        if name not in known:
            yield path, kind, name, list(known)
