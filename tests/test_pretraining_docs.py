"""docs/pretraining.md: each difference between the published and the corrected recipe has its sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from usfmae.record import flatten
from usfmae.settings import Settings, load

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    ROOT / f"config/{name}.yaml" for name in ("datasets", "openus46", "models", "recipes", "tasks", "config")
]
TEXT = (ROOT / "docs/pretraining.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load(*FILES, ROOT / "config/paper.yaml")


def told(heading: str) -> dict[str, str]:
    """Key → why, of the first table with these columns after a heading or sentence."""
    table = TEXT.split(heading)[1].split("| key | published | corrected | why |")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `([\w.]+)` \|[^|]+\|[^|]+\| (.+) \|$", table, flags=re.MULTILINE))


def different(published: dict[str, Any], corrected: dict[str, Any]) -> set[str]:
    one, other = flatten(published), flatten(corrected)
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)} - {"title"}


def test_each_key_in_which_the_recipes_differ_has_a_sentence_and_no_other(settings: Settings) -> None:
    recipes = settings.recipes.pretrain
    keys = different(recipes["usfmae_published"].model_dump(), recipes["usfmae_corrected"].model_dump())
    reasons = told("## What `usfmae_corrected` does instead")
    assert reasons.keys() == keys
    assert all(reason.endswith(".") and len(reason) > 15 for reason in reasons.values())


def test_so_has_each_key_in_which_their_corpora_differ(settings: Settings) -> None:
    published, corrected = (
        settings.corpora[name].model_dump() for name in ("openus46_published", "openus46")
    )
    assert told("The corpora differ too:").keys() == different(published, corrected)


def test_each_key_that_the_table_of_the_notebook_names_is_one_of_the_recipe(settings: Settings) -> None:
    named = TEXT.split("| the notebook | key | here |")[1].split("\n\n")[0]
    keys = {
        key.partition(":")[0]
        for row in re.findall(r"^\|[^|]+\|([^|]+)\|", named, flags=re.MULTILINE)
        for key in re.findall(r"`([^`]+)`", row)
    }
    recipe = settings.recipes.pretrain["usfmae_published"]
    known = {part for key in flatten(recipe.model_dump()) for part in key.split(".")}
    assert keys - known == {"corpora.openus46_published"} and len(keys) > 20


def test_the_ablation_of_the_docs_is_a_recipe_that_differs_in_one_key(tmp_path: Path) -> None:
    entry = re.search(r"```yaml\n# config/recipes\.yaml.*?\n(.*?)```", TEXT, flags=re.DOTALL)
    assert entry is not None
    recipes = (ROOT / "config/recipes.yaml").read_text(encoding="utf-8")
    written = recipes.replace("\n  finetune:\n", f"\n{entry[1]}\n  finetune:\n")
    (tmp_path / "recipes.yaml").write_text(written, encoding="utf-8")
    assert yaml.safe_load(written)["recipes"]["pretrain"].keys() > {"corrected_decay_all"}
    files = [tmp_path / "recipes.yaml" if file.name == "recipes.yaml" else file for file in FILES]
    found = load(*files, ROOT / "config/paper.yaml").recipes.pretrain
    one, other = (found[name].model_dump() for name in ("usfmae_corrected", "corrected_decay_all"))
    assert {key.partition(".")[0] for key in different(one, other) - {"training.decay_all"}} == {
        "grid",
        "setting_of",
    }
