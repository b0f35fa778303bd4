"""What the files of a release mean: the table, the masks, what is missing on either side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from usfmae.corpus.releases.layout import LayoutError, Source, column_of, release_files, sources
from usfmae.corpus.releases.patterns import matches
from usfmae.settings.datasets import Dataset


def dataset(**changes: Any) -> Dataset:
    entry: dict[str, Any] = {
        "title": "A release",
        "anatomy": "breast",
        "access": {"host": "folder", "folder": "."},
        "licence": {"name": "unknown"},
        "citation": "none",
    }
    return Dataset.model_validate(entry | changes)


def release(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return root


def by_path(root: Path, **entry: Any) -> dict[str, Source]:
    return {source.path: source for source in sources("mine", dataset(**entry), root)}


TABLE = {"file": "patients.csv", "frame": "Bild", "subject": "Patientin", "label": "Befund"}


@pytest.mark.parametrize("named", ["a/scan 1.png", "scan 1.png", "scan 1", "a\\scan 1.png"])
def test_a_row_names_its_frame_by_path_by_file_name_or_by_stem(tmp_path: Path, named: str) -> None:
    table = f"Bild;Patientin;Befund\n{named};P7;gutartig\n"
    release(tmp_path, {"a/scan 1.png": "", "patients.csv": table})
    (source,) = sources("mine", dataset(table=TABLE), tmp_path)
    assert source == Source("a/scan 1.png", subject="P7", label="gutartig")


def test_a_copy_without_the_outer_folders_still_fits_its_table(tmp_path: Path) -> None:
    """MMOTU-2D as it is passed on: the table says OTU_2D/8_layers/…, the files begin below that."""
    rows = ["OTU/8/cyst/1.png,P1,cyst", "OTU/8/normal/1.png,P2,normal", "OTU/8/normal/2.png,P3,normal"]
    files = {"cyst/1.png": "", "normal/1.png": "", "1.png": ""}
    table = "\n".join(["Bild,Patientin,Befund", *rows])
    found = by_path(release(tmp_path, files | {"patients.csv": table}), table=TABLE)
    assert (found["cyst/1.png"].label, found["normal/1.png"].label) == ("cyst", "normal")
    assert found["1.png"].label is None, "two rows end so: neither is meant"
    assert [path for path, source in found.items() if not source.exists] == ["OTU/8/normal/2.png"]


def test_a_file_that_only_ends_like_a_row_does_not_take_it_from_its_own_file(tmp_path: Path) -> None:
    table = "Bild,Patientin,Befund\na/1.png,P1,cyst\n"
    found = by_path(release(tmp_path, {"a/1.png": "", "1.png": "", "patients.csv": table}), table=TABLE)
    assert (found["a/1.png"].label, found["1.png"].label) == ("cyst", None)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_table_as_a_spreadsheet_saves_it_is_understood(tmp_path: Path, separator: str, start: str) -> None:
    lines = [["Bild", "Patientin", "Befund"], ["x.png", "007", "gutartig"], ["y.png", "008", "bösartig"]]
    text = start + "\n".join(separator.join(line) for line in lines) + "\n"
    found = by_path(release(tmp_path, {"x.png": "", "y.png": "", "patients.csv": text}), table=TABLE)
    assert (found["x.png"].subject, found["y.png"].label) == ("007", "bösartig")


def test_an_empty_cell_is_no_label_and_zero_is_one(tmp_path: Path) -> None:
    text = "Bild,Patientin,Befund\nx.png,1,\ny.png,2,0\nz.png,,  \n"
    files = {"x.png": "", "y.png": "", "z.png": "", "patients.csv": text}
    found = by_path(release(tmp_path, files), table=TABLE)
    assert [found[path].label for path in ("x.png", "y.png", "z.png")] == [None, "0", None]
    assert found["z.png"].subject is None


def test_neither_a_file_without_a_row_nor_a_row_without_a_file_is_lost(tmp_path: Path) -> None:
    text = "Bild,Patientin,Befund\nlisted.png,1,a\nvanished.png,2,b\n"
    release(tmp_path, {"listed.png": "", "unlisted.png": "", "patients.csv": text})
    assert sources("mine", dataset(table=TABLE), tmp_path) == [
        Source("listed.png", subject="1", label="a"),
        Source("unlisted.png"),
        Source("vanished.png", exists=False, subject="2", label="b"),
    ]


@pytest.mark.parametrize("key", ["frame", "subject", "label", "fold", "split"])
def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path, key: str) -> None:
    release(tmp_path, {"x.png": "", "patients.csv": "Bild,Patientin,Befund\nx.png,1,a\n"})
    with pytest.raises(LayoutError) as error:
        sources("mine", dataset(table=TABLE | {key: "Patient"}), tmp_path)
    assert str(error.value) == (
        f"mine: patients.csv has no column 'Patient', which table.{key} names (did you mean \"Patientin\"?)"
    )


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    release(tmp_path, {"x.png": ""})
    with pytest.raises(LayoutError, match=r"mine: the table .*patients\.csv is missing"):
        sources("mine", dataset(table=TABLE), tmp_path)


@pytest.mark.parametrize("content", ["", "\n"], ids=["empty", "one empty line"])
def test_an_empty_table_is_named(tmp_path: Path, content: str) -> None:
    release(tmp_path, {"x.png": "", "patients.csv": content})
    with pytest.raises(LayoutError, match=r"mine: .*patients\.csv is not a CSV table"):
        sources("mine", dataset(table=TABLE), tmp_path)


def test_a_table_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    release(tmp_path, {"x.png": ""})
    (tmp_path / "patients.csv").write_bytes("Bild,Befund\nx.png,bösartig\n".encode("latin-1"))
    with pytest.raises(LayoutError, match=r"patients\.csv is not a CSV table in UTF-8"):
        sources("mine", dataset(table=TABLE), tmp_path)


def test_a_spreadsheet_of_which_a_byte_changed_is_named(tmp_path: Path) -> None:
    """Found by fuzzing: its zip's own errors were let through."""
    release(tmp_path, {"x.png": ""})
    file = tmp_path / "patients.xlsx"
    pd.DataFrame({"Bild": ["x.png"], "Befund": ["a"]}).to_excel(file, index=False)
    content = bytearray(file.read_bytes())
    content[content.index(b"sheet1.xml") + 40] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(LayoutError, match=r"patients\.xlsx is not a"):
        sources("mine", dataset(table=TABLE | {"file": "patients.xlsx"}), tmp_path)


