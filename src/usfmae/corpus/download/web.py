"""Requests as a good guest makes them: few at once, waiting when asked to, over mirrors where set."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from filelock import FileLock, Timeout
from urllib3.exceptions import HTTPError

import usfmae
from usfmae.corpus.download.unavailable import RETRY, Unavailable
from usfmae.settings.access import Download

T = TypeVar("T")

#: Seconds to connect, and to wait for the next bytes.
TIMEOUT = (30, 120)
#: Redirects followed before they count as a circle.
HOPS = 10
#: Seconds before the second attempt; doubled for each further one, at most a minute.
BACKOFF = 2.0
#: Longest wait in seconds that a host may ask for; beyond it the dataset is unavailable for now.
PATIENCE = 900.0
#: Asks for the bytes as they are: a checksum is that of the file, not of a compressed answer.
HEADERS = {"User-Agent": f"usfmae/{usfmae.__version__}", "Accept-Encoding": "identity"}


class Broken(Exception):
    """A request that may succeed later; `wait` is the number of seconds that the host asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Web:
    """All requests of one dataset.

    `locks` is a folder that all processes on this machine share: each host has `download.at_once` lock files
    in it, and a request holds one of them from its first byte to its last.
    """

    def __init__(self, download: Download, locks: Path) -> None:
        self.download, self.locks = download, locks
        self._ready: dict[str, float] = {}

    def json(self, url: str) -> Any:
        """A catalogue's answer. Raises Unavailable where it is none."""
        try:
            return json.loads(self.text(url))
        except ValueError:
            raise Unavailable(
                f"{without_secrets(url)} answers, but not as the catalogue it used to be"
            ) from None

    def text(self, url: str) -> str:
        def read() -> str:
            with self.open(url, HEADERS) as response:
                return response.raw.read(decode_content=True).decode("utf-8", errors="replace")

        return self.persist(read)

    def persist(self, action: Callable[[], T]) -> T:
        """Repeats `action` while it is Broken, waiting as the host asks or ever longer.

        Raises Unavailable after `download.attempts` repetitions, or where the host asks for too long a wait.
        """
        for attempt in range(self.download.attempts + 1):
            try:
                return action()
            except Broken as broken:
                reason = str(broken)
                wait = min(BACKOFF * 2**attempt, 60) if broken.wait is None else broken.wait
            if wait > PATIENCE:
                raise Unavailable(f"{reason}, for another {wait / 60:.0f} minutes: {RETRY} then")
            if attempt < self.download.attempts:
                print(f"{reason}; attempt {attempt + 2} in {wait:.0f} s", flush=True)
                time.sleep(wait)
        raise Unavailable(
            f"{reason}, {self.download.attempts + 1} times: {RETRY} later, which goes on from there"
        )

    @contextmanager
    def open(
        self, url: str, headers: dict[str, str], authorization: str | None = None
    ) -> Iterator[requests.Response]:
        """The answer to a GET, its body unread: status 200, 206 or 416.

        Raises Broken where it is worth another attempt (also while the body is read), else Unavailable.
        """
        with self._slot(urlsplit(url).netloc), requests.Session() as session:
            session.auth = lambda request: request  # nothing from ~/.netrc
            try:
                with self._followed(session, url, headers, authorization) as response:
                    yield response
            except (
                requests.exceptions.InvalidURL,
                requests.exceptions.InvalidSchema,
                requests.exceptions.MissingSchema,
            ):
                raise Unavailable(f"{without_secrets(url)} is not an address that can be asked") from None
            except (requests.RequestException, HTTPError) as error:
                # The library's own message holds the whole address, and with it a token.
                raise Broken(f"{urlsplit(url).netloc} {_words(error)}") from None

    def _followed(
        self, session: requests.Session, url: str, headers: dict[str, str], authorization: str | None
    ) -> requests.Response:
        """Follows redirects by hand: through the mirrors, and without the credential on another host."""
        address = self.mirrored(url)
        home = urlsplit(address)[:2]
        for _ in range(HOPS):
            self._wait_for(url)
            secret = (
                {"Authorization": authorization} if authorization and urlsplit(address)[:2] == home else {}
            )
            response = session.get(
                address,
                headers=HEADERS | headers | secret,
                stream=True,
                timeout=TIMEOUT,
                allow_redirects=False,
            )
            self._note_limit(url, response)
            if not response.is_redirect:
                _check(response, url)
                return response
            address = self.mirrored(urljoin(address, response.headers["Location"]))
            response.close()
        raise Unavailable(f"{without_secrets(url)} redirects in a circle: it has moved, or wants a browser")

    def mirrored(self, url: str) -> str:
        """The address to use, after `download.mirrors`; the longest base address that fits decides."""
        for base in sorted(self.download.mirrors, key=len, reverse=True):
            rest = url.removeprefix(base.rstrip("/"))
            if rest != url and rest[:1] in ("", "/", "?"):
                return self.download.mirrors[base].rstrip("/") + rest
        return url

    @contextmanager
    def _slot(self, host: str) -> Iterator[None]:
        self.locks.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"[^\w.-]", "_", host)
        slots = [FileLock(self.locks / f"{name}-{n}.lock") for n in range(self.download.at_once)]
        while True:
            for slot in slots:
                try:
                    slot.acquire(timeout=0)
                except Timeout:
                    continue
                try:
                    yield
                finally:
                    slot.release()
                return
            time.sleep(0.1)

    def _note_limit(self, url: str, response: requests.Response) -> None:
        """Zenodo says how many requests are left and when (Unix time) there are more."""
        left, reset = (response.headers.get(f"X-RateLimit-{name}", "") for name in ("Remaining", "Reset"))
        if left == "0" and reset.isdigit():
            self._ready[urlsplit(url).netloc] = float(reset)

    def _wait_for(self, url: str) -> None:
        host = urlsplit(url).netloc
        wait = self._ready.pop(host, 0) - time.time()
        if wait > PATIENCE:
            raise Unavailable(
                f"{host} takes no more requests for another {wait / 60:.0f} minutes: run it again then"
            )
        if wait > 0:
            print(f"{host} takes no more requests for now; going on in {wait:.0f} s", flush=True)
            time.sleep(wait)


def _check(response: requests.Response, url: str) -> None:
    status, where = response.status_code, without_secrets(url)
    if status in (200, 206, 416):
        return
    response.close()
    if status in (401, 403):
        raise Unavailable(f"{where} is refused ({status}): it wants an account, or its terms accepted")
    if status in (404, 410):
        raise Unavailable(f"{where} is not there ({status}): it has moved or was withdrawn")
    if status in (408, 429) or status >= 500:
        asked = _retry_after(response)
        words = "asks to wait" if asked is not None or status == 429 else f"is out of order ({status})"
        raise Broken(f"{urlsplit(url).netloc} {words}", asked)
    raise Unavailable(f"{where} answers with status {status}")


def _retry_after(response: requests.Response) -> float | None:
    """Seconds, from the header's number or date."""
    value = response.headers.get("Retry-After", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def without_secrets(url: str) -> str:
    """The address without user, password and query, but for a file's public `id`."""
    parts = urlsplit(url)
    number = parse_qs(parts.query).get("id")
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{f'?id={number[0]}' if number else ''}"


def _words(error: Exception) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "has a certificate that cannot be verified"
    if isinstance(error, requests.Timeout) or "Timeout" in type(error).__name__:
        return "does not answer in time"
    if isinstance(error, HTTPError):
        return "cut the transfer off"
    return "cannot be reached"
