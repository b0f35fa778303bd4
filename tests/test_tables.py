"""The tables of releases: spreadsheets, lists without a header, COCO files, several files, optional ones."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_layout import by_path, dataset, release

from usfmae.corpus.releases.layout import LayoutError, Source, missing, sources
from usfmae.corpus.releases.patterns import matches

COCO = {
    "images": [{"id": 7, "file_name": "1.jpg"}, {"id": 8, "file_name": "2.jpg"}],
    "annotations": [
        {"image_id": 7, "category_id": 2},
        {"image_id": 7, "category_id": 2},
        {"image_id": 8, "category_id": 1},
    ],
    "categories": [{"id": 1, "name": "lmym"}, {"id": 2, "name": "gist"}],
}


def test_a_spreadsheet_is_read_as_text(tmp_path: Path) -> None:
    release(tmp_path, {"001.png": "", "002.png": ""})
    cells = {"Bild ": ["001.png", "002.png"], "Klasse": ["benign", None], "Nummer": [7, 8]}
    pd.DataFrame(cells).to_excel(tmp_path / "clinic.xlsx", index=False)
    table = {"file": "clinic.xlsx", "frame": "Bild", "label": "Klasse", "subject": "Nummer"}
    found = by_path(tmp_path, table=table)
    assert found["001.png"] == Source("001.png", subject="7", label="benign")
    assert found["002.png"].label is None


def test_lists_without_a_header_tell_label_and_split(tmp_path: Path) -> None:
    files = {
        "images/1.JPG": "",
        "images/2.JPG": "",
        "train_cls.txt": "1.JPG  0\n",
        "val_cls.txt": "2.JPG  7\n",
    }
    table = {
        "file": "{train,val}_cls.txt",
        "columns": ["image", "label"],
        "path_pattern": "(?P<split>train|val)_cls",
        "frame": "image",
        "label": "label",
        "split": "split",
    }
    found = by_path(release(tmp_path, files), table=table, label_names={"7": "high-grade serous"})
    assert found == {
        "images/1.JPG": Source("images/1.JPG", label="0", split="train"),
        "images/2.JPG": Source("images/2.JPG", label="high-grade serous", split="val"),
    }


def test_a_coco_file_tells_the_category_and_its_name_the_fold(tmp_path: Path) -> None:
    files = {"images/1.jpg": "", "images/2.jpg": "", "val_3.json": json.dumps(COCO)}
    table = {"file": "val_?.json", "path_pattern": r"val_(?P<fold>\d)", "frame": "file_name"}
    found = by_path(release(tmp_path, files), table=table | {"label": "category", "fold": "fold"})
    assert found["images/1.jpg"] == Source("images/1.jpg", label="gist", fold="3")
    assert found["images/2.jpg"] == Source("images/2.jpg", label="lmym", fold="3")


def test_a_list_of_records_is_a_table(tmp_path: Path) -> None:
    records = [{"img": "set/1.jpg", "split": "train"}, {"img": "set/2.jpg", "split": None}]
    files = {"set/1.jpg": "", "set/2.jpg": "", "list.json": json.dumps(records)}
    found = by_path(release(tmp_path, files), table={"file": "list.json", "frame": "img", "split": "split"})
    assert [found[f"set/{n}.jpg"].split for n in (1, 2)] == ["train", None]


@pytest.mark.parametrize("content", ["{", "{}", '{"images": [1]}', "3"])
def test_a_broken_json_table_is_named(tmp_path: Path, content: str) -> None:
    release(tmp_path, {"1.jpg": "", "list.json": content})
    with pytest.raises(LayoutError, match=r"mine: .*list\.json is not a list of records or COCO file"):
        by_path(tmp_path, table={"file": "list.json", "frame": "img"})


def test_the_same_name_in_two_folders_is_told_apart_by_a_frame_of_two_columns(tmp_path: Path) -> None:
    files = {"A4C/Videos/x.avi": "", "PSAX/Videos/x.avi": ""}
    files |= {"A4C/FileList.csv": "Name,Split\nx,1\n", "PSAX/FileList.csv": "Name,Split\nx.avi,2\n"}
    table = {"file": "*/FileList.csv", "path_pattern": "(?P<view>A4C|PSAX)/", "split": "Split"}
    release(tmp_path, files)
    found = by_path(tmp_path, table=table | {"frame": "{view}/Videos/{Name}"})
    assert [found[f"{view}/Videos/x.avi"].split for view in ("A4C", "PSAX")] == ["1", "2"]
    with pytest.raises(LayoutError, match=r"has no column 'Nam', which table\.frame names"):
        by_path(tmp_path, table=table | {"frame": "{view}/Videos/{Nam}"})
    with pytest.raises(LayoutError, match=r"table\.path_pattern does not fit A4C/FileList\.csv"):
        by_path(tmp_path, table=table | {"frame": "Name", "path_pattern": "(?P<view>PLAX)"})


def test_only_the_rows_that_count_are_expected(tmp_path: Path) -> None:
    text = "Name,Here,Patient\nx,Yes,1\ny,No,2\n"
    table = {"file": "t.csv", "frame": "Name", "subject": "Patient", "only": {"Here": "Yes"}}
    release(tmp_path, {"x.png": "", "t.csv": text})
    assert sources("mine", dataset(table=table), tmp_path) == [Source("x.png", subject="1")]
    with pytest.raises(LayoutError, match=r"no column 'Hier', which table\.only names"):
        by_path(tmp_path, table=table | {"only": {"Hier": "Yes"}})


def test_a_table_careless_about_case_still_names_its_file(tmp_path: Path) -> None:
    files = {"Pneu_1.JPG": "", "t.csv": "Name,Patient\npneu_1,P\n"}
    found = by_path(release(tmp_path, files), table={"file": "T.CSV", "frame": "Name", "subject": "Patient"})
    assert found == {"Pneu_1.JPG": Source("Pneu_1.JPG", subject="P")}


def test_a_table_that_is_not_required_may_be_missing(tmp_path: Path) -> None:
    release(tmp_path, {"x.png": ""})
    table = {"file": "**/labels.csv", "frame": "Name", "label": "Label"}
    assert by_path(tmp_path, table=table | {"required": False}) == {"x.png": Source("x.png")}
    assert missing(dataset(table=table | {"required": False}), tmp_path) == []
    assert missing(dataset(table=table), tmp_path) == ["the table **/labels.csv is not there"]


def test_a_further_table_is_found_by_pattern_and_only_one(tmp_path: Path) -> None:
    files = {"r/x.png": "", "r/t.csv": "Name\nx\n", "r/folds.csv": "Name,fold\nx,4\n"}
    table = {"file": "**/t.csv", "frame": "Name", "fold": "fold", "join": {"**/folds*.csv": "Name"}}
    assert by_path(release(tmp_path, files), table=table)["r/x.png"].fold == "4"
    release(tmp_path, {"r/folds2.csv": "Name,fold\nx,1\n"})
    with pytest.raises(LayoutError, match=r"one file is meant"):
        by_path(tmp_path, table=table)


def test_what_a_release_lacks_is_said_and_one_of_two_layouts_is_enough(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"include": ["**/{Drive/images,mirror/image}/*.jpg", "**/extra/*.jpg"]}
    release(tmp_path, {"mirror/image/1.JPG": "", "extra/thumb.jpg": ""})
    assert missing(dataset(**entry), tmp_path) == []
    entry["exclude"] = ["**/thumb*"]
    assert missing(dataset(**entry), tmp_path) == ["no file matches include '**/extra/*.jpg'"]
    assert len(missing(dataset(**entry), tmp_path / "nowhere")) == 2


@pytest.mark.parametrize(
    ("path", "expected"), [("a/b.png", True), ("x1/B.PNG", True), ("a/x1/b.png", False), ("d/b.png", False)]
)
def test_braces_hold_alternatives(path: str, expected: bool) -> None:
    assert matches(path, "{a,x?}/*.png") is expected


def test_several_groups_make_one_subject_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    release(tmp_path, {"train/07_HC.png": "", "test/07_HC.png": "", "test/Patient9_x.png": ""})
    both = by_path(tmp_path, subject_pattern=r"(train|test)/(\d+)_", split_pattern="(train|test)/")
    assert both["train/07_HC.png"] == Source("train/07_HC.png", subject="train-07", split="train")
    either = by_path(tmp_path, subject_pattern=r"/(?:(Patient\d+)|(\d+))_")
    assert [either[f"test/{name}.png"].subject for name in ("07_HC", "Patient9_x")] == ["07", "Patient9"]


def test_the_first_mask_that_exists_is_taken_whatever_the_case_of_its_ending(tmp_path: Path) -> None:
    release(tmp_path, {"train/image/1.JPG": "", "train/label/1.png": "", "masks/1.png": ""})
    found = by_path(
        tmp_path, include=["**/image/*"], masks=["{folder}/no/{stem}.PNG", "{parent}/label/{stem}.PNG"]
    )
    assert found["train/image/1.JPG"].mask == "train/label/1.png"


def test_forty_thousand_files_are_told_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"set/{n // 100:03d}/{n:05d}.png" for n in range(40_000)]
    rows = "".join(f"{n:05d},{n // 10}\n" for n in range(40_000))
    release(tmp_path, {"t.csv": "Name,Patient\n" + rows})
    monkeypatch.setattr("usfmae.corpus.releases.layout.release_files", lambda _: ["t.csv", *names])
    table = {"file": "t.csv", "frame": "Name", "subject": "Patient"}
    start = time.perf_counter()
    found = sources(
        "mine", dataset(include=["set/**/*.png"], exclude=["**/*_mask.png"], table=table), tmp_path
    )
    assert len(found) == 40_000
    assert found[39_999].subject == "3999"
    assert time.perf_counter() - start < 10
