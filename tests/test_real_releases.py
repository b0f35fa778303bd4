"""Real files, served as their publishers do, come out of download and curation as SOURCE.md counts them.

BUS-BRA is a part of it: 200 patients. DICOM and volumes are of no dataset of OpenUS-46 and have entries here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import miniatures
import numpy as np
import pandas as pd
import pytest
from miniatures.archives import members, pack
from PIL import Image
from stand_in import serve

from usfmae.corpus.audit.availability import availability
from usfmae.corpus.curation.frames import curate
from usfmae.corpus.download.fetch import fetch
from usfmae.corpus.registry import read_registry
from usfmae.report.figures_corpus import corpus_samples
from usfmae.settings.access import Download
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus

PATIENTS = 200
SCANS = "https://scans.example.org/scans.zip"
OVARIES = [  # in the order of the official numbers
    *("Chocolate_Cyst", "Serous_Cystadenoma", "Teratoma", "Theca_Cell_Tumor", "Simple_Cyst"),
    *("Ovary_Normal", "Mucinous_Cystadenoma", "High-grade_Serous_Cystadenoma"),
]


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def link_all(real: Path, release: Path, *below: str) -> None:
    """Links the files of `real`, or those below the named folders of it, to the same paths of `release`."""
    for path, source in members(real, *below).items():
        link(source, release / path)


def bus_bra(real: Path, release: Path) -> None:
    cases = pd.read_csv(real / "bus_data.csv", dtype=str)
    cases = cases[cases["Case"].isin(cases["Case"].unique()[:PATIENTS])]
    for name in cases["ID"]:
        for path in (f"Images/{name}.png", f"Masks/mask_{name.removeprefix('bus_')}.png"):
            link(real / path, release / "BUSBRA" / path)
    (release / "BUSBRA/bus_data.csv").write_text(cases.to_csv(index=False))
    link(real / "5-fold-cv.csv", release / "BUSBRA/5-fold-cv.csv")  # whole: of more images than are there


def mmotu_2d(real: Path, release: Path) -> None:
    """As on Google Drive: all images in one folder, the classes in lists."""
    listed = json.loads((real / "OTU_2D_8-layers.json").read_text())
    part = {Path(entry["file_path_img"]).name: entry["split"] for entry in listed}
    lines: dict[str, list[str]] = {"train": [], "validation": []}
    for image in sorted(real.glob("*/images/*.JPG")):
        link(image, release / "OTU_2d/images" / image.name)
        lines[part[image.name]].append(f"{image.name}  {OVARIES.index(image.parts[-3])}\n")
    for name, split in {"train": "train", "val": "validation"}.items():
        (release / f"OTU_2d/{name}_cls.txt").write_text("".join(lines[split]))


def pocus(real: Path, release: Path) -> None:
    link_all(real, release / "data", "pocus_videos", "pocus_images", "dataset_metadata.csv")


def hc18(real: Path, release: Path) -> None:
    link_all(real, release, "training_set", "training_set_pixel_size_and_HC.csv")
    (release / "test_set_pixel_size.csv").write_text("filename,pixel size(mm)\n")  # of the test set: nothing


def stu_hospital(real: Path, release: Path) -> None:
    link_all(real, release, "Hospital")


def fast_u_net(real: Path, release: Path) -> None:
    """The three images of the repository's test_data, which the registry leaves out, once more as the PNG of
    the archives; their names there are made up."""
    link_all(real, release, "test_data")
    for path in sorted((real / "test_data").glob("*/*.jpg")):
        target = release / f"Dataset/HC/HC_{path.parent.name}/{path.stem}_HC.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(target)


def own_entry(include: list[str], **more: Any) -> Dataset:
    access = {"host": "http", "files": [{"name": "scans.zip", "url": SCANS}]}
    licence = {"name": "MIT", "use": "open"}
    entry = {"title": "Scans", "anatomy": "mixed", "access": access, "licence": licence, "citation": "none"}
    return Dataset.model_validate(entry | {"include": include} | more)


OWN = {
    "pydicom_us": own_entry(["**/*.dcm"]),
    "plus_us": own_entry(["**/*.mha", "**/*.mhd"], media="volume"),
}
LAYOUTS: dict[str, Callable[..., None]] = {
    **{layout.__name__: layout for layout in (bus_bra, mmotu_2d, pocus, hc18, stu_hospital, fast_u_net)},
    **dict.fromkeys(OWN, link_all),
}
#: Files, subjects and frames (used or not) by SOURCE.md; POCUS tells 51 groups of one patient or file.
COUNTED = {
    "mmotu_2d": (192, None, 192),
    "pocus": (33 + 31, 51, 3688 + 31),
    "hc18": (42, 30, 42),
    "stu_hospital": (42, None, 42),
    "fast_u_net": (3, 3, 3),
    "pydicom_us": (4, None, 30 + 3),
    "plus_us": (3, None, 104 + 10 + 21),
}


def entry(key: str) -> Dataset:
    """The registry's entry, without the sizes and checksums of the real archives."""
    dataset = OWN.get(key) or read_registry()[key]
    none = {"bytes": None, "md5": None, "sha256": None}
    files = [file.model_copy(update=none) for file in getattr(dataset.access, "files", [])]
    return dataset.model_copy(update={"access": dataset.access.model_copy(update={"files": files})})


