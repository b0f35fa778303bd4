"""Where a corpus names a model, the frames that are nearest by its embeddings are candidates of the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Curated

from usfmae.corpus.audit import duplicates
from usfmae.corpus.audit.duplicates import find_pairs
from usfmae.corpus.audit.run import read_thumbnails
from usfmae.corpus.curated import read_corpus
from usfmae.models.checkpoints import save_weights
from usfmae.models.mae import build_encoder
from usfmae.settings import SettingsError, settings_from
from usfmae.settings.models import Encoder
from usfmae.settings.study import Duplicates
from workflow import planned, snakemake

SHAPE = {"width": 32, "depth": 1, "heads": 2, "patch_size": 8}
SIMULATED = {"subjects": {"benign": 4, "malignant": 4}, "frames_per_subject": 2}


def test_a_copy_that_no_other_search_names_is_found_by_its_embedding(
    kidneys: Curated, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, frames = read_corpus([kidneys.folder])
    thumbnails = read_thumbnails([kidneys.folder])
    nothing = pd.DataFrame(columns=["moving", "fixed", "orientation", "window", "distance"], dtype=np.int64)
    for search in ("by_hash", "by_descriptor"):
        monkeypatch.setattr(duplicates, search, lambda *_: nothing)
    vectors = np.random.default_rng(0).normal(size=(len(table), 16)).astype(np.float32)
    ends = table.index[table["source"].str.split("/").str[-1].isin(kidneys.planted["near_duplicate"])]
    vectors[ends[1]] = vectors[ends[0]] + 0.01
    without = find_pairs(table, frames, thumbnails, Duplicates())
    found = find_pairs(table, frames, thumbnails, Duplicates(), embeddings=vectors)
    assert set(without["kind"]) == {"exact"}
    (near,) = found[found["kind"] == "near"].itertuples()
    assert {near.frame_a, near.frame_b} == set(table["frame_id"].loc[ends])


def config(folder: Path) -> dict[str, Any]:
    model = {"title": "Published", "encoder": "tiny", "weights": "checkpoint", "checkpoint": "published"}
    checkpoint = {"title": "Published", "contents": "encoder", "channels": 1, "licence": "none"}
    access = {"host": "folder", "folder": str(folder / "weights")}
    return {
        "datasets": {"simulated_breast": {"access": SIMULATED}},
        "encoders": {"tiny": SHAPE},
        "checkpoints": {"published": checkpoint | {"access": access}},
        "models": {"published": model},
        "corpora": {
            "few": {"datasets": ["simulated_breast"], "size": 32, "duplicates": {"model": "published"}}
        },
        "study": {
            "tasks": [],
            "models": ["vit_scratch"],
            "reference": "vit_scratch",
            "corpora": ["few"],
            "explain": {"models": []},
        },
    }


def test_frames_are_embedded_before_the_audit_and_weights_that_are_missing_stop_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / "few.yaml"
    file.write_text(json.dumps(config(tmp_path)), encoding="utf-8")
    embeddings = tmp_path / "results/corpus/few/embeddings.npy"
    said = snakemake(tmp_path, "corpus", configfile=file)
    assert "embed_frames" in planned(said) and len(np.load(embeddings)) == 0
    log = (tmp_path / "logs/corpus/few/embeddings.log").read_text(encoding="utf-8")
    assert "No neighbours by embedding: the weights published are missing" in log
    page = tmp_path / "results/report/report.html"
    snakemake(tmp_path, "report", configfile=file)
    assert "of Published were not looked for: its weights are missing" in page.read_text(encoding="utf-8")

    (tmp_path / "weights").mkdir()
    network = build_encoder(size=32, channels=1, **Encoder(**SHAPE).model_dump())
    torch.manual_seed(0)
    save_weights(tmp_path / "weights/encoder.safetensors", network.state_dict())
    jobs = planned(snakemake(tmp_path, "report", configfile=file))
    assert {"fetch_weights", "embed_frames", "audit_corpus"} <= jobs.keys() and "curate_dataset" not in jobs
    found = np.load(embeddings)
    assert found.shape == (len(np.load(tmp_path / "results/corpus/few/simulated_breast/frames.npy")), 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert "nearest neighbours by the embeddings of Published" in page.read_text(encoding="utf-8")


def test_a_model_without_published_weights_is_refused_by_name(tmp_path: Path) -> None:
    import yaml

    from workflow import ROOT

    merged: dict[str, Any] = {}
    for path in sorted((ROOT / "config").glob("*.yaml")):
        if path.name not in ("paper.yaml",):
            merged |= yaml.safe_load(path.read_text(encoding="utf-8"))
    corpus = next(iter(merged["corpora"]))
    merged["corpora"][corpus]["duplicates"] = {"model": "vit_scratch"}
    with pytest.raises(SettingsError, match="no model with `weights: checkpoint` called 'vit_scratch'"):
        settings_from(merged)
