"""A real PostgreSQL in a temporary folder, as Debian's package `postgresql` installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracking_server import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class Database:
    """An empty database on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAMS, "PostgreSQL is not installed: apt-get install postgresql"
        self.folder, self.port = folder, free_port()
        self.address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *words: str) -> str:
        """Runs one of PostgreSQL's programs, never as root: it refuses that."""
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(PROGRAMS[-1] / program), *words]
        # Into a file, because the server that pg_ctl starts would hold a pipe open.
        with (self.folder / "said").open("w+") as said:
            code = subprocess.call(command, cwd=self.folder, stdout=said, stderr=subprocess.STDOUT)
            said.seek(0)
            text = said.read()
        assert code == 0, text
        return text

    def content(self) -> str:
        """All rows of all tables."""
        dumped = self.run("pg_dump", "--data-only", "--dbname", self.address)
        return "\n".join(line for line in dumped.splitlines() if "restrict" not in line)


@contextmanager
def postgres() -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    database = Database(folder)
    data = ["-D", str(folder / "data")]
    try:
        database.run("initdb", *data, "--auth=trust", "--username=postgres", "--no-sync")
        options = f"-p {database.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        database.run("pg_ctl", *data, "-w", "-t", "120", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield database
        finally:
            database.run("pg_ctl", *data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
