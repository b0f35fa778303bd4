"""Progress and errors for people: a bar on a terminal, plain lines in a log, one sentence for a mistake."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, TypeVar, cast

from tqdm import tqdm

from usfmae.attempts import KILLED, STOPPED, alone, leaving_on_term, marks

T = TypeVar("T")

#: Seconds between two plain lines.
INTERVAL = 10.0
#: The log file of the running job, while `logged` is active.
_log: TextIO | None = None


@contextmanager
def logged(path: Path | str, attempt: int = 1) -> Iterator[None]:
    """Sends what the job says to its log file as well as to the terminal.

    An error that this package raises itself (a wrong setting, a leaking split, a truncated file) ends the
    job with its sentence on the terminal and its traceback in the log; any other is raised as it is.

    `attempt` counts from 1. A cluster's profile sends a failed job again by itself: that helps one that was
    cut or killed, and costs an allocation for one that made an error. So an error leaves a mark beside the
    log, and a later attempt that finds it ends with the same sentence at once. The first attempt, made by a
    person, removes it. TERM, which comes before a time limit, leaves another (`before` reads them) and ends
    the job with code 75. Later attempts write behind what the earlier ones said.

    A job that outlives a Snakemake that was killed goes on alone. The same job, started again beside it,
    waits for it for a minute and then ends with a sentence: two would write the same files.
    """
    global _log
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    failed, stopped = marks(path)
    if attempt > 1 and failed.exists():
        said = f"{failed.read_text(encoding='utf-8')}\n(attempt {attempt}: not tried again after an error)"
        with path.open("a", encoding="utf-8") as file:  # behind the error itself
            file.write(f"\n{said}\n")
        print(f"\nerror: {said}\n", file=sys.stderr, flush=True)
        raise SystemExit(1)
    if attempt == 1:
        failed.unlink(missing_ok=True)
        stopped.unlink(missing_ok=True)
    out, err = sys.stdout, sys.stderr
    with alone(path), path.open("w" if attempt == 1 else "a", encoding="utf-8") as file, leaving_on_term():
        _log = log = cast(TextIO, _WithoutHome(cast(TextIO, file)))
        sys.stdout, sys.stderr = _Both(out, log), _Both(err, log)  # type: ignore[assignment]
        try:
            yield
        except SystemExit as error:
            if error.code == STOPPED:
                with stopped.open("a", encoding="utf-8") as mark:
                    mark.write(f"{attempt}\n")
            elif error.code and error.code != KILLED:
                failed.write_text(f"the job's processes ended with code {error.code}", encoding="utf-8")
            raise
        except Exception as error:
            sentence = str(error) if _is_ours(error) else _of_the_disk(error)
            with suppress(OSError):  # the disk of the logs may be the one that is full
                traceback.print_exc(file=log)
                failed.write_text(
                    without_home(sentence or str(error)) or type(error).__name__, encoding="utf-8"
                )
            if sentence:
                print(f"\nerror: {sentence}\n", file=err, flush=True)
                raise SystemExit(1) from None
            raise
        finally:
            sys.stdout, sys.stderr = out, err
            with suppress(OSError):
                log.flush()
            _log = None


def _is_ours(error: Exception) -> bool:
    """Whether a `raise` statement of this package raised it: its message was written for people."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return Path(last.filename).is_relative_to(Path(__file__).parent) and (last.line or "").startswith("raise")


def _of_the_disk(error: BaseException | None) -> str:
    """What to do where the disk did not take a file; empty for another error. torch and safetensors turn the
    system's error into one of their own, and leave it behind theirs or quote it."""
    advice = {
        errno.ENOSPC: "make room there",
        errno.EDQUOT: "make room within the quota",
        errno.EROFS: "make the folder writable, or work in another one with --directory",
    }
    while error is not None:
        for number, what in advice.items():
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                where = getattr(error, "filename", None)
                place = f"{where}: " if where else ""
                return f"{place}{os.strerror(number)}: {what} and start the same command again"
        error = error.__cause__ or error.__context__
    return ""


def progress(
    items: Iterable[T], *, description: str, total: int | None = None, unit: str = "it"
) -> Iterator[T]:
    """Yields `items` and shows how far it is: count, rate and time left.

    On a terminal a bar (tqdm); in the log, and where there is no terminal, a line every ten seconds and
    one at the end.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
    lines = _log if terminal else sys.stderr
    bar = tqdm(
        desc=description,
        total=total,
        unit=unit,
        dynamic_ncols=True,
        leave=False,
        disable=not terminal,
        file=sys.__stderr__,
    )
    started = shown = time.monotonic()
    done = 0
    with bar:
        for item in items:
            yield item
            done += 1
            bar.update()
            now = time.monotonic()
            if now - shown >= INTERVAL and done != total:
                shown = now
                print(_line(description, done, total, unit, now - started), file=lines, flush=True)
    print(_line(description, done, total, unit, time.monotonic() - started), file=lines, flush=True)


def _line(description: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    text = f"{description}: {done}{f'/{total}' if total is not None else ''} {unit}, {rate:.3g} {unit}/s"
    if total is not None and done < total and rate > 0:
        return f"{text}, {clock((total - done) / rate)} left"
    return f"{text}, {clock(seconds)} in all"


def clock(seconds: float) -> str:
    """`75` → `1:15`, `4000` → `1:06:40`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def without_home(text: str) -> str:
    """The text with the user's home folder, and so mostly the user's name, written as `~`."""
    home = str(Path.home())
    return text if home == "/" else text.replace(home, "~")


class _WithoutHome:
    """A log file that may be passed on: tracebacks and messages hold whole paths."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, text: str) -> int:
        self.file.write(without_home(text))
        return len(text)

    def flush(self) -> None:
        self.file.flush()


class _Both:
    """A text stream that writes to two."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self.first, self.second = first, second

    def write(self, text: str) -> int:
        self.second.write(text)
        return self.first.write(text)

    def flush(self) -> None:
        self.first.flush()
        self.second.flush()

    def isatty(self) -> bool:
        return self.first.isatty()

    def fileno(self) -> int:
        return self.first.fileno()
