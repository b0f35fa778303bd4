"""Shows a training's epochs on an MLflow server while it runs, and never at the training's cost.

Only where MLFLOW_TRACKING_URI is a server's address. A thread of its own sends the figures; the training
puts them into a queue and goes on. What the server does not take is dropped with one line: `snakemake track`
writes the whole run from its record later, and takes the live one out of sight.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from usfmae.attempts import STOPPED
from usfmae.record import Run
from usfmae.tracking_address import is_server, opened, without_password

Tell = Callable[[Mapping[str, Any]], None]

#: Epochs that wait for a slow server; those that come while it is full are dropped.
WAITING = 1000
#: Seconds that one call of the server may take.
TIMEOUT = 5
#: Seconds without a call after one that failed.
PAUSE = 60.0
#: Seconds that the end of a training waits for the last figures.
LAST_WAIT = 3.0
CLIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(TIMEOUT), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@contextmanager
def live(run: Run, first: bool = True) -> Iterator[Tell]:
    """Yields a function to call with each row of the history. `first`: whether this process writes.

    Nothing that the server does raises here or takes longer than `LAST_WAIT` seconds in all.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not (first and is_server(uri)):
        yield lambda _row: None
        return
    with opened(uri, **CLIENT) as address:
        sender = _Sender(run, address)
        status = "FAILED"
        try:
            yield sender.tell
            status = "FINISHED"
        except SystemExit as error:
            status = "KILLED" if error.code == STOPPED else "FAILED"
            raise
        finally:
            sender.close(status)


class _Sender:
    """The thread that talks to the server. All that it says to people, the training's own thread prints."""

    def __init__(self, run: Run, address: str) -> None:
        self._run, self._address = run, address
        self._rows: queue.Queue[Mapping[str, Any] | str] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._trouble: str | None = None
        self._said = False

    def tell(self, row: Mapping[str, Any]) -> None:
        """Hands a row over; returns at once."""
        if self._thread is None:  # a run without epochs starts none
            # A daemon: a call that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._send_all, name="live metrics", daemon=True)
            self._thread.start()
        try:
            self._rows.put_nowait(dict(row))
        except queue.Full:
            self._trouble = self._trouble or "it is too slow"
        self._say()

    def close(self, status: str) -> None:
        """Ends the run on the server with `status` if that is quickly done."""
        if self._thread is None:
            return
        self._closing.set()
        if self._trouble is None:
            try:
                self._rows.put_nowait(status)
                self._thread.join(LAST_WAIT)
            except queue.Full:
                pass
            if self._thread.is_alive():
                self._trouble = self._trouble or "it is too slow"
        self._say()

    def _say(self) -> None:
        if self._trouble is not None and not self._said:
            self._said = True
            print(
                f"MLflow at {without_password(self._address)} does not take live figures of "
                f"{self._run.key} ({self._trouble}). Training goes on; `snakemake track` brings them from "
                "the run's record.",
                file=sys.stderr,
                flush=True,
            )

    def _send_all(self) -> None:
        send: Callable[[list[Mapping[str, Any]], str | None], None] | None = None
        ending = False
        while not ending:
            waiting = [self._rows.get()]
            while not self._rows.empty():
                waiting.append(self._rows.get_nowait())
            rows = [row for row in waiting if not isinstance(row, str)]
            status = next((status for status in waiting if isinstance(status, str)), None)
            ending = status is not None
            try:
                if send is None:
                    from usfmae.tracking_live_run import LiveRun  # importing MLflow takes a second

                    send = LiveRun(self._run, self._address).send
                send(rows, status)
                self._trouble = None  # a call that failed before: the server is back
            except Exception as error:  # whatever it is, it must not reach the training
                reason = " ".join(without_password(f"{type(error).__name__}: {error}").split())
                self._trouble = self._trouble or reason[:200]
                if self._closing.wait(PAUSE):
                    return