def test_rows_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    text = "Bild,Patientin,Befund,Notiz\nx,1,a,left\nx,1,a,right\ny,1,a,\ny,1,b,\n"
    release(tmp_path, {"x.png": "", "y.png": "", "patients.csv": text})
    with pytest.raises(LayoutError) as error:
        sources("mine", dataset(table=TABLE), tmp_path)
    assert str(error.value) == (
        "mine: patients.csv has rows for 'y' that differ in Patientin or Befund: keep one"
    )


def test_a_row_that_fits_two_files_is_refused(tmp_path: Path) -> None:
    files = {"left/1.png": "", "right/1.png": "", "patients.csv": "Bild,Patientin,Befund\n1.png,7,a\n"}
    with pytest.raises(LayoutError, match=r"fits two files, left/1\.png and right/1\.png"):
        sources("mine", dataset(table=TABLE), release(tmp_path, files))


def test_a_table_of_one_column_is_a_table(tmp_path: Path) -> None:
    release(tmp_path, {"x y.png": "", "patients.csv": "file name\nx y.png\n"})
    (source,) = sources("mine", dataset(table={"file": "patients.csv", "frame": "file name"}), tmp_path)
    assert source == Source("x y.png")


def test_patterns_that_find_nothing_are_said(tmp_path: Path) -> None:
    release(tmp_path, {"x.png": ""})
    with pytest.raises(LayoutError, match=r"mine: no file below .* matches include: \['\*\.jpg'\]"):
        sources("mine", dataset(include=["*.jpg"]), tmp_path)


def test_further_tables_are_joined_by_the_frame(tmp_path: Path) -> None:
    files = {
        "x.png": "",
        "y.png": "",
        "patients.csv": "Bild,Befund\nx,a\ny,b\n",
        "folds.csv": "ID,Befund,fold\ny,other,2\nx,other,1\nx,other,9\n",
    }
    table = {"file": "patients.csv", "frame": "Bild", "label": "Befund", "fold": "fold"}
    found = by_path(release(tmp_path, files), table=table | {"join": {"folds.csv": "ID"}})
    assert [(found[f].label, found[f].fold) for f in ("x.png", "y.png")] == [("a", "1"), ("b", "2")]
    with pytest.raises(LayoutError, match=r"folds\.csv has no column 'Id', which table\.join names"):
        by_path(tmp_path, table=table | {"join": {"folds.csv": "Id"}})