@pytest.fixture(scope="module")
def curated(
    real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, pd.DataFrame]]]:
    """(root of the workflow, `frames.parquet` of each dataset)."""
    root, tables = tmp_path_factory.mktemp("real"), {}
    for key, lay_out in LAYOUTS.items():
        release, resources = root / "releases" / key, root / "resources" / key
        lay_out(real_data / key, release)
        if key in OWN:
            offered = {SCANS: pack(root / f"hosts/{key}.zip", members(release))}
        else:
            offered = miniatures.hosted(key, release, root / "hosts" / key)
        with serve(offered) as (_, mirrors):
            fetched = fetch(key, entry(key), resources, Download(mirrors=mirrors))
        assert fetched["status"] == "available", fetched["reason"]
        out = root / "results/corpus/real" / key
        corpus = Corpus(datasets=[key], size=128)
        tables[key] = curate(key, entry(key), corpus, resources / "fetched.json", out)
    yield root, tables


@pytest.mark.parametrize("key", COUNTED)
def test_what_is_found_is_what_its_source_counts(
    curated: tuple[Path, dict[str, pd.DataFrame]], key: str
) -> None:
    root, tables = curated
    counted = availability([key], root / "results/corpus/real", root / "resources").iloc[0]
    assert (
        tuple(None if pd.isna(counted[c]) else counted[c] for c in ("files", "subjects", "frames"))
        == (COUNTED[key])
    )
    assert not tables[key]["drop_reason"].fillna("").str.startswith("unreadable").any()


def test_bus_bra_has_the_images_patients_labels_and_folds_of_its_tables(
    curated: tuple[Path, dict[str, pd.DataFrame]], real_data: Path
) -> None:
    table = curated[1]["bus_bra"]
    kept = table[table["drop_reason"].isna()]
    cases = pd.read_csv(real_data / "bus_bra/bus_data.csv", dtype=str)
    cases = cases[cases["Case"].isin(cases["Case"].unique()[:PATIENTS])]
    assert kept["subject"].nunique() == PATIENTS and len(kept) == len(cases)
    assert kept["label"].value_counts().to_dict() == cases["Pathology"].value_counts().to_dict()
    assert kept["has_mask"].all() and kept["official_fold"].nunique() == 5


def test_labels_are_those_that_the_sources_count(
    curated: tuple[Path, dict[str, pd.DataFrame]],
) -> None:
    def files(key: str) -> dict[str, int]:
        table = curated[1][key]
        found = table[table["drop_reason"].fillna("") != "file missing"].drop_duplicates("source")
        return dict(found["label"].value_counts())

    assert files("pocus") == {"covid": 9 + 7, "pneumonia": 10 + 14, "healthy": 11 + 10, "viral": 3}
    assert set(files("mmotu_2d").values()) == {24} and len(files("mmotu_2d")) == 8
    splits = curated[1]["mmotu_2d"]["official_split"].value_counts().to_dict()
    assert splits == {"train": 8 * 16, "val": 8 * 8}


def test_every_container_of_pocus_gives_frames(curated: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    kept = curated[1]["pocus"].query("drop_reason.isna()")
    endings = kept["source"].str.lower().str.rsplit(".", n=1).str[1]
    assert {"mp4", "avi", "mpeg", "mov", "gif"} <= set(endings)
    assert kept.groupby("source").size().max() <= 30


def test_the_sheet_shows_a_row_of_each_release(curated: tuple[Path, dict[str, pd.DataFrame]]) -> None:
    root, tables = curated
    corpus_samples(root / "results/corpus/real", list(tables), set(), root / "samples")
    assert np.asarray(Image.open(root / "samples.png").convert("L")).std() > 20
