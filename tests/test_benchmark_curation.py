"""The benchmark of curation compares both sides on the same frames, of every kind that is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from miniatures.moving import video
from miniatures.release import Release
from PIL import Image

from benchmarks import curation
from benchmarks.curation_files import CLIPS, KINDS, PICTURES, VOLUMES, Kind, convert, prepare, pyav
from usfmae.corpus.readers import READERS, read_frames

MADE = {name: kind for name, kind in KINDS.items() if kind.made}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A picture, a clip and a volume where USFMAE_REAL_DATA has real ones."""
    frames = np.random.default_rng(0).integers(0, 255, (6, 48, 64), dtype=np.uint8)
    for pattern in (PICTURES, VOLUMES):
        (tmp_path / "data" / pattern).parent.mkdir(parents=True)
    Image.fromarray(frames[0]).save(tmp_path / "data" / PICTURES.replace("*", "a"))
    sitk.WriteImage(
        sitk.GetImageFromArray(frames), str(tmp_path / "data" / VOLUMES).replace("*.mh[ad]", "a.mha")
    )
    video(Release("x", tmp_path / "data"), CLIPS.replace("*", "a") + ".avi", frames)
    return tmp_path / "data"


@pytest.mark.parametrize("name", MADE)
def test_a_file_made_of_a_real_one_has_its_frames_for_curation_and_for_the_bare_decoder(
    name: str, data: Path, tmp_path: Path
) -> None:
    kind = MADE[name]
    source = next(iter(data.glob(kind.pattern)))
    original = [frame.pixels for frame in read_frames(source)]
    made = tmp_path / f"0{kind.made}"
    convert(source, made)
    ours = [frame.pixels for frame in read_frames(made)]
    assert len(ours) == len(original)
    for decoder in kind.decoders:
        theirs = [frame.copy() for frame in decoder(made, range(len(original)))]
        assert len(theirs) == len(original)
        if kind.made not in (".webm", ".webp"):  # whose coding is lossy
            assert all(map(np.array_equal, theirs, original)) and all(map(np.array_equal, ours, original))
        if len(original) > 2:
            assert all(map(np.array_equal, decoder(made, [0, 2]), (theirs[0], theirs[2])))


def test_a_row_has_both_speeds_on_the_same_frames_and_the_memory_of_two_workers(
    data: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.chdir(project)
    rows = curation.measure("array, NPZ, compressed", 1, data)
    _, frames, library, bare, ours, share, _, memory = rows["all"]
    assert (frames, library) == ("60", "NumPy") and int(ours) > 0 and int(bare.replace(",", "")) > 0
    assert share.endswith(" %") and memory.endswith(" MB") and int(memory[:-3]) > 50
    assert rows["sampled"][1] == "20"  # frames 0 and 5 of 6, in 10 files


def test_every_family_of_formats_is_measured() -> None:
    endings = {kind.made or Path(kind.pattern).suffix.lower() for kind in KINDS.values()}
    families = {READERS.get(ending.replace(".v73", ""), "dicom") for ending in endings}
    assert families >= {*READERS.values(), "dicom"}


def test_the_sampled_frames_of_a_clip_are_those_of_the_registry(data: Path, tmp_path: Path) -> None:
    kind = Kind(CLIPS + ".avi", (pyav,), 1, "pocus")
    prepare(kind, data, tmp_path / "release")
    (tmp_path / "out").mkdir()
    arguments = (tmp_path / "release", tmp_path / "out", curation.sampling_of("pocus"), 1)
    found = curation.compare(kind, *arguments)
    assert found["frames"] == 1 and found["bare"] == "pyav" and found["share"] > 0


def test_without_real_data_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="USFMAE_REAL_DATA"):
        prepare(KINDS["BMP"], tmp_path, tmp_path / "release")


def test_what_fails_in_its_process_fails(data: Path, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(subprocess.CalledProcessError):
        curation.measure("BMP", 1, data)
