"""What a job leaves behind for its next attempt, and that it is never made twice at once."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

#: Exit code of a job one of whose processes was killed: it leaves no mark.
KILLED = 137
#: Exit code of a job that was asked to stop, has saved its state, and should be started again (EX_TEMPFAIL).
STOPPED = 75
#: Seconds that a job waits for another process that still makes the same.
PATIENCE = 60.0


def before(path: Path | str, attempt: int) -> Counter[str]:
    """How the earlier attempts of a job ended, by its log: `error`, `stopped` by TERM, or `killed` without a
    word (its memory did not suffice, or its node died)."""
    failed, stopped = marks(Path(path))
    if failed.exists():
        return Counter(error=1)
    stops = set(stopped.read_text(encoding="utf-8").split()) if stopped.exists() else set()
    cut = sum(int(number) < attempt for number in stops)
    return Counter(stopped=cut, killed=attempt - 1 - cut)


def marks(log: Path) -> tuple[Path, Path]:
    """The files beside a job's log that say: it ended with an error (which one), and which attempts were
    stopped by TERM."""
    return log.with_suffix(".failed"), log.with_suffix(".stopped")


def forget(logs: Path) -> None:
    """Removes the marks of an earlier command: nothing of what it met needs hold for the next."""
    for pattern in ("*.failed", "*.stopped"):
        for mark in logs.rglob(pattern):
            mark.unlink(missing_ok=True)


@contextmanager
def leaving_on_term() -> Iterator[None]:
    """TERM ends the job as an exception does, so that what is half-written is removed. Training has a better
    way of its own (`usfmae.training.checkpointing`)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(STOPPED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def alone(log: Path) -> Iterator[None]:
    """Keeps a file beside the job's log locked, which says who runs; the system lets it go with the process,
    however that ends. Raises SystemExit where another process keeps it. Where no file can be locked, nothing
    is."""
    path = log.with_suffix(".running")
    with _locked(path) as file:
        os.set_inheritable(file.fileno(), True)  # by those whom launch.run starts: it holds while they live
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO:
    """The file, opened and locked."""
    until = time.monotonic() + PATIENCE
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who kept it may have removed it meanwhile: then the lock is on a file that nobody else sees.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            if time.monotonic() > until:
                file.seek(0)
                print(
                    f"\nerror: the same job still runs as {file.read() or 'another process'}: its "
                    "Snakemake was killed and it was not. Wait until it ends, or end it with kill, and "
                    "start the same command again\n",
                    file=sys.stderr,
                    flush=True,
                )
                raise SystemExit(1) from None
            time.sleep(min(1.0, PATIENCE))
        except FileNotFoundError:
            pass  # removed between the two looks
        except OSError:  # a file system without locks
            return file
        file.close()
