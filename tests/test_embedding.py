"""The map of a corpus: drawn by seed, of the right encoder, honest about what two dimensions cannot show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fake_study import study

from usfmae.models.checkpoints import save_weights
from usfmae.models.mae import build_encoder
from usfmae.report.embedding_section import agreement, task_classes
from usfmae.settings.models import Encoder
from usfmae.settings.study import Embedding
from usfmae.training.embedding import COLUMNS, drawn, embed_corpus, nearest_of_others

ENCODER = Encoder(width=32, depth=1, heads=2, patch_size=8)
RECIPE = study().recipes.pretrain["mae"]


def corpus(root: Path) -> list[Path]:
    """Two datasets of 12 and 8 kept frames of two a subject: dark ones and bright ones."""
    generator, folders = np.random.default_rng(0), []
    for name, n, low in (("dark", 12, 0), ("bright", 8, 150)):
        folder = root / name
        folder.mkdir(parents=True)
        np.save(folder / "frames.npy", generator.integers(low, low + 100, (n, 16, 16), dtype=np.uint8))
        table = pd.DataFrame(
            {
                "frame_id": [f"{name}/{i}.png#0" for i in range(n)],
                "subject": [f"{name}/{i // 2}" for i in range(n)],
                "label": pd.array([name] * n, dtype="string"),
                "drop_reason": pd.array([None] * n, dtype="string"),
            }
        )
        table.to_parquet(folder / "frames.parquet")
        folders.append(folder)
    return folders


def embedded(root: Path, chosen: Embedding, out: str) -> tuple[pd.DataFrame, dict[str, float]]:
    folders = corpus(root) if not (root / "dark").exists() else [root / "dark", root / "bright"]
    torch.manual_seed(0)
    weights, facts = root / "encoder.safetensors", root / f"{out}.json"
    save_weights(weights, build_encoder(size=16, channels=1, **ENCODER.model_dump()).state_dict())
    table = root / f"{out}.parquet"
    embed_corpus(folders, RECIPE, ENCODER, weights, chosen, table=table, facts=facts)
    return pd.read_parquet(table), json.loads(facts.read_text())


def test_the_same_seed_gives_the_same_map_and_another_seed_another(tmp_path: Path) -> None:
    first, facts = embedded(tmp_path, Embedding(frames=10), "first")
    again, _ = embedded(tmp_path, Embedding(frames=10), "again")
    other, _ = embedded(tmp_path, Embedding(frames=10, seed=1), "other")
    assert list(first.columns) == COLUMNS
    pd.testing.assert_frame_equal(first, again)
    assert set(first["frame_id"]) != set(other["frame_id"])
    assert first["dataset"].value_counts().to_dict() == {"dark": 10, "bright": 8}
    assert facts["perplexity"] == pytest.approx(17 / 3)  # 30 neighbours among 18 frames there are not
    assert facts["dimensions"] == 32


def test_frames_that_look_alike_lie_together(tmp_path: Path) -> None:
    table, _ = embedded(tmp_path, Embedding(frames=12), "map")
    same, chance = agreement(table, table["dataset"].astype("category"))
    assert same == 1 and chance < 0.6
    assert not (table["nearest"].map(table.set_index("frame_id")["subject"]) == table["subject"]).any()


def test_what_is_drawn_of_a_dataset_does_not_depend_on_the_others() -> None:
    names = pd.Series(["a"] * 50 + ["b"] * 50)
    chosen = drawn(names, 5, seed=3)
    assert len(chosen) == 10 and (np.diff(chosen) > 0).all()
    assert (drawn(names[50:].reset_index(drop=True), 5, seed=3) + 50).tolist() == chosen[5:].tolist()


def test_the_nearest_frame_is_never_one_of_the_same_subject() -> None:
    features = np.array([[1, 0], [1, 0], [0, 1], [0.8, 0.6]], dtype=np.float32)
    assert nearest_of_others(features, np.array(["s", "s", "t", "u"])).tolist() == [3, 3, 3, 0]


def test_agreement_counts_the_named_frames_alone_and_gives_what_chance_would() -> None:
    table = pd.DataFrame(
        {
            "frame_id": list("abcdef"),
            "subject": list("123456"),
            "nearest": ["b", "a", "a", "f", "a", "a"],  # d's nearest has no name: d does not count
        }
    )
    names = pd.Series(["x", "x", "y", "y", None, None], dtype="category")
    same, chance = agreement(table, names)
    assert same == pytest.approx(2 / 3)  # a and b agree, c does not
    assert chance == pytest.approx(1 / 3)


def test_a_task_names_its_own_datasets_frames_by_its_classes() -> None:
    table = pd.DataFrame({"dataset": ["kidney", "kidney", "neck"], "label": ["normal", None, "normal"]})
    found = task_classes(table, study().tasks["kidney"])
    assert found.tolist()[0] == "normal" and found.isna().tolist() == [False, True, True]
    assert list(found.cat.categories) == ["normal", "dilation", "dysplastic"]
