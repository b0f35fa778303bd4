"""Brings one file over, goes on where a transfer broke off, and refuses what differs from its checksum."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import requests

from usfmae.corpus.download.catalogues import FileToFetch
from usfmae.corpus.download.pins import Expected, Sums
from usfmae.corpus.download.unavailable import NO_ROOM, Unavailable, no_room
from usfmae.corpus.download.web import Broken, Web, without_secrets
from usfmae.progress import progress

BLOCK = 1 << 16
MEGABYTE = 1_000_000
#: Transfers below this size show no progress of their own.
WORTH_A_BAR = 10 * MEGABYTE
#: Bytes that a full disk gets back of the part, at most half of it: room for the files that say so.
GIVEN_BACK = 16 * MEGABYTE


def transfer(file: FileToFetch, target: Path, web: Web, expected: list[Expected]) -> Sums:
    """Fetches `file` to `target` and returns its size and digests, taken while it streamed.

    The bytes go to `<target>.part`, which stays when a transfer breaks off, with the server's validator (ETag
    or date) beside it. It is resumed only where the validator or a checksum can show that both halves belong
    to one file. Raises Unavailable where the file cannot be had, or differs from what is expected of it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, True):
        part = _Part(target, can_be_checked=any(e.sha256 or e.md5 for e in expected))
        resumed = part.sums.bytes > 0
        web.persist(partial(_attempt, file, part, web))
        difference = next(filter(None, (e.difference(file.name, part.sums) for e in expected)), None)
        if difference is None:
            return part.finish()
        part.restart()
        if last or not resumed:
            raise Unavailable(difference)
    raise AssertionError("the second round returns or raises")


class _Part:
    """The part file: bytes so far, their digests, and the validator they came under."""

    def __init__(self, target: Path, *, can_be_checked: bool) -> None:
        self.target, self.can_be_checked = target, can_be_checked
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.validator")
        self.sums = Sums()
        if self.resumable and self.path.is_file():
            self.sums = Sums.of(self.path)

    @property
    def validator(self) -> str:
        return self.note.read_text(encoding="utf-8") if self.note.is_file() else ""

    @property
    def resumable(self) -> bool:
        return self.can_be_checked or bool(self.validator)

    def restart(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.sums = Sums()

    def finish(self) -> Sums:
        self.path.replace(self.target)
        self.note.unlink(missing_ok=True)
        return self.sums

    def receive(self, blocks: Iterator[bytes]) -> Iterator[None]:
        """Appends the blocks; yields once a megabyte."""
        pending = 0
        try:
            with self.path.open("ab") as file:
                for block in blocks:
                    file.write(block)
                    self.sums.update(block)
                    pending += len(block)
                    while pending >= MEGABYTE:
                        pending -= MEGABYTE
                        yield
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno in NO_ROOM:
                size = self.path.stat().st_size
                os.truncate(self.path, size - min(size // 2, GIVEN_BACK))
                raise no_room(self.path.parent) from None
            raise


def _attempt(file: FileToFetch, part: _Part, web: Web) -> None:
    """One request for what is missing; two where the host puts a page to be confirmed before the file."""
    page = _receive(file, file.url, part, web)
    if page is not None and file.next_page is not None:
        page = _receive(file, file.next_page(page), part, web)
    if page is not None:
        where = without_secrets(file.url)
        raise Unavailable(
            f"{where} answers with a web page in place of {file.name}: it wants a login, or has moved"
        )


def _receive(file: FileToFetch, url: str, part: _Part, web: Web) -> str | None:
    """Appends what the server sends to the part; returns the page where it sends one instead."""
    if not part.resumable:
        part.restart()
    start = part.sums.bytes
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and part.validator:
        headers["If-Range"] = part.validator
    with web.open(url, headers, file.authorization) as response:
        total = _total(response)
        if response.status_code == 416:
            if total != start:
                part.restart()
                raise Broken(f"{file.name} has another length than the part that is here")
            return None
        if response.status_code == 206 and _start(response) != start:
            part.restart()
            raise Broken(f"{file.name} did not go on where it was asked to")
        blocks = response.raw.stream(BLOCK, decode_content=False)
        if response.status_code == 200:  # the whole file, asked for or not
            first = next(blocks, b"")
            if _is_page(first) and not file.name.lower().endswith((".html", ".htm", ".xml", ".svg")):
                return (first + b"".join(blocks)).decode("utf-8", errors="replace")
            part.restart()
            start = 0
            part.note.write_text(_validator(response), encoding="utf-8")
            blocks = _again(first, blocks)
        received = part.receive(blocks)
        missing = total - start if total is not None else None
        if missing is None or missing >= WORTH_A_BAR:
            megabytes = missing // MEGABYTE if missing is not None else None
            received = progress(received, description=file.name, total=megabytes, unit="MB")
        for _ in received:
            pass
    if total is not None and part.sums.bytes != total:
        raise Broken(f"{file.name} broke off after {part.sums.bytes} of {total} bytes")
    return None


def _again(first: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from blocks


def _validator(response: requests.Response) -> str:
    """A strong ETag, else the date; a weak ETag cannot stand in If-Range (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _start(response: requests.Response) -> int:
    content_range = response.headers.get("Content-Range", "")
    first = content_range.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


def _total(response: requests.Response) -> int | None:
    """Bytes of the whole file, where the server says it."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
    else:
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdigit() else None


def _is_page(first: bytes) -> bool:
    """Whether the content itself begins as HTML does; servers call their pages whatever was asked for."""
    text = first[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith(b"<!doctype html") or (text.startswith(b"<") and b"<html" in text)
