"""One transfer for all hosts: it goes on where it broke off, waits when asked to, refuses what is wrong."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from stand_in import Fault, StandIn, stand_in

from usfmae.corpus.download import web as web_module
from usfmae.corpus.download.catalogues import FileToFetch
from usfmae.corpus.download.pins import Expected, Sums
from usfmae.corpus.download.transfer import transfer
from usfmae.corpus.download.unavailable import Unavailable
from usfmae.corpus.download.web import Web, without_secrets
from usfmae.settings.access import Download

ROOT = Path(__file__).resolve().parents[1]
URL = "https://data.example.org/scans.zip"
BODY = random.Random(1).randbytes(400_000)
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "BACKOFF", 0.01)


def fetched(server: StandIn, folder: Path, expected: Expected | None = None, attempts: int = 5) -> Sums:
    web = Web(Download(mirrors=server.mirrors, attempts=attempts), folder / ".locks")
    return transfer(FileToFetch("scans.zip", URL), folder / "scans.zip", web, [expected] if expected else [])


def asked(server: StandIn) -> list[str | None]:
    return [request.headers.get("Range") for request in server.seen]


def test_a_file_arrives_whole_with_its_sums(tmp_path: Path) -> None:
    with stand_in({URL: BODY}) as server:
        sums = fetched(server, tmp_path)
    assert (tmp_path / "scans.zip").read_bytes() == BODY
    assert (sums.bytes, sums.sha256, sums.md5) == (len(BODY), SUM, hashlib.md5(BODY).hexdigest())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".locks", "scans.zip"]


def test_a_transfer_that_breaks_off_goes_on_from_there(tmp_path: Path) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("cut", 150_000), Fault("cut", 100_000)]}) as server:
        assert fetched(server, tmp_path).sha256 == SUM
    first, second, third = asked(server)
    assert first is None
    assert second is not None and third is not None
    assert 0 < int(second[6:-1]) < int(third[6:-1]) < 250_001
    assert server.seen[1].headers["If-Range"] == server.seen[2].headers["If-Range"]


def test_another_process_goes_on_from_the_part(tmp_path: Path) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("cut", 200_000), Fault("cut", 50_000)]}) as server:
        with pytest.raises(Unavailable, match=r"data\.example\.org cut the transfer off, 2 times"):
            fetched(server, tmp_path, attempts=1)
        assert not (tmp_path / "scans.zip").exists()
        kept = (tmp_path / "scans.zip.part").stat().st_size
        assert fetched(server, tmp_path).sha256 == SUM
    assert kept > 200_000
    assert asked(server)[-1] == f"bytes={kept}-"


def test_a_server_that_ignores_the_range_starts_over(tmp_path: Path) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("cut", 200_000), Fault("whole")]}) as server:
        assert fetched(server, tmp_path).sha256 == SUM


def test_a_file_that_changed_meanwhile_is_not_glued_together(tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {URL: BODY}
    with stand_in(files, {URL: [Fault("cut", 200_000), Fault("cut", 50_000)]}) as server:
        with pytest.raises(Unavailable):
            fetched(server, tmp_path, attempts=1)
        files[URL] = other = random.Random(2).randbytes(400_000)
        fetched(server, tmp_path)
    assert (tmp_path / "scans.zip").read_bytes() == other


def test_without_validator_and_checksum_nothing_is_resumed(tmp_path: Path) -> None:
    no_tag = {"ETag": "W/weak"}
    faults = [Fault("cut", 200_000, no_tag), Fault("headers", 0, no_tag)]
    with stand_in({URL: BODY}, {URL: list(faults)}) as server:
        assert fetched(server, tmp_path / "a").sha256 == SUM
        assert asked(server) == [None, None]
    with stand_in({URL: BODY}, {URL: list(faults)}) as server:
        assert fetched(server, tmp_path / "b", Expected(sha256=SUM)).sha256 == SUM
        assert asked(server)[1] is not None


def test_a_part_that_is_complete_already_is_taken(tmp_path: Path) -> None:
    (tmp_path / "scans.zip.part").write_bytes(BODY)
    with stand_in({URL: BODY}) as server:
        assert fetched(server, tmp_path, Expected(sha256=SUM)).bytes == len(BODY)


def test_a_part_that_does_not_fit_is_fetched_once_more(tmp_path: Path) -> None:
    (tmp_path / "scans.zip.part").write_bytes(b"wrong" * 1000)
    with stand_in({URL: BODY}) as server:
        assert fetched(server, tmp_path, Expected(sha256=SUM)).sha256 == SUM
    assert asked(server) == ["bytes=5000-", None]


def test_a_wrong_checksum_is_refused_with_both_sums(tmp_path: Path) -> None:
    wrong = "0" * 64
    with stand_in({URL: BODY}) as server, pytest.raises(Unavailable) as refused:
        fetched(server, tmp_path, Expected(sha256=wrong))
    assert SUM in str(refused.value) and wrong in str(refused.value)
    assert not list(tmp_path.glob("scans*"))


def test_a_changed_file_is_refused_against_its_pin(tmp_path: Path) -> None:
    pin = Expected(400_000, sha256="1" * 64, pin="config/checksums.lock")
    words = pytest.raises(Unavailable, match=r"has changed: sha256 .* remove that line")
    with stand_in({URL: BODY}) as server, words:
        fetched(server, tmp_path, pin)


@pytest.mark.parametrize("status", [429, 503])
def test_it_comes_back_when_the_host_said(tmp_path: Path, status: int) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("status", status, {"Retry-After": "1"})]}) as server:
        started = time.monotonic()
        assert fetched(server, tmp_path).sha256 == SUM
    assert time.monotonic() - started >= 1


def test_a_host_that_wants_to_be_left_alone_for_long_is_unavailable(tmp_path: Path) -> None:
    words = pytest.raises(Unavailable, match="asks to wait, for another 120 minutes")
    with stand_in({URL: BODY}, {URL: [Fault("status", 429, {"Retry-After": "7200"})]}) as server, words:
        fetched(server, tmp_path)
    assert len(server.seen) == 1


def test_zenodos_limit_is_waited_for(tmp_path: Path) -> None:
    limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 2)}
    with stand_in({URL: BODY}, {URL: [Fault("headers", 0, limit)]}) as server:
        web = Web(Download(mirrors=server.mirrors), tmp_path / ".locks")
        web.text(URL)
        web.text(URL)
    assert time.time() >= int(limit["X-RateLimit-Reset"])


def test_an_error_of_the_server_is_tried_again_and_then_named(tmp_path: Path) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("status", 500)] * 2}) as server:
        assert fetched(server, tmp_path).sha256 == SUM
    words = pytest.raises(Unavailable, match=r"data\.example\.org is out of order \(502\), 3 times")
    with stand_in({URL: BODY}, {URL: [Fault("status", 502)] * 3}) as server, words:
        fetched(server, tmp_path / "again", attempts=2)


@pytest.mark.parametrize(
    ("status", "words"), [(401, "account"), (403, "terms"), (404, "moved"), (410, "withdrawn")]
)
def test_a_refusal_is_not_tried_again(tmp_path: Path, status: int, words: str) -> None:
    faults = {URL: [Fault("status", status)]}
    with stand_in({URL: BODY}, faults) as server, pytest.raises(Unavailable, match=words):
        fetched(server, tmp_path)
    assert len(server.seen) == 1


def test_a_login_page_is_not_taken_for_the_file_and_the_part_stays(tmp_path: Path) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("cut", 200_000), Fault("page"), Fault("none")]}) as server:
        with pytest.raises(Unavailable, match=r"answers with a web page in place of scans\.zip"):
            fetched(server, tmp_path)
        fetched(server, tmp_path)
    assert asked(server)[-1] is not None


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    words = pytest.raises(Unavailable, match="redirects in a circle")
    with stand_in({URL: BODY}, {URL: [Fault("loop")] * 20}) as server, words:
        fetched(server, tmp_path)
    assert len(server.seen) == 10


def test_a_dead_host_is_named_without_its_query(tmp_path: Path) -> None:
    url = "https://user:word@data.example.org/a?token=planted"
    web = Web(
        Download(mirrors={"https://user:word@data.example.org": "http://127.0.0.1:9"}, attempts=1), tmp_path
    )
    with pytest.raises(Unavailable, match="cannot be reached, 2 times") as dead:
        transfer(FileToFetch("a", url), tmp_path / "a", web, [])
    assert "planted" not in str(dead.value)
    assert without_secrets(url) == "https://data.example.org/a"


def test_an_address_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="is not an address that can be asked"):
        transfer(FileToFetch("a", "ftp://data.example.org/a"), tmp_path / "a", Web(Download(), tmp_path), [])


def test_at_most_so_many_transfers_at_once_from_one_host(tmp_path: Path) -> None:
    urls = [f"{URL}?{n}" for n in range(8)]
    with stand_in({URL: BODY}) as server:
        web = Web(Download(mirrors=server.mirrors, at_once=2), tmp_path / ".locks")
        jobs = [
            threading.Thread(target=transfer, args=(FileToFetch("x", url), tmp_path / str(n), web, []))
            for n, url in enumerate(urls)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
    assert len(server.seen) == 8
    assert server.most_at_once <= 2
    assert len(list((tmp_path / ".locks").glob("data.example.org-*.lock"))) == 2


def test_a_full_disk_is_named_and_what_arrived_stays(tmp_path: Path) -> None:
    """The seam is a limit on the size of files (RLIMIT_FSIZE): writing fails with EFBIG as on a full disk."""
    program = textwrap.dedent(f"""
        import resource, sys
        from pathlib import Path
        from usfmae.corpus.download.catalogues import FileToFetch
        from usfmae.corpus.download.transfer import transfer
        from usfmae.corpus.download.web import Web
        from usfmae.settings.access import Download
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        folder = Path({str(tmp_path)!r})
        web = Web(Download(mirrors={{"https://data.example.org": sys.argv[1]}}), folder / ".locks")
        transfer(FileToFetch("scans.zip", {URL!r}), folder / "scans.zip", web, [])
    """)
    with stand_in({URL: BODY}) as server:
        mirror = server.mirrors["https://data.example.org"]
        done = subprocess.run(
            [sys.executable, "-c", program, mirror], capture_output=True, text=True, cwd=ROOT
        )
        assert "the disk is full, or a quota used up" in done.stderr
        assert 0 < (tmp_path / "scans.zip.part").stat().st_size <= 200_000
        assert fetched(server, tmp_path).sha256 == SUM
    assert asked(server)[-1] is not None


def test_a_broken_transfer_does_not_hold_its_place(tmp_path: Path) -> None:
    with stand_in({URL: BODY}, {URL: [Fault("status", 404)] * 5}) as server:
        for _ in range(5):
            with pytest.raises(Unavailable):
                fetched(server, tmp_path)
        assert fetched(server, tmp_path).sha256 == SUM
    assert len(server.seen) == 6
