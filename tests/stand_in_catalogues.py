"""The catalogues of the stand-in: what each host would answer about the files in the mapping."""

from __future__ import annotations

import hashlib
import html
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

Content = bytes | Path


@dataclass(frozen=True)
class Redirect:
    url: str


class Catalogue:
    def __init__(self, files: dict[str, Content]) -> None:
        self.files = files
        self.content_base = ""

    def answer(self, url: str, authorised: str | None) -> Any:
        """Content of an official address, a redirect (`Redirect`), a status, JSON, or a page (str)."""
        parts = urlsplit(url)
        path, query = unquote(parts.path), {key: value[0] for key, value in parse_qs(parts.query).items()}
        by_host = {
            "zenodo.org": self.zenodo,
            "api.figshare.com": self.figshare,
            "data.mendeley.com": self.mendeley,
            "github.com": self.github,
            "codeload.github.com": self.github,
            "drive.google.com": self.drive,
            "drive.usercontent.google.com": self.drive,
            "www.kaggle.com": lambda path, query: self.kaggle(path, authorised),
        }
        found = by_host[parts.netloc](path, query) if parts.netloc in by_host else None
        plain = url.partition("?")[0]
        if found is None:
            found = next(
                (c for u, c in self.files.items() if unquote(u).partition("?")[0] == unquote(plain)), None
            )
        return 404 if found is None else found

    def matching(self, pattern: str) -> Iterator[tuple[re.Match[str], Content]]:
        for url, content in self.files.items():
            if match := re.fullmatch(pattern, unquote(url.partition("?")[0])):
                yield match, content

    def zenodo(self, path: str, query: dict[str, str]) -> Any:
        if not (asked := re.fullmatch(r"(?:/api)?/records?/(\d+)(?:/files/(.+?)(?:/content)?)?", path)):
            return None
        record, wanted = asked.groups()
        files: dict[str, Content] = {}
        for _, content in self.matching(rf"https://zenodo\.org/api/records/{record}/files-archive"):
            files |= members(content)
        pattern = rf"https://zenodo\.org(?:/api)?/records?/{record}/files/(.+?)(?:/content)?"
        files |= {match[1]: content for match, content in self.matching(pattern)}
        if wanted is not None or not files:
            return files.get(wanted or "")
        listed = [
            {"key": name, "size": len(read(c)), "checksum": f"md5:{hashlib.md5(read(c)).hexdigest()}"}
            for name, c in files.items()
        ]
        return {"id": int(record), "files": listed}

    def figshare(self, path: str, query: dict[str, str]) -> Any:
        return {
            "files": [
                {
                    "id": int(match[1]),
                    "name": content.name if isinstance(content, Path) else f"{match[1]}.zip",
                    "size": len(read(content)),
                    "computed_md5": hashlib.md5(read(content)).hexdigest(),
                    "download_url": f"https://ndownloader.figshare.com/files/{match[1]}",
                }
                for match, content in self.matching(r"https://ndownloader\.figshare\.com/files/(\d+)")
            ]
        }

    def mendeley(self, path: str, query: dict[str, str]) -> Any:
        if not (asked := re.match(r"/public-(?:api|files)/datasets/(\w+)/(files|folders)", path)):
            return None
        key, kind = asked.groups()
        pattern = rf"https://data\.mendeley\.com/public-files/datasets/{key}/files/([^/]+)/file_downloaded"
        files = {
            ("", content.name if isinstance(content, Path) else match[1]): (match[1], content)
            for match, content in self.matching(pattern)
        }
        for _, folder in self.matching(rf"https://data\.mendeley\.com/datasets/{key}/\d+"):
            for name, content in members(folder).items():
                inside, _, last = name.rpartition("/")
                files[inside, last] = (hashlib.md5(name.encode()).hexdigest(), content)
        if not files:
            return None
        if path.endswith("/file_downloaded"):
            return next((c for number, c in files.values() if f"/files/{number}/" in path), None)
        inside = {folder for folder, _ in files if folder}
        folders = {"/".join(f.split("/")[: n + 1]) for f in inside for n in range(f.count("/") + 1)}
        if kind == "folders":
            return [
                {"id": identity(f), "name": f.rpartition("/")[2]}
                | ({"parent_id": identity(f.rpartition("/")[0])} if "/" in f else {})
                for f in sorted(folders)
            ]
        wanted = {"root": ""} | {identity(f): f for f in folders}
        address = f"https://data.mendeley.com/public-files/datasets/{key}/files"
        return [
            {
                "filename": name,
                "size": len(read(content)),
                "content_details": {
                    "sha256_hash": hashlib.sha256(read(content)).hexdigest(),
                    "download_url": f"{address}/{number}/file_downloaded",
                },
            }
            for (folder, name), (number, content) in files.items()
            if folder == wanted.get(query.get("folder_id", "root"), "?")
        ]

    def github(self, path: str, query: dict[str, str]) -> Any:
        owner, name, *rest = path.strip("/").split("/", 2)
        for match, content in self.matching(r"https://github\.com/([^/]+)/([^/]+?)(?:\.git|/archive/.*)?"):
            if match.groups() == (owner, name):
                if rest and rest[0].startswith("archive/"):
                    commit = rest[0].removeprefix("archive/").removesuffix(".zip")
                    return Redirect(f"https://codeload.github.com/{owner}/{name}/zip/{commit}")
                return content
        return None

    def drive(self, path: str, query: dict[str, str]) -> Any:
        number = query.get("id", "")
        folders: dict[str, dict[str, Any]] = {}
        files: dict[str, Content] = {}
        for match, content in self.matching(r"https://drive\.google\.com/file/d/([^/]+)(?:/view)?"):
            files[match[1]] = content
        for match, folder in self.matching(r"https://drive\.google\.com/drive/folders/([^/]+)"):
            for name, content in members(folder).items():
                inside, where = match[1], ""
                for part in name.split("/")[:-1]:
                    where += f"/{part}"
                    below = identity(match[1] + where)
                    folders.setdefault(inside, {})[below] = (part, True)
                    inside = below
                files[identity(match[1] + "/" + name)] = content
                entry = (name.rpartition("/")[2], False)
                folders.setdefault(inside, {})[identity(match[1] + "/" + name)] = entry
        if path == "/embeddedfolderview":
            return drive_folder(folders[number]) if number in folders else None
        if number in files:
            return files[number] if "confirm" in query else drive_confirmation(number)
        return None

    def kaggle(self, path: str, authorised: str | None) -> Any:
        pattern = r"/api/v1/(datasets/download|competitions/data/download-all)/(.+)"
        if not (asked := re.fullmatch(pattern, path)):
            return None
        if not authorised:
            return 401
        if authorised == "Bearer wrong":
            return 403
        page = f"https://www.kaggle.com/{asked[1].split('/')[0]}/{asked[2]}"
        if page not in self.files:
            return None
        return Redirect(f"{self.content_base}/www.kaggle.com/{page.partition('.com/')[2]}?Signature=secret")


