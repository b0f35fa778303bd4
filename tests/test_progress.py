"""Progress in a log file, and what a person sees when a job fails."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from usfmae import attempts
from usfmae import progress as module
from usfmae.corpus.readers import read_frames
from usfmae.progress import clock, logged, progress
from usfmae.record import Run, atomic


@pytest.fixture
def second_by_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is one second further on each time it is read."""
    seconds = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(seconds)))


def test_a_log_has_plain_lines_with_count_rate_and_time_left(
    second_by_second: None, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(progress(range(25), description="curating", unit="file")) == list(range(25))
    lines = capfd.readouterr().err.splitlines()
    assert lines == [
        "curating: 10/25 file, 1 file/s, 0:15 left",
        "curating: 20/25 file, 1 file/s, 0:05 left",
        "curating: 25/25 file, 0.962 file/s, 0:26 in all",
    ]


def test_progress_over_an_unknown_number_promises_no_time(
    second_by_second: None, capfd: pytest.CaptureFixture[str]
) -> None:
    list(progress(iter(range(12)), description="frames"))
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["frames: 10 it", "frames: 12 it"]
    assert not any("left" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (75, "1:15"), (59.7, "1:00"), (4000, "1:06:40")]
)
def test_times_are_written_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_what_a_job_says_is_on_the_terminal_and_in_its_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "logs" / "job.log"
    with logged(log):
        print("three frames kept")
        print("one dropped", file=sys.stderr)
        list(progress(range(2), description="curating"))
    shown = capfd.readouterr()
    assert shown.out == "three frames kept\n"
    assert log.read_text() == shown.out + shown.err
    assert "curating: 2/2 it" in shown.err


def test_our_own_error_is_a_sentence_for_people_and_a_traceback_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "job.log"
    (tmp_path / "scan.png").write_text("no image")
    with pytest.raises(SystemExit) as exit, logged(log):
        next(read_frames(tmp_path / "scan.png"))
    assert exit.value.code == 1
    assert capfd.readouterr().err == "\nerror: not an image file\n\n"
    assert "Traceback" in log.read_text()
    assert "Unreadable: not an image file" in log.read_text()


def test_an_error_of_another_package_is_raised_as_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "job.log"
    with pytest.raises(json.JSONDecodeError), logged(log):
        json.loads("{")
    assert "error:" not in capfd.readouterr().err
    assert "JSONDecodeError" in log.read_text()


def test_a_slip_in_our_own_code_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(AttributeError), logged(tmp_path / "job.log"):
        Run("pretrain", tmp_path, wildcards={}, parameters=None)  # type: ignore[arg-type]


def test_the_same_job_is_never_made_by_two_processes_at_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What outlives a Snakemake that was killed is named; once it has ended, the job begins."""
    monkeypatch.setattr(attempts, "PATIENCE", 0.1)
    other = (
        "import sys, time; from usfmae.progress import logged\n"
        f"with logged({str(tmp_path / 'job.log')!r}): print('begun', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", other], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "begun\n"
        with pytest.raises(SystemExit) as ended, logged(tmp_path / "job.log"):
            raise AssertionError("two at once")
        assert ended.value.code == 1
        assert f"the same job still runs as process {first.pid} on " in capfd.readouterr().err
        assert "begun" in (tmp_path / "job.log").read_text()  # of the first: it is not emptied
        first.kill()
    with logged(tmp_path / "job.log"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["job.log"]


def test_a_lock_that_its_keeper_removed_while_another_waited_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a third process would lock a new file, and two would be alone."""
    path, lock = tmp_path / "job.running", fcntl.flock

    def lock_after_removal(file: IO[str], how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_after_removal)
    with attempts.alone(tmp_path / "job.log"), path.open() as third, pytest.raises(BlockingIOError):
        fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_no_file_ends_the_job_with_what_to_do(
    number: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch and safetensors put an error of their own before the system's."""
    for error in (
        OSError(number, os.strerror(number), "results/x.npy"),
        RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})"),
    ):
        with pytest.raises(SystemExit), logged(tmp_path / "job.log"):
            try:
                raise error
            finally:
                raise RuntimeError("unexpected pos 704 vs 598")
        said = capfd.readouterr().err
        assert f"{os.strerror(number)}: make" in said and "start the same command again" in said
        assert os.strerror(number) in (tmp_path / "job.failed").read_text()


