"""A local stand-in for every host of OpenUS-46, reached through `Download.mirrors`: nothing is patched.

For plain use, one line serves files under their official addresses:

    with serve({"https://zenodo.org/records/8231412/files/BUSBRA.zip": path}) as (base, mirrors):
        fetch(name, dataset, folder, Download(mirrors=mirrors))

Values are a file's path or its bytes. Each host answers with its catalogue too, made from these addresses:

- `https://zenodo.org/records/<record>/files/<name>`, or `/api/records/<record>/files/<name>/content`: the
  record lists it with size and md5. `https://zenodo.org/api/records/<record>/files-archive` → a folder or a
  zip: the record lists what is in it.
- `https://ndownloader.figshare.com/files/<id>`: every article lists it; its name is its path's.
- `https://data.mendeley.com/public-files/datasets/<key>/files/<id>/file_downloaded`: the dataset lists it in
  its root. `https://data.mendeley.com/datasets/<key>/<version>` → a folder: its files and folders are listed.
- `https://github.com/<owner>/<name>` (with or without `.git`, `/archive/…`) → a zip: the archive of any
  commit or branch, after a redirect to codeload.
- `https://drive.google.com/file/d/<id>/view`: a confirmation page comes before the file.
  `https://drive.google.com/drive/folders/<id>` → a folder: its page, those of folders in it, and its files.
- `https://www.kaggle.com/datasets/<owner>/<name>`, `https://www.kaggle.com/competitions/<name>` → a zip:
  after a redirect to another port. 401 without a token, 403 for the token `wrong`: set KAGGLE_API_TOKEN.
- Any other address is answered with its file, and an address that is not in the mapping with 404.

`stand_in(files, faults)` yields the server itself, with what it was asked (`seen`). Faults are given by
official address, and each request uses one up: `Fault("cut", 1000)` breaks off after 1000 bytes,
`Fault("status", 503)`, `Fault("status", 429, {"Retry-After": "1"})`, `Fault("page")` is a login page,
`Fault("loop")` a redirect to itself, `Fault("whole")` ignores Range, `Fault("headers", 0, {...})` adds
headers to a good answer.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from stand_in_catalogues import Catalogue, Content, Redirect, read

HOSTS = (
    "zenodo.org", "api.figshare.com", "ndownloader.figshare.com", "data.mendeley.com", "github.com",
    "codeload.github.com", "drive.google.com", "drive.usercontent.google.com", "www.kaggle.com",
)  # fmt: skip
LOGIN = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please log in.</body></html>"


@dataclass(frozen=True)
class Fault:
    kind: str
    value: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived: official address, headers, port."""

    url: str
    headers: dict[str, str]
    port: int


class StandIn:
    def __init__(self, files: dict[str, Content], faults: dict[str, list[Fault]] | None = None) -> None:
        self.catalogue = Catalogue(files)
        self.faults = {url: list(queue) for url, queue in (faults or {}).items()}
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.at_once = self.most_at_once = 0
        handler = type("Bound", (Handler,), {"stand_in": self})
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.base, other = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)
        self.catalogue.content_base = other
        hosts = {*HOSTS, *(urlsplit(url).netloc for url in files)}
        self.mirrors = {f"https://{host}": f"{self.base}/{host}" for host in sorted(hosts)}

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        url = "https:/" + self.path
        stand_in = self.stand_in
        with stand_in.lock:
            stand_in.seen.append(Seen(url, dict(self.headers), self.server.server_address[1]))
            stand_in.at_once += 1
            stand_in.most_at_once = max(stand_in.most_at_once, stand_in.at_once)
            queue = stand_in.faults.get(url.partition("?")[0], [])
            fault = queue.pop(0) if queue else Fault("none")
        try:
            self.respond(url, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with stand_in.lock:
                stand_in.at_once -= 1

    def respond(self, url: str, fault: Fault) -> None:
        if fault.kind == "status":
            return self.send(fault.value, b"", fault.headers)
        if fault.kind == "loop":
            return self.send(302, b"", {"Location": url})
        if fault.kind == "page":
            return self.send(200, LOGIN, {"Content-Type": "application/zip"})
        found = self.stand_in.catalogue.answer(url, self.headers.get("Authorization"))
        if isinstance(found, int):
            return self.send(found, b"", {})
        if isinstance(found, Redirect):
            return self.send(302, b"", {"Location": found.url})
        if isinstance(found, str):
            return self.send(200, found.encode(), {"Content-Type": "text/html; charset=utf-8"})
        if isinstance(found, dict | list):
            return self.send(
                200, json.dumps(found).encode(), {"Content-Type": "application/json"} | fault.headers
            )
        return self.send_file(read(found), fault)

    def send_file(self, body: bytes, fault: Fault) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Content-Type": "application/octet-stream"} | fault.headers
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        fits = self.headers.get("If-Range", tag) == tag
        if not asked or not fits or fault.kind == "whole":
            return self.send(200, body, headers, cut=fault.value if fault.kind == "cut" else None)
        start = int(asked[1])
        if start >= len(body):
            return self.send(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return self.send(206, body[start:], headers, cut=fault.value if fault.kind == "cut" else None)

    def send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def stand_in(files: dict[str, Content], faults: dict[str, list[Fault]] | None = None) -> Iterator[StandIn]:
    server = StandIn(files, faults)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def serve(files: dict[str, Content]) -> Iterator[tuple[str, dict[str, str]]]:
    """Serves files under their official addresses; yields the base address and `Download.mirrors`."""
    with stand_in(files) as server:
        yield server.base, server.mirrors
