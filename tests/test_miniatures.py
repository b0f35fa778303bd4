"""Miniatures of all 46 datasets go through download, curation and audit, and come out as planted."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import miniatures
import numpy as np
import pandas as pd
import pytest
import yaml
from stand_in import serve

from usfmae.corpus.audit.run import audit
from usfmae.corpus.curation.frames import curate
from usfmae.corpus.download.fetch import fetch
from usfmae.corpus.releases.patterns import matches
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset, DatasetsFile
from usfmae.settings.study import Corpus

ROOT = Path(__file__).resolve().parents[1]
SIZE = 64
every_key = pytest.mark.parametrize("key", miniatures.KEYS)


@cache
def registry() -> dict[str, Dataset]:
    text = (ROOT / "config/openus46.yaml").read_text(encoding="utf-8")
    return DatasetsFile.model_validate(yaml.safe_load(text)).datasets


def entry(key: str) -> Dataset:
    """The registry's entry, without the sizes and checksums of the real archives."""
    dataset = registry()[key]
    files = [
        file.model_copy(update={"bytes": None, "md5": None, "sha256": None})
        for file in getattr(dataset.access, "files", [])
    ]
    access = dataset.access.model_copy(update={"files": files})
    return dataset.model_copy(update={"access": access, "bytes": None, "unpacked_bytes": None})


@dataclass(frozen=True)
class Curated:
    """`table`: frames.parquet with `planted`, the path that the generator wrote the source's file as."""

    planted: miniatures.Planted
    table: pd.DataFrame
    frames: np.ndarray  # (N, SIZE, SIZE)

    @property
    def kept(self) -> pd.DataFrame:
        return self.table[self.table["drop_reason"].isna()]


