"""The configuration: what is shipped loads, and a mistake is refused with file, key and nearest known key."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from usfmae.settings import Settings, SettingsError, load, schemas, settings_from
from usfmae.settings.load import FILES

ROOT = Path(__file__).resolve().parents[1]
SHIPPED: dict[str, Any] = {
    name: yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")) for name in FILES
}
ABSENT = "(the key is not there)"


@pytest.fixture
def load_with(tmp_path: Path) -> Callable[..., Settings]:
    """Loads the shipped files after the value at the end of a dotted path was set, or deleted."""

    def load_with(file: str, path: str, value: Any = ABSENT) -> Settings:
        contents = copy.deepcopy(SHIPPED)
        node: Any = contents[file]
        *parents, last = path.split(".")
        for part in parents:
            node = node[int(part) if isinstance(node, list) else part]
        if value is ABSENT:
            del node[last]
        else:
            node[int(last) if isinstance(node, list) else last] = value
        paths = [tmp_path / f"{name}.yaml" for name in FILES]
        for name, target in zip(FILES, paths, strict=True):
            target.write_text(yaml.safe_dump(contents[name]), encoding="utf-8")
        return load(*paths)

    return load_with


def refused(load_with: Callable[..., Settings], file: str, path: str, value: Any = ABSENT) -> str:
    """The lines that name mistakes, without the folder of the files."""
    with pytest.raises(SettingsError) as error:
        load_with(file, path, value)
    return "\n".join(
        re.sub(r"\S*/(?=\w+\.yaml)", "", line.strip()) for line in str(error.value).splitlines()[1:]
    )


def test_the_shipped_configuration_loads() -> None:
    settings = load(*(ROOT / f"config/{name}.yaml" for name in FILES))
    assert settings.study.reference in settings.models
    written = SHIPPED["recipes"]["recipes"]["pretrain"]["demo"]["training"]["learning_rate"]
    assert settings.recipes.pretrain["demo"].training.learning_rate == float(written)
    assert settings.datasets["simulated_kidney"].simulated
    assert not settings.datasets["pydicom_samples"].simulated


UNKNOWN = [
    ("config", "studdy", "study"),
    ("config", "study.modles", "models"),
    ("config", "study.explain.recipie", "recipe"),
    ("config", "corpora.demo.sise", "size"),
    ("config", "statistics.resample", "resamples"),
    ("config", "tracking.log_weight", "log_weights"),
    ("datasets", "dataset", "datasets"),
    ("datasets", "datasets.simulated_kidney.lisence", "licence"),
    ("datasets", "datasets.simulated_kidney.licence.nam", "name"),
    ("datasets", "datasets.simulated_kidney.access.subject", "subjects"),  # in a union told by `host`
    ("datasets", "datasets.pydicom_samples.access.pakage", "package"),  # the tag is also a key here
    ("datasets", "datasets.simulated_kidney.table.lable", "label"),  # may be null
    ("models", "encoders.vit_demo.widht", "width"),
    ("models", "models.vit_scratch.encodr", "encoder"),
    ("recipes", "recipes.finetun", "finetune"),
    ("recipes", "recipes.pretrain.demo.mask_ration", "mask_ratio"),
    ("recipes", "recipes.pretrain.demo.augmentation.crop_aera", "crop_area"),
    ("recipes", "recipes.finetune.demo.training.epoch", "epochs"),
    ("recipes", "recipes.explain.demo.scores", "score"),
    ("tasks", "tasks.kidney.clases", "classes"),
    ("tasks", "tasks.kidney.split.fold", "folds"),
]


@pytest.mark.parametrize(("file", "path", "meant"), UNKNOWN, ids=lambda value: str(value))
def test_an_unknown_key_is_refused_with_file_key_and_nearest_known_key(load_with, file, path, meant) -> None:
    assert refused(load_with, file, path, 1) == f'{file}.yaml: {path}: unknown key (did you mean "{meant}"?)'


def test_an_unknown_key_like_no_other_is_answered_with_the_known_keys(load_with) -> None:
    message = refused(load_with, "config", "statistics.xyz", 1)
    assert message == "config.yaml: statistics.xyz: unknown key (known here: resamples, rope, seed)"


def test_an_unknown_key_in_an_item_of_a_list_is_refused(load_with) -> None:
    message = refused(load_with, "datasets", "datasets.simulated_kidney.include.0", {"patern": "*.png"})
    assert message.startswith("datasets.yaml: datasets.simulated_kidney.include.0: ")


WRONG = [
    ("config", "study", [1], "valid dictionary"),
    ("config", "study.seeds", 3, "valid list (it is 3)"),
    ("config", "study.seeds", ["a"], "valid integer"),
    ("config", "study.fractions", [1.0, 2.0], "less than or equal to 1 (it is 2.0)"),
    ("config", "corpora.demo", None, "valid dictionary"),
    ("config", "corpora.demo.channels", 2, "1 or 3 (it is 2)"),
    ("config", "corpora.demo.size", "big", "valid integer"),
    ("datasets", "datasets.simulated_kidney.include", "*.png", "valid list (it is '*.png')"),
    ("datasets", "datasets.simulated_kidney.access", "here", "valid dictionary"),
    ("datasets", "datasets.simulated_kidney.access.subjects.normal", 0, "greater than or equal to 1"),
    ("models", "encoders.vit_demo.depth", 0, "greater than or equal to 1 (it is 0)"),
    ("recipes", "recipes.finetune.demo.training.clip", -1, "greater than 0 (it is -1)"),
    ("recipes", "recipes.pretrain.demo.mask_ratio", 1.0, "less than 1 (it is 1.0)"),
    ("tasks", "tasks.kidney.split.folds", 1, "greater than or equal to 2 (it is 1)"),
    ("tasks", "tasks.kidney.metric", "aucc", "'auc' (it is 'aucc')"),
]


@pytest.mark.parametrize(("file", "path", "value", "said"), WRONG, ids=lambda value: str(value))
def test_a_wrong_value_is_refused_with_file_key_and_value(load_with, file, path, value, said) -> None:
    message = refused(load_with, file, path, value)
    assert message.startswith(f"{file}.yaml: {path}")
    assert said in message


MISSING = [
    ("config", "study"),
    ("config", "study.title"),
    ("config", "study.explain"),
    ("datasets", "datasets.simulated_kidney.access.host"),
    ("datasets", "datasets.simulated_kidney.access.anatomy"),
    ("datasets", "datasets.simulated_kidney.table.frame"),
    ("recipes", "recipes.pretrain.demo.encoder"),
    ("recipes", "recipes.finetune.demo.training.epochs"),
    ("tasks", "tasks.kidney.split"),
    ("tasks", "tasks.kidney.split.kind"),
    ("tasks", "tasks.kidney.split.folds"),
]


@pytest.mark.parametrize(("file", "path"), MISSING, ids=lambda value: str(value))
def test_a_missing_key_is_named_with_its_file(load_with, file, path) -> None:
    assert refused(load_with, file, path) == f"{file}.yaml: {path}: this key is missing"


def test_an_unknown_kind_is_refused_with_the_nearest_known_kind(load_with) -> None:
    host = refused(load_with, "datasets", "datasets.simulated_kidney.access.host", "simulatd")
    kind = refused(load_with, "tasks", "tasks.kidney.split.kind", "groupd")
    assert host.endswith("access.host: there is no host 'simulatd' (did you mean \"simulated\"?)")
    assert kind.endswith("split.kind: there is no kind 'groupd' (did you mean \"grouped\"?)")


def test_a_gain_that_would_change_nothing_is_refused_with_the_reason(load_with) -> None:
    message = refused(load_with, "recipes", "recipes.explain.demo.gain", True)
    assert "recipes.explain.demo" in message and "a softmax over channels takes it out" in message
    twice = refused(load_with, "recipes", "recipes.explain.demo.methods", ["grad_cam", "grad_cam"])
    assert "more than once" in twice


BROKEN = [
    ("config", "study.tasks", ["kidnee"], "task 'kidnee' (did you mean \"kidney\"?)"),
    ("config", "study.recipe", "dem", "fine-tuning recipe 'dem' (did you mean \"demo\"?)"),
    ("config", "study.pretrain", ["demoo"], "pretraining recipe 'demoo' (did you mean \"demo\"?)"),
    ("config", "study.reference", "resnet50_scratch", "model in study.models called 'resnet50_scratch'"),
    ("config", "study.explain.recipe", "demoo", "explain recipe 'demoo'"),
    ("config", "study.explain.models", ["vit_base_scratch"], "model in study.models called"),
    ("config", "corpora.demo.datasets", ["simulated_kidny"], "dataset 'simulated_kidny'"),
    ("models", "models.vit_scratch.encoder", "vit_dem", "encoder 'vit_dem' (did you mean \"vit_demo\"?)"),
    ("models", "models.usfmae_demo.pretrain", "deno", "pretraining recipe 'deno'"),
    ("recipes", "recipes.pretrain.demo.corpus", "demos", "corpus 'demos' (did you mean \"demo\"?)"),
    ("recipes", "recipes.pretrain.demo.encoder", "vitdemo", "encoder 'vitdemo'"),
    ("tasks", "tasks.kidney.corpus", "demoo", "corpus 'demoo' (did you mean \"demo\"?)"),
    ("tasks", "tasks.kidney.datasets", ["simulated_kidny"], "dataset in corpus 'demo' called"),
]


@pytest.mark.parametrize(("file", "path", "value", "said"), BROKEN, ids=lambda value: str(value))
def test_a_name_without_an_entry_is_refused_with_file_key_and_nearest(
    load_with, file, path, value, said
) -> None:
    lines = refused(load_with, file, path, value).splitlines()
    assert lines[0].startswith(f"{file}.yaml: {path}: there is no {said}")


def test_a_recipe_a_fold_must_be_there_for_each_fold(load_with) -> None:
    lines = refused(load_with, "models", "models.usfmae_demo.pretrain", "demo{fold}").splitlines()
    assert [line.split("recipe ")[1][:7] for line in lines] == [f"'demo{fold}'" for fold in range(4)]


def test_a_fold_that_is_left_out_belongs_to_a_task_that_is_there(load_with) -> None:
    message = refused(load_with, "recipes", "recipes.pretrain.demo.leave_out", {"task": "kidnee", "fold": 0})
    where = "recipes.yaml: recipes.pretrain.demo.leave_out.task"
    assert message == f"{where}: there is no task 'kidnee' (did you mean \"kidney\"?)"


def test_a_task_that_the_study_does_not_run_may_need_a_corpus_that_is_not_there(load_with) -> None:
    assert load_with("tasks", "tasks.breast.corpus", "later").tasks["breast"].corpus == "later"


INCONSISTENT = [
    ("models", "models.vit_scratch.title", "ViT", "its title must say \"from scratch\": 'ViT'"),
    ("models", "models.vit_scratch.timm", "resnet18", "give exactly one of `encoder` and `timm`"),
    ("models", "models.vit_scratch.weights", "pretrain", "`weights: pretrain` and `pretrain: <recipe>` go"),
    ("models", "encoders.vit_demo.heads", 5, "heads (5) must divide width"),
    ("tasks", "tasks.neck.positive", ABSENT, "two classes: say which one is `positive`"),
    ("tasks", "tasks.neck.positive", "hygroma", "positive 'hygroma' is not one of the classes"),
    ("tasks", "tasks.neck.classes", {"normal": ["normal"]}, "a task needs at least two classes"),
    ("tasks", "tasks.neck.classes.cystic_hygroma", ["normal"], "labels in two classes: ['normal']"),
]


@pytest.mark.parametrize(("file", "path", "value", "said"), INCONSISTENT, ids=lambda value: str(value))
def test_keys_that_contradict_each_other_are_refused(load_with, file, path, value, said) -> None:
    message = refused(load_with, file, path, value)
    entry = ".".join(path.split(".")[:2])
    assert message.startswith(f"{file}.yaml: {entry}: ")
    assert said in message


def test_a_pretrained_model_needs_no_warning_in_its_title(load_with) -> None:
    assert load_with("models", "models.usfmae_demo.title", "ViT").models["usfmae_demo"].title == "ViT"


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("study: { titel: x, seeds: [a] }\ncorpora: { demo: { size: 0 } }\n")
    with pytest.raises(SettingsError) as error:
        load(*(ROOT / f"config/{name}.yaml" for name in FILES), overlay)
    assert str(error.value).count(str(overlay)) == 3


def test_an_overlay_changes_one_key_and_replaces_lists(tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        "study: { seeds: [1, 2] }\nrecipes: { finetune: { demo: { training: { epochs: 1 }}}}\n"
    )
    settings = load(*(ROOT / f"config/{name}.yaml" for name in FILES), overlay)
    assert settings.study.seeds == [1, 2]
    training = settings.recipes.finetune["demo"].training
    unchanged = SHIPPED["recipes"]["recipes"]["finetune"]["demo"]["training"]["batch_size"]
    assert (training.epochs, training.batch_size) == (1, unchanged)


def test_a_mistake_from_the_command_line_is_said_to_come_from_there() -> None:
    merged = {key: value for content in SHIPPED.values() for key, value in content.items()}
    with pytest.raises(SettingsError, match="--config on the command line: epochs: unknown key"):
        settings_from(merged | {"epochs": 3}, [ROOT / f"config/{name}.yaml" for name in FILES])


def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: no such configuration file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("study: [1,\n")
    with pytest.raises(SettingsError, match=r"broken\.yaml: not valid YAML"):
        load(tmp_path / "broken.yaml")
    (tmp_path / "latin.yaml").write_bytes("study: { title: Brüste }\n".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"latin\.yaml: not valid YAML"):
        load(tmp_path / "latin.yaml")
    (tmp_path / "list.yaml").write_text("- study\n")
    with pytest.raises(SettingsError, match=r"list\.yaml: a configuration file holds `key: value`"):
        load(tmp_path / "list.yaml")


def test_settings_do_not_change_once_loaded(load_with) -> None:
    settings = load_with("config", "study.title", "Mine")
    with pytest.raises(ValueError, match="frozen"):
        settings.study.title = "Yours"


def test_the_written_schemas_are_those_of_the_code() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "config/schemas").iterdir()}
    assert written == schemas(), "run: python -m usfmae.settings"


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from parts(item)


@pytest.mark.parametrize("name", FILES)
def test_a_schema_accepts_the_shipped_file_and_no_key_that_it_does_not_know(name: str) -> None:
    schema = json.loads(schemas()[f"{name}.schema.json"])
    objects = [part for part in parts(schema) if isinstance(part.get("properties"), dict) and "type" in part]
    assert objects
    assert all(part["additionalProperties"] is False for part in objects)
    jsonschema.validate(SHIPPED[name], schema)


@pytest.mark.parametrize(("file", "path", "meant"), UNKNOWN, ids=lambda value: str(value))
def test_a_schema_refuses_the_same_unknown_keys(file: str, path: str, meant: str) -> None:
    content = copy.deepcopy(SHIPPED[file])
    node = content
    *parents, last = path.split(".")
    for part in parents:
        node = node[part]
    node[last] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(schemas()[f"{file}.schema.json"]))


def models_below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models that fields of `model` hold, at any depth; not `model` itself."""

    def inside(annotation: Any) -> Iterator[Any]:
        yield annotation
        for argument in getattr(annotation, "__args__", ()):
            yield from inside(argument)

    for field in model.model_fields.values():
        for found in inside(field.annotation):
            if isinstance(found, type) and issubclass(found, BaseModel):
                yield found
                yield from models_below(found)


def default_text(field: Any) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, BaseModel):
        return "see below"
    return f"`{default if isinstance(default, str) and default else json.dumps(default)}`"


def test_the_readme_tells_every_key_of_every_file_with_its_default() -> None:
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    for name, model in FILES.items():
        section = re.split(r"^## ", text.split(f"\n## {name}.yaml\n")[1], flags=re.MULTILINE)[0]
        told = set(re.findall(r"^\| `(\w+)` \| (.+?) \| \S", section, flags=re.MULTILINE))
        known = {
            (key, default_text(field))
            for part in models_below(model)
            for key, field in part.model_fields.items()
        }
        assert told == known, f"config/README.md, section {name}.yaml"
        assert all(f"`{key}" in section for key in model.model_fields)
