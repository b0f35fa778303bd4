"""A job that is killed leaves nothing half-written, and the next run goes on where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from usfmae.corpus.curated import read_rows
from usfmae.corpus.curation import source as module
from usfmae.corpus.curation.chunks import ChunkError, Note, chunks_of, run_chunks
from usfmae.corpus.curation.frames import curate
from usfmae.finished import remove_finished
from usfmae.settings.datasets import Dataset
from usfmae.settings.study import Corpus

FILES = ["frames.npy", "masks.npy", "thumbnails.npy", "frames.parquet"]
ENTRY = {
    "title": "mine",
    "anatomy": "mixed",
    "access": {"host": "folder"},
    "licence": {"name": "unknown"},
    "citation": "none",
    "include": ["*.png"],
}


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 200, 5000])
def test_chunks_hold_every_item_once_in_order(count: int) -> None:
    chunks = chunks_of(list(range(count)))
    assert [item for chunk in chunks for item in chunk] == list(range(count))
    assert max(map(len, chunks), default=0) <= 256


def made_by(
    log: Path, stop: Callable[[int], None] = lambda number: None
) -> Callable[[int, Path, Note], None]:
    """Work that writes one file a chunk and leaves a line in `log`."""

    def work(number: int, where: Path, note: Note) -> None:
        note(f"file {number}")
        with log.open("a") as file:
            file.write(f"{number}\n")
        stop(number)
        (where / "result").write_text(str(number))

    return work


def test_what_was_finished_is_not_made_again(tmp_path: Path) -> None:
    def fail(number: int) -> None:
        if number == 3:
            raise ValueError("cannot go on")

    folder, log = tmp_path / "chunks", tmp_path / "log"
    with pytest.raises(
        ChunkError, match=r"stopped at file 3: ValueError: cannot go on\. Finished chunks are"
    ):
        list(run_chunks(6, made_by(log, fail), folder, workers=1))
    assert log.read_text().split() == ["0", "1", "2", "3"]
    assert list(run_chunks(6, made_by(log), folder, workers=1)) == [0, 1, 2, 3, 4, 5]
    assert log.read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]
    assert [(folder / f"{n:05d}/result").read_text() for n in range(6)] == list("012345")
    assert len(list(folder.iterdir())) == 6


def test_a_process_makes_several_chunks_but_not_all(tmp_path: Path) -> None:
    def work(number: int, where: Path, note: Note) -> None:
        (where / "process").write_text(str(os.getpid()))

    list(run_chunks(20, work, tmp_path, workers=1))
    made_by = [(tmp_path / f"{n:05d}/process").read_text() for n in range(20)]
    assert [made_by.count(process) for process in dict.fromkeys(made_by)] == [8, 8, 4]
    assert not {process for process in made_by if Path("/proc", process).exists()}


def test_a_process_that_is_killed_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    def die(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    message = "stopped at file 1: its process was killed by SIGKILL: .* out of memory"
    with pytest.raises(ChunkError, match=message):
        list(run_chunks(4, made_by(tmp_path / "log", die), tmp_path / "chunks", workers=2))
    assert not list((tmp_path / "chunks").glob(".*"))


def test_so_many_processes_work_at_once_as_were_asked_for(tmp_path: Path) -> None:
    def meet(number: int) -> None:
        (tmp_path / f"here-{number}").touch()
        until = time.monotonic() + 20
        while len(list(tmp_path.glob("here-*"))) < 2 and time.monotonic() < until:
            time.sleep(0.01)

    list(run_chunks(2, made_by(tmp_path / "log", meet), tmp_path / "chunks", workers=2))
    times = [(tmp_path / f"chunks/{n:05d}/result").stat().st_mtime for n in range(2)]
    assert abs(times[0] - times[1]) < 10  # neither waited for the other in vain


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """48 pictures of speckle, one of them broken, in six chunks."""
    folder = tmp_path / "release"
    folder.mkdir()
    for i in range(48):
        noise = np.random.default_rng(i).integers(0, 256, (40, 50), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i:02d}.png")
    (folder / "20.png").write_bytes(b"broken")
    (folder / "fetched.json").write_text(json.dumps({"status": "available", "root": "."}))
    return folder


def curated(
    release: Path, out: Path, *, workers: int = 2, size: int = 32, noted: bool = True
) -> pd.DataFrame:
    """`noted`: Snakemake lived to see it."""
    corpus = Corpus(datasets=["mine"], size=size)
    checkpoints = out.parent / f"{out.name}-checkpoints"
    table = curate(
        "mine",
        Dataset.model_validate(ENTRY),
        corpus,
        release / "fetched.json",
        out,
        workers=workers,
        checkpoints=checkpoints,
    )
    left = [path for path in checkpoints.rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == sorted([*FILES])
    assert all(path.samefile(out / path.name) for path in left), "second names, which take no space"
    if noted:
        remove_finished(checkpoints.parent)
        assert not checkpoints.exists()
    return table


def read_counter(log: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Names of the files read since, by all processes."""
    original = module.read_frames

    def counted(path: Path, *options: object) -> object:
        with log.open("a") as file:
            file.write(f"{path.name}\n")
        return original(path, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_frames", counted)
    return lambda: log.read_text().split()


def test_the_number_of_processes_does_not_change_a_byte(release: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        table = curated(release, tmp_path / str(workers), workers=workers)
    assert table["drop_reason"].notna().sum() == 1
    assert table["frame_id"].iloc[-1] == "mine/20.png#0"
    for name in FILES:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_a_curation_that_ended_after_its_snakemake_died_is_not_done_again(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake removes the outputs of a job whose end it did not see, and starts it again."""
    table = curated(release, tmp_path / "out", noted=False)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in FILES}
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "read").touch()
    read = read_counter(tmp_path / "read", monkeypatch)
    again = curated(release, tmp_path / "out")
    assert not read() and {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == before
    pd.testing.assert_frame_equal(again, table)


def test_masks_that_no_frame_has_take_no_space_and_are_read_as_empty(release: Path, tmp_path: Path) -> None:
    table = curated(release, tmp_path / "out", size=128)
    assert np.load(tmp_path / "out/masks.npy", mmap_mode="r").shape == (0, 128, 128)
    rows = table[:3].assign(dataset="out", row=range(3))
    masks = read_rows(tmp_path, rows, "masks.npy")
    assert (masks.shape, masks.dtype, masks.any()) == ((3, 128, 128), np.uint8, False)


def test_rows_are_read_from_the_datasets_that_they_name(release: Path, tmp_path: Path) -> None:
    curated(release, tmp_path / "a")
    curated(release, tmp_path / "b")
    rows = pd.DataFrame({"dataset": ["b", "a", "b"], "row": [4, 0, 1]})
    read = read_rows(tmp_path, rows, "frames.npy")
    frames = np.load(tmp_path / "a/frames.npy")
    np.testing.assert_array_equal(read, frames[[4, 0, 1]])


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from usfmae.corpus.curation import source
original = source.read_frames
def slow(path, *options):
    if path.name > "30":
        time.sleep(60)
    return original(path, *options)
source.read_frames = slow
from test_chunks import curated
curated(Path({release!r}), Path({out!r}))
"""


def processes_at(folder: Path) -> list[str]:
    """Processes whose command line names the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in file.read_bytes():
                found.append(file.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_job_killed_in_the_middle_leaves_no_output_and_the_rerun_goes_on(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, checkpoints = tmp_path / "out", tmp_path / "out-checkpoints"
    code = KILLED.format(tests=str(Path(__file__).parent), release=str(release), out=str(out))
    job = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list(checkpoints.glob("*/0*"))) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    job.kill()
    job.wait()
    assert len(list(checkpoints.glob("*/0*"))) == 3  # files 00 to 23
    assert not out.exists()

    read = read_counter(tmp_path / "log", monkeypatch)
    curated(release, out)
    assert sorted(read()) == [f"{i:02d}.png" for i in range(24, 48)]
    curated(release, tmp_path / "at once")
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()
    for process in processes_at(out):  # the killed job's own, which sleep on
        os.kill(int(process), signal.SIGKILL)


def test_other_settings_or_another_download_start_from_the_beginning(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(path: Path, *options: object) -> object:
        if path.name == "47.png":
            raise KeyError("stopped here")
        return original(path, *options)  # type: ignore[arg-type]

    original = module.read_frames
    with monkeypatch.context() as patched, pytest.raises(ChunkError, match=r"stopped at 47\.png: KeyError"):
        patched.setattr(module, "read_frames", stop)
        curated(release, tmp_path / "out", workers=1)
    assert len(list((tmp_path / "out-checkpoints").glob("*/0*"))) == 5
    read = read_counter(tmp_path / "log", monkeypatch)
    curated(release, tmp_path / "out", size=16)
    assert len(read()) == 48
    assert np.load(tmp_path / "out/frames.npy", mmap_mode="r").shape == (47, 16, 16)