class Workplace:
    """The folders of a workflow; a dataset is downloaded and curated when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.corpus = folder / "results/corpus/all"
        self.of = cache(self._curated)

    def _curated(self, key: str) -> Curated:
        release, resources = self.folder / "releases" / key, self.folder / "resources" / key
        planted = miniatures.write_miniature(key, release)
        dataset, packed = entry(key), self.folder / "hosts" / key
        offered = miniatures.hosted(key, release, packed)
        if dataset.access.host == "folder":
            (resources / "archives").mkdir(parents=True, exist_ok=True)
            for path in miniatures.archives_by_hand(key, release, packed):
                shutil.copy(path, resources / "archives")
        with serve(offered) as (_, mirrors):
            fetched = fetch(key, dataset, resources, Download(mirrors=mirrors))
        if "needs the program" in (fetched["reason"] or ""):
            pytest.skip(fetched["reason"])
        assert fetched["status"] == "available", fetched["reason"]
        out = self.corpus / key
        settings = Corpus(datasets=[key], size=SIZE)
        table = curate(key, dataset, settings, resources / "fetched.json", out)
        table["planted"] = table["source"].map(lambda source: closest(source, planted))
        return Curated(planted, table, np.load(out / "frames.npy"))


def closest(source: str, planted: miniatures.Planted) -> str:
    """The written file that a file of the unpacked release is: the same name, the same folders from its end.

    An archive may be unpacked into a folder of its own, so only the end of the path is sure.
    """

    def shared(path: str) -> int:
        pairs = zip(reversed(path.split("/")), reversed(source.split("/")), strict=False)
        return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))

    best = max([*planted.frames, *planted.avoid], key=shared)
    assert shared(best), f"{source} was never written"
    return best


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    patch = pytest.MonkeyPatch()
    patch.setenv("KAGGLE_API_TOKEN", "a token of the stand-in")
    yield Workplace(tmp_path_factory.mktemp("openus46"))
    patch.undo()


def same_partition(told: pd.Series, found: pd.Series) -> bool:
    """Whether two columns tell the same rows apart, in whatever words."""
    pairs = pd.DataFrame({"told": told, "found": found.fillna("")}).drop_duplicates()
    return pairs["told"].is_unique and pairs["found"].is_unique and "" not in set(pairs["found"])


def test_the_registry_and_the_miniatures_are_of_the_same_46_datasets() -> None:
    assert sorted(registry()) == miniatures.KEYS
    assert len(miniatures.KEYS) == 46


@every_key
def test_frames_come_from_the_planted_files_and_no_other(workplace: Workplace, key: str) -> None:
    curated = workplace.of(key)
    assert set(curated.table["planted"]) == set(curated.planted.frames)
    assert curated.table["source"].nunique() == len(curated.planted.frames)


@every_key
def test_every_readable_file_gives_frames_and_every_corrupt_one_a_reason(
    workplace: Workplace, key: str
) -> None:
    curated = workplace.of(key)
    dropped = curated.table[curated.table["drop_reason"].notna()]
    assert set(curated.kept["planted"]) >= set(curated.planted.readable)
    assert set(dropped["planted"]) == set(curated.planted.corrupt)
    reasons = dropped.groupby("planted")["drop_reason"].last().to_dict()
    assert all(reason.startswith("unreadable: ") for reason in reasons.values()), reasons
    whole = [path for path in curated.planted.corrupt if curated.planted.frames[path] == 1]
    assert not curated.kept["planted"].isin(whole).any()


@every_key
def test_a_clip_has_as_many_frames_as_were_written(workplace: Workplace, key: str) -> None:
    curated = workplace.of(key)
    found = curated.kept.groupby("planted")["frames_in_source"].first()
    readable = curated.planted.readable
    assert found[readable].to_dict() == {path: curated.planted.frames[path] for path in readable}


@every_key
def test_subjects_labels_and_official_splits_are_told_apart(workplace: Workplace, key: str) -> None:
    curated = workplace.of(key)
    split = curated.table["official_split"].fillna(curated.table["official_fold"])
    for meaning, told, found in (
        ("subject", curated.planted.subjects, curated.table["subject"]),
        ("label", curated.planted.labels, curated.table["label"]),
        ("split", curated.planted.splits, split),
    ):
        planted = curated.table["planted"].map(told).dropna()
        rows = pd.DataFrame({"told": planted, "found": found[planted.index]}).drop_duplicates()
        assert same_partition(rows["told"], rows["found"]), f"{meaning}:\n{rows}"


def test_clips_in_one_file_are_subjects_of_their_own(workplace: Workplace) -> None:
    curated = workplace.of("thyroid_cineclip")
    (names,) = curated.planted.frame_subjects.values()
    told = curated.kept["frame_index"].map(dict(enumerate(names)))
    assert curated.kept["subject"].nunique() == len(set(names)) == 3
    rows = pd.DataFrame({"told": told, "found": curated.kept["subject"]}).drop_duplicates()
    assert same_partition(rows["told"], rows["found"])


@pytest.mark.parametrize("key", [key for key in miniatures.KEYS if registry()[key].masks])
def test_a_mask_is_found_where_one_was_planted(workplace: Workplace, key: str) -> None:
    curated = workplace.of(key)
    kept, readable = curated.kept, set(curated.planted.readable)
    assert set(kept.loc[kept["has_mask"], "planted"]) == curated.planted.masks.keys() & readable
    assert set(kept.loc[kept["mask_problem"].notna(), "planted"]) == curated.planted.odd_masks & readable


@every_key
def test_frames_stand_upright(workplace: Workplace, key: str) -> None:
    """Pictures are brighter in the near field and at the left. The mean over the frames' dark borders is
    taken from inside only."""
    frames = workplace.of(key).frames.astype(float)
    inside = np.where(frames > 0, frames, np.nan)
    half = SIZE // 2
    top, bottom = np.nanmean(inside[:, :half]), np.nanmean(inside[:, half:])
    left, right = np.nanmean(inside[:, :, :half]), np.nanmean(inside[:, :, half:])
    assert top > bottom
    assert left > right


@every_key
def test_the_fact_file_picks_the_same_files(real_data: Path, tmp_path: Path, key: str) -> None:
    """The facts' own patterns and subject rule, on the miniature as it is written."""
    text = (real_data.parent / "facts/openus46.yaml").read_text(encoding="utf-8")
    (facts,) = (each for each in yaml.safe_load(text)["datasets"] if each["key"] == key)
    planted = miniatures.write_miniature(key, tmp_path)

    def fits(path: str, patterns: list[str]) -> bool:  # relative to the release, or to a folder in it
        plain = [pattern.replace("[0-9]", "?").removeprefix("**/") for pattern in patterns]
        return any(matches(path, f"**/{pattern}") for pattern in plain)

    include = [pattern.partition("::")[0] for pattern in facts["include"]]  # file::array
    exclude = [pattern for pattern in facts["exclude"] if "::" not in pattern]
    written = [*planted.frames, *planted.avoid]
    chosen = {path for path in written if fits(path, include) and not fits(path, exclude)}
    assert chosen == set(planted.frames)
    if rule := facts["subject_id"]["regex"]:
        found = {path for path in chosen if re.search(rule, path.rpartition("/")[2])}
        assert found == set(planted.subjects)


