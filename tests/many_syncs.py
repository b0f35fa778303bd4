"""Many processes that fill one MLflow store at the same time: `python many_syncs.py COUNT RESULTS [URI]`.

Prints a JSON list with what each of them wrote. They are forked after the imports, which would take minutes
otherwise, and start together.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any


def sync_at_once(count: int, results: Path, uri: str | None = None) -> list[dict[str, Any]]:
    """What each process returned. Raises AssertionError with what they said where one of them failed."""
    command = [sys.executable, __file__, str(count), str(results), *([uri] if uri else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    from usfmae.tracking import sync

    count, results, uri = int(sys.argv[1]), sys.argv[2], (sys.argv[3:] or [None])[0]
    context = multiprocessing.get_context("fork")
    together, counts = context.Barrier(count), context.SimpleQueue()

    def one() -> None:
        together.wait()
        counts.put(sync(results, uri))

    processes = [context.Process(target=one) for _ in range(count)]
    for process in processes:
        process.start()
    found = []
    while (len(found) < count and any(process.is_alive() for process in processes)) or not counts.empty():
        if counts.empty():
            for process in processes:
                process.join(0.02)
        else:
            found.append(counts.get())
    for process in processes:
        process.join()
    while not counts.empty():
        found.append(counts.get())
    failed = [process.exitcode for process in processes if process.exitcode]
    assert not failed and len(found) == count, f"{len(failed)} of {count} failed"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
