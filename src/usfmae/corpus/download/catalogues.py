"""What each remote host offers: one function a host, from typed access settings to the files to fetch.

The catalogues are read as published code and documentation describe them: Zenodo's records API, figshare's
API v2, Mendeley Data's public API, GitHub's archive addresses, Google Drive's public pages (`uc`,
`embeddedfolderview`), Kaggle's API v1 (as in the clients kaggle and kagglehub). None was asked live: all are
tested against tests/stand_in.py only.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from usfmae.corpus.download.unavailable import Unavailable
from usfmae.settings.access import (
    FigshareAccess,
    GithubAccess,
    GoogleDriveAccess,
    HttpAccess,
    KaggleCompetitionAccess,
    KaggleDatasetAccess,
    MendeleyAccess,
    RemoteFile,
    TciaAccess,
    ZenodoAccess,
)


@dataclass(frozen=True)
class FileToFetch:
    """One file to transfer, with what its publisher says of it."""

    name: str
    """Path below `archives/`, with `/` between folders."""
    url: str
    bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None
    id: str | None = None
    """The host's own number of the file."""
    authorization: str | None = field(default=None, repr=False)
    """Value of the header, sent to the address's own host only."""
    next_page: Callable[[str], str] | None = None
    """Where the host may answer with a page: its HTML → the address of the file."""
    repacked: bool = False
    """Packed anew at each download: its contents are compared, not its bytes."""


class Catalogue(Protocol):
    """Reads a host's catalogue; `usfmae.corpus.download.web.Web` does it."""

    def json(self, url: str) -> Any: ...

    def text(self, url: str) -> str: ...


