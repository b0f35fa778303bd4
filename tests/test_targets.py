"""`download` and `pin` through Snakemake, from a local stand-in: what is shown first, and what is kept."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from stand_in import StandIn, stand_in

from workflow import ROOT, planned, snakemake

SCANS = "https://zenodo.org/records/1/files/scans.zip"
HUGE = "https://zenodo.org/records/2/files/huge.zip"


def archive(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a.png", content)
    return packed.getvalue()


def dataset(record: int, file: str, **more: object) -> dict[str, object]:
    entry = {
        "title": file,
        "anatomy": "neck",
        "access": {"host": "zenodo", "record": record, "files": [{"name": file}]},
        "licence": {"name": "CC-BY-4.0", "use": "open"},
        "citation": "none",
    }
    return entry | more


class Workplace:
    """A copy of the project, because `pin` writes into it, and a folder that it is run in."""

    def __init__(self, folder: Path, server: StandIn) -> None:
        self.project, self.folder, self.server = folder / "project", folder / "study", server
        for part in ("config", "envs", "profiles", "workflow"):
            shutil.copytree(ROOT / part, self.project / part)
        shutil.copy(ROOT / "Snakefile", self.project)
        self.lock = self.project / "config/checksums.lock"
        self.lock.unlink(missing_ok=True)
        datasets = {
            "scans": dataset(1, "scans.zip", bytes=2_000_000),
            "huge": dataset(2, "huge.zip", bytes=10**15, unpacked_bytes=10**16),
        }
        overlay = {
            "datasets": datasets,
            "corpora": {"few": {"datasets": list(datasets), "size": 32}},
            "download": {"mirrors": server.mirrors},
            "study": {
                "tasks": [],
                "corpora": ["few"],
                "explain": {"models": []},
                "models": ["vit_scratch"],
                "reference": "vit_scratch",
            },
        }
        (folder / "few.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")

    def run(self, *words: str) -> str:
        configfile = self.folder.parent / "few.yaml"
        buffered = {"PYTHONUNBUFFERED": ""}  # as when a person's output goes into a file
        return snakemake(self.folder, *words, configfile=configfile, root=self.project, **buffered)

    def fetched(self, name: str) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / f"resources/{name}/fetched.json").read_text())
        return found


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    with stand_in({SCANS: archive(b"a picture"), HUGE: b"never sent"}) as server:
        yield Workplace(tmp_path_factory.mktemp("targets"), server)


def test_what_is_needed_and_what_is_free_is_shown_before_the_first_byte(workplace: Workplace) -> None:
    lines = workplace.run("download").splitlines()
    begins = next(i for i, line in enumerate(lines) if "Fetching" in line)
    shown = [line for line in lines[:begins] if line.startswith(("dataset ", "scans ", "huge ", "needed "))]
    assert [line.split()[0] for line in shown] == ["dataset", "scans", "huge", "needed"]
    assert "does not fit" in shown[2] and "does not fit" not in shown[1]
    # "at least", because nobody states what scans.zip holds unpacked
    assert "needed at least 11000000.0 GB" in shown[3] and "they do not all fit" in shown[3]


def test_what_does_not_fit_is_refused_and_the_rest_goes_on(workplace: Workplace) -> None:
    assert workplace.fetched("scans")["status"] == "available"
    assert "no room" in workplace.fetched("huge")["reason"]
    assert not [seen for seen in workplace.server.seen if "huge.zip" in seen.url]


def test_nothing_is_shown_where_nothing_is_to_be_fetched(workplace: Workplace) -> None:
    assert "GB" not in workplace.run("download")


def test_pins_of_what_was_fetched_go_into_the_projects_lock_and_make_nothing_stale(
    workplace: Workplace,
) -> None:
    assert "1 checksums" in workplace.run("pin")
    entry = json.loads((workplace.folder / "resources/scans/downloads.json").read_text())["downloads"][0]
    (line,) = [line for line in workplace.lock.read_text().splitlines() if not line.startswith("#")]
    assert line.split("\t") == ["scans", "scans.zip", str(entry["bytes"]), entry["sha256"]]
    assert planned(workplace.run("download", "-n")) == {}


def test_a_pinned_file_that_changed_at_its_host_is_refused_elsewhere_too(workplace: Workplace) -> None:
    shutil.rmtree(workplace.folder / "resources/scans")  # another machine, with the project's lock alone
    workplace.server.catalogue.files[SCANS] = archive(b"another picture")
    workplace.run("download")
    assert workplace.fetched("scans")["status"] == "unavailable"
    assert "pinned" in workplace.fetched("scans")["reason"]
    assert "checksums.lock" in workplace.fetched("scans")["reason"]
