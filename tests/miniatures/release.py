"""Writes the files of a release and keeps account of what curation must find in it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from miniatures import pictures

SAVING: dict[str, dict[str, Any]] = {".jpg": {"quality": 92}, ".png": {"compress_level": 1}}


@dataclass(frozen=True)
class Copy:
    """Two frames that show the same picture; frames are named `<key>/<path>`."""

    a: str
    b: str
    kind: str
    """`exact`: equal pixels; `near`: resized or saved again; `neighbour`: of one clip, alike or not."""


@dataclass
class Planted:
    """What curation must find. Paths are relative to the release's folder.

    `subjects`, `labels` and `splits` are keyed by path; a file that is not in them has none by the facts.
    Their words are the facts'; a reader may use others, if it tells the same files apart.
    """

    key: str
    frames: dict[str, int] = field(default_factory=dict)
    """Files that hold frames → number of frames in them."""
    subjects: dict[str, str] = field(default_factory=dict)
    frame_subjects: dict[str, list[str]] = field(default_factory=dict)
    """Files of several subjects → the subject of each frame."""
    labels: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    """Official split or test fold."""
    masks: dict[str, str] = field(default_factory=dict)
    """Frames with a mask that is an image of its own → that mask."""
    odd_masks: set[str] = field(default_factory=set)
    """Frames whose mask is of another shape and cannot be laid over them."""
    avoid: set[str] = field(default_factory=set)
    """Every other file: masks, overlays, tables, copies, other modalities."""
    corrupt: dict[str, str] = field(default_factory=dict)
    """Files of `frames` that cannot be decoded → what was done to them."""
    copies: list[Copy] = field(default_factory=list)

    @property
    def readable(self) -> list[str]:
        return sorted(self.frames.keys() - self.corrupt.keys())


class Release:
    """A folder that is being filled as the facts describe the release of `key`."""

    def __init__(self, key: str, folder: Path) -> None:
        self.folder, self.planted = folder, Planted(key)

    def path(self, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def image(self, path: str, pixels: np.ndarray, mode: str | None = None) -> None:
        """Any picture; the ending names the format."""
        image = Image.fromarray(pixels)
        image = image.convert(mode) if mode else image
        image.save(self.path(path), **SAVING.get(Path(path).suffix.lower(), {}))

    def still(
        self, path: str, pixels: np.ndarray | None = None, mode: str | None = None, **facts: str | None
    ) -> np.ndarray:
        """A frame: by default the picture of its own name. Returns the pixels. `facts`: see `tell`."""
        if pixels is None:
            pixels = pictures.picture(f"{self.planted.key}/{path}")
        self.image(path, pixels, mode)
        self.tell(path, 1, **facts)
        return pixels

    def tell(
        self,
        path: str,
        frames: int,
        *,
        subject: str | None = None,
        label: str | None = None,
        split: str | None = None,
        mask: str | None = None,
    ) -> None:
        """Notes a file that holds frames, and what the facts say of it."""
        self.planted.frames[path] = frames
        told = {"subjects": subject, "labels": label, "splits": split, "masks": mask}
        for name, value in told.items():
            if value is not None:
                getattr(self.planted, name)[path] = value

    def mask(self, path: str, like: np.ndarray, *, mode: str | None = None, filled: bool = True) -> None:
        """A mask of the size of a frame `(H, W)` or `(H, W, 3)`."""
        self.image(path, pictures.outline(path, *like.shape[:2], filled=filled), mode)

    def text(self, path: str, lines: Iterable[str]) -> None:
        self.path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def json(self, path: str, content: Any) -> None:
        self.path(path).write_text(json.dumps(content), encoding="utf-8")

    def csv(self, path: str, header: str, rows: Iterable[Sequence[Any]], separator: str = ",") -> None:
        with self.path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerows([header.split("|"), *rows])

    def xlsx(self, path: str, header: str, rows: Iterable[Sequence[Any]]) -> None:
        from openpyxl import Workbook

        book = Workbook()
        for row in [header.split("|"), *rows]:
            book.worksheets[0].append(list(row))
        book.save(self.path(path))

    def corrupt(self, path: str, how: str = "cut") -> None:
        """Damages a frame file: `cut` in the middle, `empty`, or an `html` page in its place."""
        file, page = self.folder / path, b"<!DOCTYPE html><html><body>Sign in</body></html>"
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "html": page}[how])
        self.planted.corrupt[path] = how

    def same(self, a: str, b: str, kind: str = "exact") -> None:
        """Notes that frame `a` of this release is also `b`, a path of it or `<key>/<path>` of another's."""
        key = self.planted.key
        other = f"{key}/{b}" if b in self.planted.frames else b
        self.planted.copies.append(Copy(f"{key}/{a}", other, kind))

    def close(self) -> Planted:
        files = {
            path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()
        }
        missing = self.planted.frames.keys() - files
        assert not missing, f"{self.planted.key}: planted but not written: {sorted(missing)}"
        self.planted.avoid = files - self.planted.frames.keys()
        return self.planted
