"""The gallery: every kind of figure has its picture and its words, and the pictures stay small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import gallery

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/figures.md").read_text(encoding="utf-8")


def kinds() -> set[str]:
    """Kinds of figure that Snakemake's report knows: workflow/rules/captions.smk."""
    text = (ROOT / "workflow/rules/captions.smk").read_text(encoding="utf-8")
    block = re.search(r"FIGURE_KINDS = dict\((.*?)\n\)", text, re.DOTALL)
    assert block is not None
    return set(re.findall(r"^ +(\w+)=", block[1], re.MULTILINE))


def test_every_kind_of_figure_has_a_picture_and_a_caption() -> None:
    shown = re.findall(r"^!\[[^]]{5,}\]\(figures/(\w+)\.png\)\n\*\*", PAGE, re.MULTILINE)
    assert sorted(shown) == sorted([*gallery.PICTURES, *gallery.MADE_UP])
    assert kinds() | {"samples", "duplicates", "panels", "contact_sheet"} == set(shown)
    captions = (ROOT / "workflow/report/figure.rst").read_text(encoding="utf-8")
    assert set(re.findall(r'^  "(\w+)": ', captions, re.MULTILINE)) == kinds()


def test_the_pictures_are_there_and_together_small() -> None:
    files = sorted((ROOT / "docs/figures").iterdir())
    assert [file.stem for file in files] == sorted([*gallery.PICTURES, *gallery.MADE_UP])
    assert sum(file.stat().st_size for file in files) < 2.5e6


def test_the_gallery_is_made_by_one_command_from_a_studys_results(tmp_path: Path) -> None:
    for pattern in gallery.PICTURES.values():
        file = tmp_path / "results" / pattern.replace("*", "kidney")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2125, 800), "#0072B2").save(file)
    gallery.main(tmp_path / "results", tmp_path / "out")
    made = {file.stem: Image.open(file) for file in (tmp_path / "out").iterdir()}
    assert made.keys() == gallery.PICTURES.keys() | set(gallery.MADE_UP)
    assert {image.width for image in made.values()} == {gallery.WIDTH}
    assert made["roc"].getpixel((5, 5)) == (0, 0x72, 0xB2)


def test_a_missing_figure_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"samples\.png: no such file; run the demo first"):
        gallery.main(tmp_path, tmp_path / "out")
