"""Door to `usfmae.corpus.download.fetch.verify`."""

import sys
from pathlib import Path

from usfmae.corpus.download.fetch import verify
from usfmae.progress import logged

with logged(snakemake.log[0], snakemake.resources.get("attempt", 1)):
    problems = verify(Path("resources")) + verify(Path("resources/weights"))
    print("\n".join(problems) or "Everything in resources/ is as it was fetched.")
    if problems:
        sys.exit(f"{len(problems)} files differ. Delete resources/<dataset>/fetched.json to fetch one again.")
