"""The registry of datasets for people: a page (`python -m usfmae.corpus.registry` writes it) and BibTeX."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from usfmae.record import atomic
from usfmae.settings.access import FolderAccess, Remote
from usfmae.settings.datasets import Dataset, DatasetsFile, Overlap

ROOT = Path(__file__).resolve().parents[3]
REGISTRY = ROOT / "config/openus46.yaml"
PAGE = ROOT / "docs/openus46.md"

HOSTS = {
    "http": "plain HTTP",
    "tcia": "TCIA",
    "zenodo": "Zenodo",
    "figshare": "figshare",
    "mendeley": "Mendeley Data",
    "github": "GitHub",
    "google_drive": "Google Drive",
    "kaggle_dataset": "Kaggle",
    "kaggle_competition": "Kaggle competition",
    "folder": "by hand",
}

HEAD = """# OpenUS-46

Written by `python -m usfmae.corpus.registry` from [config/openus46.yaml](../config/openus46.yaml); a test
fails when the two differ. The facts were compiled from public copies; no address was opened live. What was
not found is `unknown`. Files are those that hold frames: images, videos or volumes. "Seen by USF-MAE" is
implied by its README, which lists all 46 and puts the three evaluation sets aside.
"""

COLUMNS = [
    *("no.", "dataset", "anatomy", "media", "files", "subjects", "host", "account", "licence", "use"),
    *("passed on", "checksum", "evaluation", "seen by USF-MAE", "overlaps"),
]


def read_registry(file: Path = REGISTRY) -> dict[str, Dataset]:
    """The datasets of one configuration file, by key."""
    return DatasetsFile.model_validate(yaml.safe_load(file.read_text(encoding="utf-8"))).datasets


def registry_page(datasets: Mapping[str, Dataset]) -> str:
    """Markdown: a table with a row a dataset, ordered by number, then a section a dataset."""
    ordered = sorted(datasets.items(), key=lambda item: (item[1].number or 0, item[0]))
    lines = [HEAD, _row(COLUMNS), _row(["---"] * len(COLUMNS))]
    lines += [_row(_cells(name, dataset, datasets)) for name, dataset in ordered]
    for name, dataset in ordered:
        lines += ["", *_section(name, dataset, datasets)]
    return "\n".join(lines) + "\n"


def bibtex(datasets: Mapping[str, Dataset]) -> str:
    """BibTeX, an entry a dataset under its own key; the citation stands in `note` as it is known."""
    entries = []
    for name, dataset in datasets.items():
        fields = {
            "title": f"{{{_latex(dataset.title)}}}",
            "note": _latex(dataset.citation),
            "doi": dataset.doi,
            "url": dataset.page,
        }
        body = "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items() if value)
        entries.append(f"@misc{{{name},\n{body}}}\n")
    return "\n".join(entries)


def _cells(name: str, dataset: Dataset, datasets: Mapping[str, Dataset]) -> list[str]:
    return [
        _known(dataset.number),
        f"[{dataset.title}](#{name})",
        dataset.anatomy,
        dataset.media,
        _known(dataset.counts.files),
        _known(dataset.counts.subjects),
        HOSTS.get(dataset.access.host, dataset.access.host),
        getattr(dataset.access, "account", None) or "none known",
        dataset.licence.name,
        dataset.licence.use.replace("_", "-"),
        _passed_on(dataset),
        _checksum(dataset),
        _yes(dataset.evaluation),
        _yes(dataset.in_usf_mae),
        ", ".join(_overlaps(name, datasets)) or "none known",
    ]


def _section(name: str, dataset: Dataset, datasets: Mapping[str, Dataset]) -> list[str]:
    lines = [f'<a id="{name}"></a>', f"## {_known(dataset.number)}. {dataset.title}", ""]
    lines += [f"`{name}`. {dataset.citation}" + (f" DOI: {dataset.doi}" if dataset.doi else ""), ""]
    lines += [f"- Page: {dataset.page or 'unknown'}", f"- How to get it: {_how(name, dataset)}"]
    lines += [f"- Passed on: {_passed_on(dataset)}"]
    if dataset.licence.conditions:
        lines.append(f"- Conditions: {dataset.licence.conditions}")
    lines.append(f"- Frames: {_patterns(dataset.include)}")
    if dataset.exclude:
        lines.append(f"- Left out: {_patterns(dataset.exclude)}")
    table = dataset.table
    rules = {
        "Table": [table and table.file],
        "Subject": [table and table.subject, dataset.subject_pattern, dataset.array_subject],
        "Label": [table and table.label, dataset.label_pattern],
        "Official fold": [table and table.fold],
        "Official split": [table and table.split, dataset.split_pattern],
    }
    for what, written in rules.items():
        if any(written):
            lines.append(f"- {what}: " + ", else ".join(f"`{rule}`" for rule in written if rule))
    if dataset.media != "image" or dataset.sampling.at_most is not None:
        lines.append(f"- Sampling: {_sampling(dataset)}")
    counts = {"frames": dataset.counts.frames, **dataset.counts.labels}
    told = ", ".join(f"{what} {count:,}" for what, count in counts.items() if count is not None)
    lines += [f"- Published counts: {told}"] if told else []
    overlaps = _overlaps(name, datasets)
    lines += [f"- Overlap with `{other}`: {text}" for other, text in overlaps.items()]
    return lines + [f"- {note}" for note in dataset.notes]


def _how(name: str, dataset: Dataset) -> str:
    access = dataset.access
    parts = []
    if isinstance(access, Remote):
        files = ", ".join(_file(file) for file in access.files) or "all files that it lists"
        parts.append(f"`download` fetches from {HOSTS[access.host]}: {files}.")
    if isinstance(access, Remote | FolderAccess) and access.account:
        parts.append(f"Account: {access.account}.")
    if isinstance(access, Remote | FolderAccess) and access.instructions:
        parts.append(access.instructions)
    if isinstance(access, FolderAccess):
        files = ", ".join(_file(file) for file in access.files) or "what you got"
        parts.append(f"Put {files} into `resources/{name}/archives/`.")
    return " ".join(parts)


def _file(file: Any) -> str:
    return f"`{file.name}`" + ("" if file.documented else " (address not documented)")


def _overlaps(name: str, datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """What a dataset shares with others, whichever of the two says it."""
    said_there = {other: of.overlaps[name] for other, of in datasets.items() if name in of.overlaps}
    return {other: _expected(overlap) for other, overlap in (said_there | datasets[name].overlaps).items()}


def _expected(overlap: Overlap) -> str:
    frames = f", {overlap.frames:,} frames" if overlap.frames else ""
    return f"expected: {overlap.expected}{frames}. {overlap.note}"


def _sampling(dataset: Dataset) -> str:
    every, at_most = dataset.sampling.every, dataset.sampling.at_most
    text = "every frame" if every == 1 else f"one frame in {every}"
    return text + (f", at most {at_most} of a file" if at_most is not None else "")


def _passed_on(dataset: Dataset) -> str:
    licence = dataset.licence
    if licence.redistribution and not licence.derivatives:
        return "only unchanged"
    if licence.redistribution and licence.conditions:
        return "yes, with conditions"
    return _yes(licence.redistribution)


def _checksum(dataset: Dataset) -> str:
    files = getattr(dataset.access, "files", [])
    published = [file for file in files if file.md5 or file.sha256]
    if not published:
        return "no"
    return "yes" if len(published) == len(files) else f"{len(published)} of {len(files)} files"


def _patterns(patterns: list[str]) -> str:
    return ", ".join(f"`{pattern}`" for pattern in patterns)


def _known(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _yes(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text).replace("µ", "{\\textmu}").strip()


if __name__ == "__main__":
    with atomic(PAGE) as temporary:
        temporary.write_text(registry_page(read_registry()), encoding="utf-8")