def test_a_failed_job_leaves_the_streams_as_they_were(tmp_path: Path) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(ZeroDivisionError), logged(tmp_path / "job.log"):
        1 / 0  # noqa: B018
    assert (sys.stdout, sys.stderr) == before
    assert module._log is None
    list(progress(range(3), description="the next job"))


def test_an_error_is_not_paid_for_twice_and_a_person_may_start_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The profile of a cluster sends a failed job again: after an error that would be another allocation."""
    log, tries = tmp_path / "job.log", []
    for attempt in (1, 2, 3):
        with pytest.raises((SystemExit, ValueError)), logged(log, attempt):
            tries.append(attempt)
            raise ValueError("the labels hold one class")
    assert tries == [1]
    assert "the labels hold one class" in log.read_text()
    assert "attempt 3: not tried again after an error" in capfd.readouterr().err
    with logged(log, 1):
        tries.append(1)
    assert tries == [1, 1]
    with logged(log, 2):  # nothing is left of it
        tries.append(2)
    assert tries[-1] == 2


@pytest.mark.parametrize(
    ("code", "tried_again"), [(75, True), (137, True), (1, False), ("torch sees no GPU", False)]
)
def test_a_job_that_was_stopped_or_killed_is_tried_again(
    tmp_path: Path, code: int | str, tried_again: bool
) -> None:
    with pytest.raises(SystemExit), logged(tmp_path / "job.log", 1):
        raise SystemExit(code)
    tried = False
    try:
        with logged(tmp_path / "job.log", 2):
            tried = True
    except SystemExit:
        pass
    assert tried is tried_again


def test_term_ends_a_job_as_an_exception_does_and_says_so_to_the_next_attempt(tmp_path: Path) -> None:
    log, table = tmp_path / "job.log", tmp_path / "table.csv"
    with pytest.raises(SystemExit, match="75"), logged(log):
        with atomic(table) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        raise AssertionError("the job went on")
    assert not table.exists() and not list(tmp_path.glob(".writing-*"))
    assert attempts.before(log, 2) == {"stopped": 1, "killed": 0}
    with pytest.raises(ValueError), logged(log, 4):  # nothing was said of the second and third
        assert attempts.before(log, 4) == {"stopped": 1, "killed": 2}
        raise ValueError("an error")
    assert attempts.before(log, 5) == {"error": 1}


def test_a_new_command_forgets_what_earlier_ones_met(tmp_path: Path) -> None:
    """Else an attempt that never began (a node died, `sbatch` refused) would leave an old error standing."""
    log = tmp_path / "finetune/fold-0.log"
    with pytest.raises(ValueError), logged(log, 1):
        raise ValueError("repaired since")
    attempts.forget(tmp_path)
    with logged(log, 2):
        pass
    assert [path.name for path in log.parent.iterdir()] == ["fold-0.log"]


def test_later_attempts_write_behind_what_the_earlier_ones_said(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    with pytest.raises(SystemExit), logged(log, 1):
        print("the first")
        raise SystemExit(75)
    with pytest.raises(KeyError), logged(log, 2):
        print("the second")
        raise KeyError("target")
    with pytest.raises(SystemExit), logged(log, 3):
        pass
    said = log.read_text()
    places = [said.index(words) for words in ("the first", "the second", "Traceback", "attempt 3: not tried")]
    assert places == sorted(places)
    with logged(log, 1):
        pass
    assert log.read_text() == ""


def test_the_home_folder_is_written_as_a_tilde_in_log_and_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "zaphod"))
    with pytest.raises(FileNotFoundError), logged(tmp_path / "job.log"):
        print(f"reading {tmp_path}/zaphod/images")
        (tmp_path / "zaphod/images/lost.png").read_bytes()
    log = (tmp_path / "job.log").read_text()
    assert "reading ~/images" in log and "'~/images/lost.png'" in log and str(Path.home()) not in log
    assert "~/images" in (tmp_path / "job.failed").read_text()
    assert "zaphod/images" in capsys.readouterr().out, "the person at the terminal sees the whole path"
