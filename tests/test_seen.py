"""A task's frames that an encoder has met in another corpus are found, counted and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image, ImageOps

from usfmae.corpus.audit.seen import SEEN_COLUMNS, seen_frames
from usfmae.corpus.curation.frames import curate
from usfmae.corpus.simulation.anatomy import draw_subject
from usfmae.corpus.simulation.scene import draw_frame
from usfmae.record import write_table
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus
from workflow import planned, snakemake


def picture(seed: int) -> Image.Image:
    """Twice as wide as high, so that a letterbox and a stretched frame differ."""
    rng = np.random.default_rng(seed)
    whole = Image.fromarray(draw_frame(draw_subject("kidney", "normal", 0.5, rng), rng)[0])
    return whole.crop((0, whole.height // 4, whole.width, whole.height // 4 + whole.width // 2))


def corpus_of(folder: Path, pictures: dict[str, Image.Image], **how: Any) -> tuple[Corpus, Path]:
    """Curates pictures as dataset `mine` of a corpus in `folder`."""
    release = folder / "release"
    release.mkdir(parents=True)
    for name, image in pictures.items():
        image.save(release / name, quality=50)
    (release / "fetched.json").write_text(json.dumps({"status": "available", "root": "."}))
    entry = {
        "title": "mine",
        "anatomy": "kidney",
        "access": {"host": "folder", "folder": str(release)},
        "licence": {"name": "unknown"},
        "citation": "none",
    }
    corpus = Corpus(datasets=["mine"], **how)
    curate("mine", Dataset.model_validate(entry), corpus, release / "fetched.json", folder / "mine")
    return corpus, folder


OTHER_WAYS = [{"size": 128}, {"size": 192, "resize": "squash", "channels": 3}]


@pytest.mark.parametrize("other_way", OTHER_WAYS, ids=["alike", "otherwise"])
def test_copies_in_another_corpus_are_found_and_nothing_else(
    tmp_path: Path, other_way: dict[str, Any]
) -> None:
    own = {f"{i}.png": picture(i) for i in range(6)} | {"0 again.png": picture(0)}
    own["5 again.jpg"] = own["5.png"]  # a copy inside a corpus is its own audit's to find
    theirs = {f"{i}.png": picture(i) for i in range(20, 26)}
    theirs |= {"same.png": own["0.png"], "same again.png": own["0.png"], "jpeg.jpg": own["1.png"]}
    theirs |= {"mirrored.png": ImageOps.mirror(own["2.png"])}
    size = {"size": 128 if other_way["size"] == 128 else 96}
    found = seen_frames(
        *corpus_of(tmp_path / "ours", own, **size), *corpus_of(tmp_path / "theirs", theirs, **other_way)
    )
    assert {name: str(kind) for name, kind in found.dtypes.items()} == SEEN_COLUMNS
    pairs = {(frame[5:-2], there[5:-2], kind) for frame, there, kind, _ in found.itertuples(index=False)}
    assert pairs == {
        ("0.png", "same again.png", "exact"),
        ("0 again.png", "same again.png", "exact"),
        ("1.png", "jpeg.jpg", "near"),
        ("2.png", "mirrored.png", "near"),
    }


def test_a_corpus_that_is_not_there_shares_nothing(tmp_path: Path) -> None:
    ours = corpus_of(tmp_path / "ours", {"0.png": picture(0)}, size=64)
    theirs = tmp_path / "theirs/mine"
    theirs.mkdir(parents=True)
    table = pd.read_parquet(ours[1] / "mine/frames.parquet").iloc[:0]
    table.attrs = {}  # its digests are those of other arrays
    write_table(theirs / "frames.parquet", table)
    np.save(theirs / "frames.npy", np.empty((0, 64, 64), np.uint8))
    np.save(theirs / "thumbnails.npy", np.empty((0, 32, 32), np.uint8))
    assert seen_frames(*ours, ours[0], theirs.parent).empty


OVERLAY = {
    "corpora": {
        "demo": {"datasets": ["simulated_neck"], "size": 32},
        "private": {"datasets": ["simulated_neck"], "size": 24},
    },
    "datasets": {
        "simulated_neck": {
            "access": {"subjects": {"normal": 4, "cystic_hygroma": 4}, "frames_per_subject": 1}
        }
    },
    "tasks": {"neck": {"corpus": "private"}},
    "study": {"tasks": ["neck"], "explain": {"models": []}},
}


def test_the_workflow_compares_the_two_corpora_for_the_report_and_not_for_pretraining(tmp_path: Path) -> None:
    overlay = tmp_path / "private.yaml"
    overlay.write_text(yaml.safe_dump(OVERLAY), encoding="utf-8")
    asked = "results/corpus/private/seen_in_demo.parquet"
    jobs = planned(snakemake(tmp_path, "report", "-n", configfile=overlay))
    assert jobs["compare_corpora"] == 1
    encoder = "results/pretrain/demo/encoder.safetensors"
    assert planned(snakemake(tmp_path, encoder, "-n", configfile=overlay)) == {
        "fetch_dataset": 1,
        "curate_dataset": 1,
        "audit_corpus": 1,
        "pretrain_encoder": 1,
    }
    snakemake(tmp_path, asked, configfile=overlay)
    kept = pd.read_parquet(tmp_path / "results/corpus/private/simulated_neck/frames.parquet")
    kept = kept[kept["drop_reason"].isna()]
    found = pd.read_parquet(tmp_path / asked)
    exact = found[found["kind"] == "exact"]
    assert set(exact["frame"]) == set(kept["frame_id"])
