"""How much room datasets need, and how much there is.

Images hardly shrink in an archive: where nobody says how much one unpacks to, it is counted as its own size,
which is the least.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from usfmae.corpus.download.catalogues import FileToFetch
from usfmae.corpus.download.members import has_archive_name
from usfmae.corpus.download.unavailable import RETRY, Unavailable
from usfmae.settings.datasets import Dataset

if TYPE_CHECKING:
    import pandas as pd

GB = 1e9


def space_table(datasets: Mapping[str, Dataset], resources: Path) -> pd.DataFrame:
    """A row a dataset: `dataset`, `download_gb`, `unpacked_gb` and `there_gb`, already on disk.

    One GB is 10⁹ bytes; NaN: not known. Simulated datasets and those of a package are left out.
    """
    import pandas as pd

    rows = [
        {
            "dataset": name,
            "download_gb": None if (size := _download(dataset)) is None else size / GB,
            "unpacked_gb": None if dataset.unpacked_bytes is None else dataset.unpacked_bytes / GB,
            "there_gb": _there(resources / name) / GB,
        }
        for name, dataset in datasets.items()
        if dataset.access.host not in ("simulated", "package")
    ]
    columns = ["dataset", "download_gb", "unpacked_gb", "there_gb"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[1:], "float64"))


def space_text(datasets: Mapping[str, Dataset], resources: Path) -> str:
    """The table for people, against the free disk: what is still needed in all, and what does not fit."""
    table = space_table(datasets, resources)
    free = _free(resources) / GB
    download = table["download_gb"].fillna(0)
    table["needed"] = (download + table["unpacked_gb"].fillna(download) - table["there_gb"]).clip(lower=0)
    lines = [f"{'dataset':<24}{'GB download':>12}{'GB unpacked':>12}{'GB there':>10}"]
    for row in table.itertuples():
        sizes = [
            f"{'unknown' if size != size else f'{size:.2f}':>12}"
            for size in (row.download_gb, row.unpacked_gb)
        ]
        too_large = "  does not fit" if row.needed > free else ""
        lines.append(f"{row.dataset:<24}{sizes[0]:>12}{sizes[1]:>12}{row.there_gb:>10.2f}{too_large}")
    unknown = int(table["download_gb"].isna().sum())
    least = "at least " if table["unpacked_gb"].isna().any() else ""
    more = f", and {unknown} datasets of unknown size" if unknown else ""
    verdict = "they do not all fit" if table["needed"].sum() > free else "they fit"
    lines.append(f"needed {least}{table['needed'].sum():.1f} GB{more}; free {free:.1f} GB: {verdict}")
    return "\n".join(lines)


def need_room(dataset: Dataset, missing: list[FileToFetch], folder: Path) -> None:
    """Refuses a dataset that does not fit, before its first byte. A file of unknown size counts as nothing.

    Raises Unavailable with the figures.
    """
    known = [file.bytes for file in missing if file.bytes is not None]
    complete = len(known) == len(missing)
    download = sum(known) if complete else max(sum(known), _download(dataset) or 0)
    packed = sum(file.bytes or 0 for file in missing if has_archive_name(file.name))
    unpacked, free = dataset.unpacked_bytes or packed, _free(folder)
    if download + unpacked > free:
        least = "" if dataset.unpacked_bytes else "at least "
        raise Unavailable(
            f"there is no room for it: {download / GB:.2f} GB to download, {least}{unpacked / GB:.2f} GB "
            f"unpacked, {free / GB:.2f} GB free at {folder}: make room, then {RETRY}, or leave it out of the "
            "corpus"
        )


def _download(dataset: Dataset) -> int | None:
    """Bytes to download, from the registry: the dataset's figure, else its files'."""
    files = getattr(dataset.access, "files", [])
    sizes = [file.bytes for file in files]
    if dataset.bytes is not None or not sizes or None in sizes:
        return dataset.bytes
    return sum(sizes)


def _there(folder: Path) -> int:
    kept = [folder / "archives", folder / "release"]
    return sum(path.stat().st_size for where in kept for path in where.rglob("*") if path.is_file())


def _free(folder: Path) -> int:
    """Free bytes of the disk that holds `folder`, or will."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
