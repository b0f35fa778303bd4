"""Tables of labels as people save them: rows, or a sentence that names the table."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import openpyxl
import pytest
from fuzzing import fuzz, in_time, mutated
from hypothesis import given
from hypothesis import strategies as st

from usfmae.corpus.releases.tables import LayoutError, read_rows
from usfmae.settings.datasets import Table

CELLS = st.text(alphabet="ab;,\t\"'\n\r\\ é=0NA-", max_size=6)
CSV = b'file;subject;label\n"a.png";P1;normal\n"b, c.png";P2;\xc3\xa9\n'


def workbook() -> bytes:
    book = openpyxl.Workbook()
    for row in (["file", "subject", "label"], ["a.png", "P1", "normal"], ["b.png", 2, None]):
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


COCO = (
    b'{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 3, "name": "normal"}],'
    b' "annotations": [{"image_id": 1, "category_id": 3}]}'
)


def read(name: str, content: bytes, *, columns: list[str] | None = None) -> None:
    table = Table.model_validate(
        {"file": name, "frame": "file", "subject": "subject", "label": "label", "columns": columns or []}
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            with in_time():
                rows = read_rows("clinic", table, Path(folder), [name])
        except LayoutError as error:
            assert "clinic" in str(error) and name in str(error)
        else:
            assert len({row.frame for row in rows}) == len(rows)
            assert all(isinstance(row.frame, str) for row in rows)


@given(content=st.one_of(mutated(CSV), st.binary(max_size=60)))
@fuzz(120)
def test_a_csv_of_any_bytes_gives_rows_or_a_sentence(content: bytes) -> None:
    read("labels.csv", content)


@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5), between=st.sampled_from(",;\t"))
@fuzz(120)
def test_cells_of_any_text_give_rows_or_a_sentence(rows: list[list[str]], between: str) -> None:
    lines = [between.join(["file", "subject", "label"]), *(between.join(row) for row in rows)]
    read("labels.csv", "\n".join(lines).encode())


@given(content=st.one_of(st.binary(max_size=60), CELLS.map(str.encode)))
@fuzz(60)
def test_a_list_without_a_header_gives_rows_or_a_sentence(content: bytes) -> None:
    read("labels.txt", content, columns=["file", "subject", "label"])


@pytest.mark.parametrize(("name", "content"), [("labels.xlsx", workbook()), ("labels.json", COCO)])
def test_a_damaged_spreadsheet_or_coco_file_gives_rows_or_a_sentence(name: str, content: bytes) -> None:
    @given(content=mutated(content))
    @fuzz(50)
    def damaged(content: bytes) -> None:
        read(name, content)

    damaged()
