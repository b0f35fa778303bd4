"""Writes the JSON schema of each configuration file: `python -m usfmae.settings`, from the project's root."""

from __future__ import annotations

from pathlib import Path

from usfmae.record import atomic
from usfmae.settings.load import schemas

if __name__ == "__main__":
    for name, text in schemas().items():
        with atomic(Path("config/schemas") / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"config/schemas/{name}")
