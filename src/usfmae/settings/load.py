"""From configuration files to typed settings, with errors that name file, key and the nearest known key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from usfmae.settings.base import SettingsError, nearest
from usfmae.settings.datasets import DatasetsFile
from usfmae.settings.models import Encoder, ModelsFile
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

    def members(self, corpus: str) -> list[str]:
        """The datasets of a corpus whose kind of licence it uses."""
        allowed = self.corpora[corpus].licences
        return [name for name in self.corpora[corpus].datasets if self.datasets[name].licence.use in allowed]

    def study_corpora(self) -> list[str]:
        """Corpora that the study's tasks and pretraining recipes use, and those it names itself."""
        names = [self.tasks[task].corpus for task in self.study.tasks]
        names += [self.recipes.pretrain[recipe].corpus for recipe in self.pretrain_recipes()]
        return list(dict.fromkeys([*names, *self.study.corpora]))

    def simulated(self, datasets: list[str]) -> list[str]:
        """Those of the datasets that are simulated."""
        return [name for name in datasets if self.datasets[name].simulated]

    def encoder_of(self, model: str) -> Encoder | None:
        """The shape of a model's vision transformer; None where the model is one of timm's."""
        name = self.models[model].encoder
        return self.encoders[name] if name else None

    def pretrain_of(self, model: str, fold: int) -> list[str]:
        """The pretraining recipe that a model starts from in a fold, as a list: empty where from scratch."""
        name = self.models[model].pretrain
        return [name.replace("{fold}", str(fold))] if name else []

    def pretrain_recipes(self) -> list[str]:
        """Pretraining recipes asked for, and those whose encoder a model of the study starts from."""
        recipes = list(self.study.pretrain)
        for task in self.study.tasks:
            for model in self.study.models:
                for fold in range(self.tasks[task].split.folds):
                    recipes += self.pretrain_of(model, fold)
        return list(dict.fromkeys(recipes))

    def pretraining(self, recipe: str) -> dict[str, Any]:
        """All settings that a pretraining recipe's weights depend on."""
        entry = self.recipes.pretrain[recipe]
        datasets = self.members(entry.corpus)
        return {
            "recipe": entry.effective(),
            "encoder": self.encoders[entry.encoder].effective(),
            "datasets": datasets,
            "evaluation_datasets": self.evaluation_datasets(datasets),
            "simulated": bool(self.simulated(datasets)),
        }

    def evaluation_datasets(self, datasets: list[str]) -> list[str]:
        """Those of the datasets that are evaluation sets, or that a task of the study is tested on."""
        tested = {name for task in self.study.tasks for name in self.tasks[task].datasets}
        return [name for name in datasets if self.datasets[name].evaluation or name in tested]


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
    broken = list(_broken_references(settings))
    if broken:
        lines = [
            f"{_file_of(path, files)}: {'.'.join(path)}: there is no {kind} {name!r}{nearest(name, known)}"
            for path, kind, name, known in broken
        ]
        raise SettingsError("the configuration names what it does not define\n  " + "\n  ".join(lines))
    closed = list(_closed_by_licence(settings))
    if closed:
        raise SettingsError("a task uses what its corpus leaves out\n  " + "\n  ".join(closed))
    leaks = list(_pretrained_on_its_test(settings))
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


def _broken_references(s: Settings) -> Iterator[tuple[list[str], str, str, list[str]]]:
    """(path of the key, kind of thing, name, known names) for each name without an entry."""
    references: list[tuple[list[str], str, str, Any]] = []

    def add(path: list[str], kind: str, names: str | list[str] | None, known: Any) -> None:
        for name in [names] if isinstance(names, str) else names or []:
            references.append((path, kind, name, known))

    for key, corpus in s.corpora.items():
        add(["corpora", key, "datasets"], "dataset", corpus.datasets, s.datasets)
    folds = max((s.tasks[task].split.folds for task in s.study.tasks if task in s.tasks), default=0)
    for key, model in s.models.items():
        add(["models", key, "encoder"], "encoder", model.encoder, s.encoders)
        if model.pretrain and key in s.study.models:
            names = dict.fromkeys(model.pretrain.replace("{fold}", str(fold)) for fold in range(folds))
            add(["models", key, "pretrain"], "pretraining recipe", list(names), s.recipes.pretrain)
        add(["models", key, "checkpoint"], "checkpoint", model.checkpoint, s.checkpoints)
    for key, checkpoint in s.checkpoints.items():
        add(["checkpoints", key, "seen"], "dataset", checkpoint.seen, s.datasets)
    whole = [key for key, checkpoint in s.checkpoints.items() if checkpoint.contents == "mae"]
    for key, recipe in s.recipes.pretrain.items():
        add(["recipes", "pretrain", key, "encoder"], "encoder", recipe.encoder, s.encoders)
        add(["recipes", "pretrain", key, "corpus"], "corpus", recipe.corpus, s.corpora)
        kind = "checkpoint with a decoder (`contents: mae`) called"
        add(["recipes", "pretrain", key, "initial_weights"], kind, recipe.initial_weights, whole)
        if recipe.leave_out is not None:
            add(["recipes", "pretrain", key, "leave_out", "task"], "task", recipe.leave_out.task, s.tasks)
    for key, task in s.tasks.items():
        if key in s.study.tasks:
            add(["tasks", key, "corpus"], "corpus", task.corpus, s.corpora)
            members = s.corpora[task.corpus].datasets if task.corpus in s.corpora else []
            kind = f"dataset in corpus {task.corpus!r} called"
            add(["tasks", key, "datasets"], kind, task.datasets, members)
    add(["study", "corpora"], "corpus", s.study.corpora, s.corpora)
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


def _closed_by_licence(s: Settings) -> Iterator[str]:
    """A sentence for each dataset of a task whose licence its corpus does not use."""
    for name in s.study.tasks:
        task = s.tasks[name]
        for dataset in set(task.datasets) - set(s.members(task.corpus)):
            use = s.datasets[dataset].licence.use
            yield (
                f"tasks.{name}.datasets: the licence of {dataset} is {use!r}, which "
                f"corpora.{task.corpus}.licences does not name: add it there if you may use the images"
            )


def _pretrained_on_its_test(s: Settings) -> Iterator[str]:
    """A sentence for each task, model and fold whose encoder has seen the fold's test frames."""
    for task_name in s.study.tasks:
        task = s.tasks[task_name]
        for model in s.study.models:
            for fold in range(task.split.folds):
                for name in s.pretrain_of(model, fold):
                    recipe = s.recipes.pretrain[name]
                    shared = set(s.members(recipe.corpus)) & set(task.datasets)
                    left_out = recipe.leave_out
                    safe = left_out is not None and (left_out.task, left_out.fold) == (task_name, fold)
                    if recipe.evaluation_frames == "include" and shared and not safe:
                        yield (
                            f"recipes.pretrain.{name} includes evaluation frames and {model} starts from it "
                            f"on {task_name}, fold {fold}: it needs leave_out with that task and fold"
                        )