def test_any_column_of_the_table_can_be_asked_for(tmp_path: Path) -> None:
    files = {"x.png": "", "y.png": "", "z.png": ""}
    files["all.csv"] = "file,class,Device\nx,a,GE\ny,b,\nz,a,GE\n"
    entry = dataset(
        include=["*.png"],
        table={"file": "all.csv", "frame": "file", "label": "class"},
        label_names={"a": "A"},
    )
    assert column_of("mine", entry, release(tmp_path, files), "Device") == {"x.png": "GE", "z.png": "GE"}
    with pytest.raises(LayoutError, match="no column 'device'"):
        column_of("mine", entry, tmp_path, "device")
    with pytest.raises(LayoutError, match="no `table` in which to look for the column 'Device'"):
        column_of("mine", dataset(include=["*.png"]), tmp_path, "Device")


def test_masks_in_the_same_folder_are_masks_and_no_frames(tmp_path: Path) -> None:
    files = {"set/1.png": "", "set/1_mask.png": "", "set/2.png": "", "readme.md": ""}
    found = by_path(release(tmp_path, files), exclude=["**/*_mask.png"], masks="{folder}/{stem}_mask.png")
    assert {path: source.mask for path, source in found.items()} == {
        "set/1.png": "set/1_mask.png",
        "set/2.png": None,
    }


def test_masks_of_the_same_name_in_another_folder_are_found(tmp_path: Path) -> None:
    files = {"images/1.png": "", "masks/1.png": "", "masks/0001.png": "", "images/bus_0001.png": ""}
    release(tmp_path, files)
    same = by_path(tmp_path, include=["images/*"], masks="masks/{name}")
    cut = by_path(tmp_path, include=["images/*"], masks="masks/{stem}.png", mask_stem="bus_(.*)")
    assert same["images/1.png"].mask == "masks/1.png"
    assert cut["images/bus_0001.png"].mask == "masks/0001.png"


def test_a_frame_at_the_top_of_the_release_may_have_its_mask_beside_it(tmp_path: Path) -> None:
    release(tmp_path, {"1.png": "", "1_mask.png": ""})
    found = by_path(tmp_path, exclude=["*_mask.png"], masks="{folder}/{stem}_mask.png")
    assert found["1.png"].mask == "1_mask.png"


def test_labels_and_subjects_may_stand_in_the_path(tmp_path: Path) -> None:
    release(tmp_path, {"malignant/p03_1.png": "", "benign/p04_1.png": ""})
    found = by_path(tmp_path, label_pattern=r"^(\w+)/", subject_pattern=r"/(p\d+)_")
    assert found["malignant/p03_1.png"] == Source("malignant/p03_1.png", subject="p03", label="malignant")


def test_hidden_files_and_our_own_note_are_no_part_of_a_release(tmp_path: Path) -> None:
    release(tmp_path, {"b.png": "", "a/c.png": "", ".git/d.png": "", ".e.png": "", "fetched.json": ""})
    assert release_files(tmp_path) == ["a/c.png", "b.png"]


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a.png", "*.png", True),
        ("a.PNG", "*.png", True),
        ("sub/a.png", "*.png", False),
        ("a.png", "**/*.png", True),
        ("one/two/a.png", "**/*.png", True),
        ("one/two/a.png", "one/**", True),
        ("images/ab.png", "images/a?.png", True),
        ("images/a.png", "images/a?.png", False),
        ("a+b (1).png", "a+b (1).png", True),
        ("axpng", "a.png", False),
        ("new\nline/a\nb.png", "**/*.png", True),
    ],
)
def test_patterns_are_those_of_a_shell(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) is expected


def test_bus_bra_is_read_as_it_is_released(real_data: Path) -> None:
    entry = dataset(
        include=["Images/*.png"],
        masks="Masks/mask_{stem}.png",
        mask_stem="bus_(.*)",
        table={
            "file": "bus_data.csv",
            "frame": "ID",
            "subject": "Case",
            "label": "Pathology",
            "join": {"5-fold-cv.csv": "ID"},
            "fold": "kFold",
        },
    )
    found = sources("bus_bra", entry, real_data / "bus_bra")
    there = [source for source in found if source.exists]
    assert len(there) == 1873
    assert len(found) - len(there) == 2
    assert all(source.mask and source.label in ("benign", "malignant") for source in there)
    assert {source.fold for source in there} == {"1", "2", "3", "4", "5"}
    labels: dict[str | None, set[str | None]] = {}
    for source in found:
        labels.setdefault(source.subject, set()).add(source.label)
    assert len(labels) == 1064
    assert all(len(of_subject) == 1 for of_subject in labels.values())
    devices = column_of("bus_bra", entry, real_data / "bus_bra", "Device")
    assert len(devices) == 1875 and len(set(devices.values())) == 4