def read(content: Content) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content


def identity(text: str) -> str:
    return "id" + hashlib.md5(text.encode()).hexdigest()


def members(content: Content) -> dict[str, Content]:
    """Files of a folder by path; of a zip, its members."""
    if isinstance(content, Path) and content.is_dir():
        return {p.relative_to(content).as_posix(): p for p in sorted(content.rglob("*")) if p.is_file()}
    assert isinstance(content, Path)
    with zipfile.ZipFile(content) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def drive_folder(entries: dict[str, tuple[str, bool]]) -> str:
    """A public folder's page as `embeddedfolderview` shows it."""
    rows = []
    for number, (name, is_folder) in entries.items():
        kind = f"drive/folders/{number}" if is_folder else f"file/d/{number}/view?usp=drive_web"
        rows.append(
            f'<div class="flip-entry" id="entry-{number}" role="link"><div class="flip-entry-info">'
            f'<a href="https://drive.google.com/{kind}" target="_blank"><div class="flip-entry-visual"></div>'
            f'<div class="flip-entry-title">{html.escape(name)}</div></a></div>'
            '<div class="flip-entry-last-modified"><div>1/2/24</div></div></div>'
        )
    return f"<!DOCTYPE html><html><body><div class='flip-entries'>{''.join(rows)}</div></body></html>"


def drive_confirmation(number: str) -> str:
    return (
        "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
        '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
        '<input type="submit" id="uc-download-link" value="Download anyway"/>'
        f'<input type="hidden" name="id" value="{quote(number)}">'
        '<input type="hidden" name="export" value="download"><input type="hidden" name="confirm" value="t">'
        '<input type="hidden" name="uuid" value="1b&amp;2"></form></body></html>'
    )
