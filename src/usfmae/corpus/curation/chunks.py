"""Long work in chunks: made by processes, kept on disk when done, so that a rerun goes on."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Note = Callable[[str], None]
Work = Callable[[int, Path, Note], None]

#: Processes are forked: a fresh interpreter would run the main program again, which in a job of the workflow
#: is the job itself. The number of a chunk and its work need no pickling either.
_fork = multiprocessing.get_context("fork")
#: Starting a process takes 10 ms, so each makes some chunks; not all, so that what a decoder leaks is freed.
CHUNKS_A_PROCESS = 8


class ChunkError(RuntimeError):
    """A chunk could not be finished; the message names the file at which it stopped."""


def chunks_of(items: list[T]) -> list[list[T]]:
    """Splits a list in order: at most 256 items a chunk, and some 8 chunks where it is short."""
    size = min(256, max(8, len(items) // 8))
    return [items[start : start + size] for start in range(0, len(items), size)]


def chunk_folder(folder: Path, number: int) -> Path:
    """Where chunk `number` lies once it is done."""
    return folder / f"{number:05d}"


def run_chunks(count: int, work: Work, folder: Path, *, workers: int) -> Iterator[int]:
    """Has chunks 0 to `count` − 1 made below `folder`; yields each one's number when it is there.

    `work(number, where, note)` writes a chunk into the empty folder `where` and calls `note(name)` with the
    file that it is at. Chunks that an earlier run has finished come first and are not made again. Raises
    ChunkError where a process fails or is killed; what the others have finished stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(".writing-*"):
        shutil.rmtree(unfinished)
    done = [number for number in range(count) if chunk_folder(folder, number).is_dir()]
    yield from done
    waiting = sorted(set(range(count)) - set(done), reverse=True)
    running: dict[Connection, _Process] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                started = _Process(work, folder)
                started.make(waiting.pop())
                running[started.connection] = started
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                process = running[connection]
                number = process.finished()
                if waiting and process.made < CHUNKS_A_PROCESS:
                    process.make(waiting.pop())
                else:
                    running.pop(connection).stop()
                yield number
    finally:
        for process in running.values():
            process.stop()


class _Process:
    """Makes chunks, one after the other."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.folder, self.made = folder, 0
        self.at = _fork.RawArray("c", 4096)  # shared, so that it is known when the process was killed
        self.connection, there = _fork.Pipe()
        self.process = _fork.Process(target=self._run, args=(work, there, os.getpid()), daemon=True)
        self.process.start()
        there.close()  # so that the end of the process is the end of the connection

    def make(self, number: int) -> None:
        """Starts on a chunk; the connection is ready when it is made or has failed."""
        self.number, self.made = number, self.made + 1
        self.where = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
        with contextlib.suppress(ConnectionError):  # it was killed while it waited; `finished` says so
            self.connection.send((number, self.where))

    def _run(self, work: Work, connection: Connection, parent: int) -> None:
        def note(name: str) -> None:
            if os.getppid() != parent:  # killed, and nobody waits for this chunk any more
                os._exit(1)
            self.at.value = name.encode()[:4000]

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is asked to stop as well, and stops this
        self.connection.close()  # the parent's end: what it leaves open would hide that the parent is gone
        _keep_freed_memory()
        gc.freeze()  # what the program had loaded by now is no garbage and need not be searched for any
        with contextlib.suppress(EOFError, ConnectionError):  # there is no parent any more
            while True:
                number, where = connection.recv()
                try:
                    work(number, where, note)
                except Exception as error:
                    connection.send(f"{type(error).__name__}: {error}")
                    os._exit(1)
                connection.send(None)

    def finished(self) -> int:
        """Number of the chunk that was made. Raises ChunkError."""
        try:
            reason = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            code = self.process.exitcode or 0
            reason = f"it ended with exit code {code}"
            if code < 0:
                name = signal.Signals(-code).name
                memory = ": the machine or the job's limit may be out of memory" if name == "SIGKILL" else ""
                reason = f"its process was killed by {name}{memory}"
        if reason is None:
            self.where.replace(chunk_folder(self.folder, self.number))
            return self.number
        raise ChunkError(
            f"stopped at {self.at.value.decode(errors='replace') or 'the start'}: {reason}. Finished chunks "
            f"are kept in {self.folder}; run it again to go on"
        )

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        shutil.rmtree(self.where, ignore_errors=True)


def _keep_freed_memory() -> None:
    """Has the C library keep freed memory for the next frame. Handing each large array back to the system and
    having it zeroed again takes a third of the time of curating large colour frames."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only; numbers from its malloc.h
        mallopt(-3, 64 * 2**20)  # M_MMAP_THRESHOLD
        mallopt(-1, 256 * 2**20)  # M_TRIM_THRESHOLD