def plain(access: HttpAccess | TciaAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """Files with an address of their own."""
    return _chosen(access.files, [])


def zenodo(access: ZenodoAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """A record's files; Zenodo publishes each one's size and MD5."""
    record = f"https://zenodo.org/api/records/{access.record}"
    listed = [
        FileToFetch(
            name=file["key"],
            url=f"{record}/files/{quote(file['key'], safe='')}/content",
            bytes=file.get("size"),
            md5=str(file.get("checksum", "")).removeprefix("md5:") or None,
        )
        for file in catalogue.json(record).get("files", [])
    ]
    return _chosen(access.files, listed)


def figshare(access: FigshareAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """An article's files with size and MD5; without the article, files by their `id`."""

    def address(number: str) -> str:
        return f"https://ndownloader.figshare.com/files/{number}"

    article = f"https://api.figshare.com/v2/articles/{access.article}"
    listed = [
        FileToFetch(
            name=file["name"],
            id=str(file["id"]),
            url=address(str(file["id"])),
            bytes=file.get("size"),
            md5=file.get("computed_md5") or file.get("supplied_md5"),
        )
        for file in (catalogue.json(article).get("files", []) if access.article else [])
    ]
    return _chosen(access.files, listed, address)


def mendeley(access: MendeleyAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """A dataset's files, folder by folder, with size and SHA-256."""
    base = f"https://data.mendeley.com/public-api/datasets/{access.dataset}"
    folders = {folder["id"]: folder for folder in catalogue.json(f"{base}/folders/{access.version}")}

    def path(number: str | None) -> str:
        folder = folders.get(number)
        return f"{path(folder.get('parent_id'))}{folder['name']}/" if folder else ""

    listed = [
        FileToFetch(
            name=path(number) + file["filename"],
            url=file["content_details"]["download_url"],
            bytes=file.get("size"),
            sha256=file["content_details"].get("sha256_hash"),
        )
        for number in ["root", *folders]
        for file in catalogue.json(f"{base}/files?folder_id={number}&version={access.version}")
    ]
    return _chosen(access.files, listed)


def github(access: GithubAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """The archive of a commit. GitHub packs it when asked and does not promise the same bytes twice."""
    name = f"{access.repository.rpartition('/')[2]}-{access.commit}.zip"
    url = f"https://github.com/{access.repository}/archive/{access.commit}.zip"
    return [FileToFetch(name=name, url=url, repacked=True)]


def google_drive(access: GoogleDriveAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """Public files by `id`, or all files below a public folder. Drive publishes no checksum."""

    def address(number: str) -> str:
        return f"https://drive.google.com/uc?{urlencode({'export': 'download', 'id': number})}"

    listed = [
        FileToFetch(name=path, id=number, url=address(number))
        for number, path in (_drive_files(access.folder, catalogue, set()) if access.folder else [])
    ]
    return [replace(file, next_page=_confirmed) for file in _chosen(access.files, listed, address)]


def _drive_files(folder: str, catalogue: Catalogue, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Number and path of every file below a public folder, from the pages for embedding: the folder's own
    page shows 50 files only."""
    seen.add(folder)
    page = catalogue.text(f"https://drive.google.com/embeddedfolderview?id={folder}")
    for block in page.split('id="entry-')[1:]:
        link = re.search(r'href="[^"]*/(folders|file/d)/([\w-]+)', block)
        title = re.search(r'flip-entry-title">([^<]*)<', block)
        if not link or not title:
            raise Unavailable(f"the page of the Google Drive folder {folder} is not what it used to be")
        name = html.unescape(title[1]).replace("/", "_")
        if link[1] == "file/d":
            yield link[2], name
        elif link[2] not in seen:
            for number, path in _drive_files(link[2], catalogue, seen):
                yield number, f"{name}/{path}"


def _confirmed(page: str) -> str:
    """The address behind "Download anyway" on the page that warns of files too large to be scanned."""
    form = re.search(r'<form[^>]*id="download-form"[^>]*>.*?</form>', page, re.DOTALL)
    action = form and re.search(r'action="([^"]+)"', form[0])
    if not form or not action:
        quota = "quota" in page.lower() or "too many users" in page.lower()
        raise Unavailable(
            "Google Drive's limit of downloads of this file is used up: try again tomorrow"
            if quota
            else "Google Drive answers with a page in place of the file: it is not public, or has moved"
        )
    fields = re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', form[0])
    query = urlencode({name: html.unescape(value) for name, value in fields})
    return f"{html.unescape(action[1])}?{query}"


def kaggle_dataset(access: KaggleDatasetAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """One archive of all files of a dataset; `files` may name it and give its checksum."""
    return _from_kaggle(access.files, access.dataset, "datasets/download")


def kaggle_competition(access: KaggleCompetitionAccess, catalogue: Catalogue) -> list[FileToFetch]:
    """One archive of all files of a competition whose rules were accepted."""
    return _from_kaggle(access.files, access.competition, "competitions/data/download-all")


def _from_kaggle(files: list[RemoteFile], key: str, route: str) -> list[FileToFetch]:
    known = files[0] if files else RemoteFile(name=f"{key.rpartition('/')[2]}.zip")
    return [
        FileToFetch(
            name=known.name,
            url=f"https://www.kaggle.com/api/v1/{route}/{key}",
            bytes=known.bytes,
            md5=known.md5,
            sha256=known.sha256,
            authorization=kaggle_authorization(),
        )
    ]


def kaggle_authorization() -> str:
    """The header that Kaggle's own client sends, from KAGGLE_API_TOKEN, KAGGLE_USERNAME and KAGGLE_KEY, or
    `~/.kaggle/kaggle.json` (below KAGGLE_CONFIG_DIR where that is set)."""
    if token := os.environ.get("KAGGLE_API_TOKEN"):
        return f"Bearer {token}"
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    file = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle") / "kaggle.json"
    if not (user and key) and file.is_file():
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            user, key = stored["username"], stored["key"]
        except (ValueError, KeyError, TypeError):
            raise Unavailable(f"{file} is not the file that Kaggle hands out: download it again") from None
    if not (user and key):
        raise Unavailable(
            "there is no Kaggle token on this machine: make one on kaggle.com under Settings, API, and set "
            f"KAGGLE_API_TOKEN, or save it as {file}"
        )
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


def _chosen(
    files: list[RemoteFile], listed: list[FileToFetch], address: Callable[[str], str] | None = None
) -> list[FileToFetch]:
    """The files that the registry names, completed by what the catalogue lists; all where it names none.

    `address` makes an address of a file's own number. What the registry says goes before the catalogue.
    """
    if not (files or listed):
        raise Unavailable("the host lists no file: it may be restricted, or withdrawn")
    by_id, by_name = ({getattr(file, key): file for file in listed} for key in ("id", "name"))
    chosen = []
    for file in files:
        theirs = (by_id.get(file.id) if file.id else None) or by_name.get(file.name)
        url = theirs.url if theirs else file.url or (address(file.id) if address and file.id else None)
        if url is None:
            known = f"; the host lists {', '.join(sorted(by_name)[:10])}" if by_name else ""
            raise Unavailable(f"no address is known for the file {file.name}{known}")
        base = theirs or FileToFetch(file.name, url)
        chosen.append(
            replace(
                base,
                name=file.name,
                bytes=base.bytes if file.bytes is None else file.bytes,
                md5=file.md5 or base.md5,
                sha256=file.sha256 or base.sha256,
                repacked=file.repacked,
            )
        )
    return chosen or listed
