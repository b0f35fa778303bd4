"""Curation: table and memory map say what a release contains, and nothing is lost silently."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Curated
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from usfmae.corpus.audit.run import OVERLAY, audit
from usfmae.corpus.curated import read_corpus
from usfmae.corpus.curation import source as module
from usfmae.corpus.curation.array_writer import ArrayWriter
from usfmae.corpus.curation.fingerprints import perceptual_hashes
from usfmae.corpus.curation.frames import curate
from usfmae.corpus.curation.source import COLUMNS
from usfmae.corpus.readers import Frame, ReadOptions, Unreadable
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus


def rows(kidneys: Curated, defect: str) -> pd.DataFrame:
    """Rows of the table for the files that a defect was planted in."""
    return kidneys.table[kidneys.table["source"].str.split("/").str[-1].isin(kidneys.planted[defect])]


def test_the_corrupt_file_is_dropped_as_unreadable(kidneys: Curated) -> None:
    (reason,) = rows(kidneys, "corrupt")["drop_reason"]
    assert reason.startswith("unreadable: ")


def test_the_missing_file_is_a_row_that_says_so(kidneys: Curated) -> None:
    (row,) = rows(kidneys, "missing_file").itertuples()
    assert (row.drop_reason, row.height, row.width) == ("file missing", 0, 0)
    assert row.subject.startswith("kidneys/")


def test_the_frame_that_the_table_leaves_out_is_kept_without_a_label(kidneys: Curated) -> None:
    (row,) = rows(kidneys, "missing_row").itertuples()
    assert pd.isna(row.drop_reason)
    assert pd.isna(row.label)
    assert row.subject == f"kidneys/{row.source}"  # its own subject


def test_the_frames_with_overlays_are_those_that_are_flagged(kidneys: Curated) -> None:
    flagged = kidneys.table[kidneys.table["overlay_fraction"] > OVERLAY]["source"].str.split("/").str[-1]
    assert sorted(flagged) == kidneys.planted["overlays"]


def test_nothing_but_what_was_planted_is_dropped(kidneys: Curated) -> None:
    dropped = kidneys.table[kidneys.table["drop_reason"].notna()]
    assert len(dropped) == len(kidneys.planted["corrupt"]) + len(kidneys.planted["missing_file"])
    assert len(kidneys.table) == 12 * 2 + 2 + 1  # two copies, and a row without a file


def test_every_finding_is_counted_in_the_curation_table(kidneys: Curated) -> None:
    audit(kidneys.corpus, kidneys.folder.parent)
    counted = pd.read_csv(kidneys.folder.parent / "curation.csv").set_index("finding")["frames"].to_dict()
    assert counted == {
        "kept": 25,
        "dropped: unreadable": 1,
        "dropped: file missing": 1,
        "kept without a label": 1,
        "with a mask": int(kidneys.table["has_mask"].sum()),
        "with burnt-in text, calipers or colour": len(kidneys.planted["overlays"]),
        "exact duplicate pairs": 1,
        "near duplicate pairs": 1,
        "duplicate pairs across subjects": 2,
    }


def test_the_table_has_the_columns_of_the_contract(kidneys: Curated, project: Path) -> None:
    written = pd.read_parquet(kidneys.folder / "frames.parquet")
    assert {name: str(kind) for name, kind in written.dtypes.items()} == COLUMNS
    assert written["frame_id"].is_unique
    contract = (project / "docs/contracts.md").read_text(encoding="utf-8")
    assert not [name for name in COLUMNS if f"`{name}`" not in contract]


def test_row_i_of_the_memory_map_is_row_i_of_the_table(kidneys: Curated) -> None:
    frames = np.load(kidneys.folder / "frames.npy", mmap_mode="r")
    masks = np.load(kidneys.folder / "masks.npy", mmap_mode="r")
    kept = kidneys.table["drop_reason"].isna()
    assert isinstance(frames, np.memmap)
    assert frames.shape == masks.shape == (kept.sum(), 64, 64)
    assert kept[: len(frames)].all()  # the kept rows come first
    assert frames.dtype == masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    for i in (0, 7, len(frames) - 1):
        row = kidneys.table.iloc[i]
        top, left, bottom, right = map(int, row["crop"].split(","))
        original = Image.open(kidneys.release / row["source"]).crop((left, top, right, bottom))
        height, width = round(original.height * 64 / original.width), 64
        small = np.asarray(original.resize((width, height), Image.Resampling.BILINEAR))
        start = (64 - height) // 2
        assert np.abs(frames[i, start : start + height].astype(int) - small).mean() < 4
        assert bool(masks[i].any()) == row["has_mask"]


def test_an_exact_duplicate_has_the_same_digest_and_no_other_frame_has(kidneys: Curated) -> None:
    kept = kidneys.table[kidneys.table["drop_reason"].isna()]
    twice = kept[kept["pixel_hash"].duplicated(keep=False)]["source"].str.split("/").str[-1]
    assert sorted(twice) == sorted(kidneys.planted["exact_duplicate"])


def test_the_hashes_of_a_row_are_those_of_its_thumbnail(kidneys: Curated) -> None:
    kept = kidneys.table["drop_reason"].isna()
    hashes = perceptual_hashes(np.load(kidneys.folder / "thumbnails.npy"))
    assert (kidneys.table[kept]["phash"].tolist(), kidneys.table[kept]["phash_mirrored"].tolist()) == hashes
    assert set(kidneys.table[~kept]["phash"]) == {""}


def test_curation_gives_the_same_bytes_each_time(kidneys: Curated, tmp_path: Path) -> None:
    curate("kidneys", kidneys.dataset, kidneys.corpus, kidneys.release / "fetched.json", tmp_path)
    for name in ("frames.npy", "masks.npy"):
        assert (tmp_path / name).read_bytes() == (kidneys.folder / name).read_bytes()


def from_folder(folder: Path, out: Path, **corpus: Any) -> pd.DataFrame:
    """Curates the files of a folder as dataset `mine`."""
    entry = {
        "title": "mine",
        "anatomy": "mixed",
        "access": {"host": "folder", "folder": str(folder)},
        "licence": {"name": "unknown"},
        "citation": "none",
        "exclude": ["*_mask.png", "fetched.json"],
        "masks": "{stem}_mask.png",
    }
    (folder / "fetched.json").write_text(json.dumps({"status": "available", "root": "."}))
    settings = Corpus.model_validate({"datasets": ["mine"], "size": 32} | corpus)
    return curate("mine", Dataset.model_validate(entry), settings, folder / "fetched.json", out)


def test_an_unavailable_dataset_is_an_empty_table_and_no_frames(kidneys: Curated, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_text(json.dumps({"status": "unavailable", "reason": "x", "root": None}))
    out = tmp_path / "corpus" / "mine"
    table = curate("mine", kidneys.dataset, kidneys.corpus, tmp_path / "fetched.json", out)
    assert len(table) == 0
    assert list(table.columns) == list(COLUMNS)
    assert np.load(out / "frames.npy", mmap_mode="r").shape == (0, 64, 64)
    kept, frames = read_corpus([out, kidneys.folder])
    assert len(kept) == len(frames[1]) == 25


def test_a_corpus_without_any_frame_is_audited_too(kidneys: Curated, tmp_path: Path) -> None:
    (tmp_path / "fetched.json").write_text(json.dumps({"status": "unavailable", "reason": "x", "root": None}))
    curate("mine", kidneys.dataset, kidneys.corpus, tmp_path / "fetched.json", tmp_path / "c" / "mine")
    audit(kidneys.corpus.model_copy(update={"datasets": ["mine"]}), tmp_path / "c")
    assert len(pd.read_parquet(tmp_path / "c/groups.parquet")) == 0
    assert pd.read_csv(tmp_path / "c/curation.csv").to_numpy().tolist() == [["mine", "kept", 0]]


def test_table_and_frames_that_do_not_belong_together_are_refused(kidneys: Curated, tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((3, 64, 64), np.uint8))
    table = kidneys.table.copy()
    table.attrs = {}  # without digests, as of an earlier version: with them, test_damage.py
    table.to_parquet(tmp_path / "frames.parquet")
    with pytest.raises(ValueError, match="25 rows but 3 frames: curate it again"):
        read_corpus([tmp_path])


def test_a_black_frame_is_dropped_as_blank(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 3).save(tmp_path / "black.png")
    (row,) = from_folder(tmp_path, tmp_path / "out").itertuples()
    assert (row.drop_reason, row.height, row.width) == ("blank", 40, 40)


def test_a_file_that_breaks_in_the_middle_keeps_the_frames_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_frames(path: Path, options: ReadOptions) -> Any:
        for index, level in enumerate((90, 50)):
            pixels = np.full((8, 8), level, np.uint8) + np.arange(8, dtype=np.uint8) * 10
            yield Frame(index, 3, pixels)
        raise Unreadable("cut off")

    (tmp_path / "video.png").touch()
    monkeypatch.setattr(module, "read_frames", two_frames)
    table = from_folder(tmp_path, tmp_path / "out")
    assert table["frame_id"].tolist() == [f"mine/video.png#{i}" for i in range(3)]
    assert table["drop_reason"].fillna("").tolist() == ["", "", "unreadable: cut off"]


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_files_become_frames_of_one_kind(tmp_path: Path, channels: int) -> None:
    noise = np.random.default_rng(0).integers(20, 250, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "colour.png")
    Image.fromarray(noise[..., 0]).save(tmp_path / "grey.png")
    from_folder(tmp_path, tmp_path / "out", channels=channels)
    frames = np.load(tmp_path / "out/frames.npy")
    assert frames.shape == ((2, 32, 32) if channels == 1 else (2, 32, 32, 3))
    if channels == 3:
        assert (frames[1] == frames[1][..., :1]).all()


def test_a_mask_is_cropped_and_resized_with_its_frame(tmp_path: Path) -> None:
    frame, mask = np.zeros((100, 160), np.uint8), np.zeros((100, 160), np.uint8)
    frame[20:92, 32:152] = 90
    frame[40:60, 60:90] = 220
    mask[40:60, 60:90] = 255
    Image.fromarray(frame).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    (row,) = from_folder(tmp_path, tmp_path / "out", size=60).itertuples()
    assert row.has_mask
    assert row.crop == "20,32,92,152"
    bright = np.load(tmp_path / "out/frames.npy")[0] > 155
    np.testing.assert_array_equal(np.load(tmp_path / "out/masks.npy")[0], bright)


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 12),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_appended_is_what_numpy_reads(count: int, shape: tuple[int, ...], seed: int) -> None:
    items = np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "items.npy"
        with ArrayWriter(path, shape) as writer:
            for item in items:
                writer.append(item)
        np.testing.assert_array_equal(np.load(path), items)
        assert np.load(path, mmap_mode="r").shape == items.shape


def test_a_file_is_continued_by_another_and_by_zeros_that_take_no_space(tmp_path: Path) -> None:
    items = np.random.default_rng(0).integers(1, 256, (3, 40, 50), dtype=np.uint8)
    np.save(tmp_path / "more.npy", items[1:])
    np.save(tmp_path / "none.npy", items[:0])
    with ArrayWriter(tmp_path / "items.npy", (40, 50)) as writer:
        writer.append(items[0])
        writer.skip(1000)
        writer.extend(tmp_path / "more.npy")
        writer.extend(tmp_path / "none.npy")
        writer.skip(2)
    zeros = np.zeros((1000, 40, 50), np.uint8)
    np.testing.assert_array_equal(
        np.load(tmp_path / "items.npy"), np.concatenate([items[:1], zeros, items[1:], zeros[:2]])
    )
    assert (tmp_path / "items.npy").stat().st_blocks * 512 < 100_000
    np.save(tmp_path / "other.npy", items[:, :30])
    with (
        ArrayWriter(tmp_path / "items.npy", (40, 50)) as writer,
        pytest.raises(ValueError, match=r"other\.npy: expected uint8 \(40, 50\), got uint8 \(30, 50\)"),
    ):
        writer.extend(tmp_path / "other.npy")


@pytest.mark.parametrize("item", [np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.float32)])
def test_an_item_of_another_shape_or_type_is_refused(tmp_path: Path, item: np.ndarray) -> None:
    with (
        ArrayWriter(tmp_path / "items.npy", (2, 2)) as writer,
        pytest.raises(ValueError, match="expected uint8"),
    ):
        writer.append(item)