def test_a_pickle_in_a_release_is_not_run(workplace: Workplace) -> None:
    workplace.of("fass")
    assert not list(workplace.folder.rglob("PICKLE_WAS_RUN"))


def test_the_second_layout_of_a_release_is_curated_alike(tmp_path: Path) -> None:
    for name, key in miniatures.SECOND_LAYOUTS.items():
        planted = miniatures.write_miniature(name, tmp_path / "resources")
        dataset = entry(key)
        folder = {"host": "folder", "folder": str(tmp_path / "resources")}
        dataset = Dataset.model_validate(dataset.model_dump() | {"access": folder})
        fetch(key, dataset, tmp_path / "fetched")
        corpus = Corpus(datasets=[key], size=SIZE)
        table = curate(key, dataset, corpus, tmp_path / "fetched/fetched.json", tmp_path / "out")
        assert set(table["source"]) == set(planted.frames)
        assert same_partition(table["source"].map(planted.labels), table["label"])


@pytest.fixture(scope="module")
def pairs(workplace: Workplace) -> pd.DataFrame:
    """The audit's pairs over all 46: `a` and `b` are `<key>/<planted path>`."""
    names = {}
    for key in miniatures.KEYS:
        table = workplace.of(key).table
        names |= dict(zip(table["frame_id"], key + "/" + table["planted"], strict=True))
    audit(Corpus(datasets=miniatures.KEYS, size=SIZE), workplace.corpus)
    found = pd.read_parquet(workplace.corpus / "duplicates.parquet")
    return found.assign(a=found["frame_a"].map(names), b=found["frame_b"].map(names))


def copies(workplace: Workplace) -> list[miniatures.Copy]:
    return [copy for key in miniatures.KEYS for copy in workplace.of(key).planted.copies]


def test_the_audit_finds_every_planted_copy(workplace: Workplace, pairs: pd.DataFrame) -> None:
    found = {frozenset(pair): kind for *pair, kind in zip(pairs["a"], pairs["b"], pairs["kind"], strict=True)}
    planted = [copy for copy in copies(workplace) if copy.kind != "neighbour"]
    lacking = [copy for copy in planted if frozenset((copy.a, copy.b)) not in found]
    assert not lacking
    exact = [copy for copy in planted if copy.kind == "exact"]
    assert all(found[frozenset((copy.a, copy.b))] == "exact" for copy in exact)


def test_the_audit_ties_no_subjects_that_share_no_picture(workplace: Workplace, pairs: pd.DataFrame) -> None:
    group = {}
    for copy in copies(workplace):
        tied = group.setdefault(copy.a, {copy.a}) | group.setdefault(copy.b, {copy.b})
        group |= dict.fromkeys(tied, tied)
    across = pairs[pairs["across_subjects"]]
    wrong = [(a, b) for a, b in zip(across["a"], across["b"], strict=True) if b not in group.get(a, ())]
    assert not wrong
