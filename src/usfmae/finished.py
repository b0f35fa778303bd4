"""What a finished job keeps until Snakemake has noted that it is finished.

Snakemake removes and makes again the outputs of a job whose end it did not live to see. So a training or a
curation that has written them gives them second names (hard links, which take no space) beside its
checkpoints, and the same job, started again, finds them there. `workflow/rules/hooks.smk` removes them at
the end of each run.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Folder of the second names, inside that of one run's checkpoints. With a dot, as no dataset, task or model
#: is called.
FINISHED = "outputs.finished"


def keep(folder: Path, outputs: list[Path]) -> None:
    """Second names for `outputs` in `folder`; all else below the folder that it is in is removed, because
    checkpoints have served then. On a disk without hard links, or another one than the outputs', none."""
    unfinished = folder.parent / ".finished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for output in outputs:
            os.link(output, unfinished / output.name)
        for other in folder.parent.iterdir():
            if other.is_dir() and other != unfinished:
                shutil.rmtree(other, ignore_errors=True)
            elif not other.is_dir():
                other.unlink()
        folder.mkdir()
        unfinished.replace(folder / FINISHED)
    except OSError:  # the outputs are whole all the same
        shutil.rmtree(folder.parent, ignore_errors=True)


def bring_back(folder: Path, out: Path, *, first: bool = True) -> bool:
    """Whether the run of these checkpoints was finished before; then its files are in `out` again. `first`:
    whether this process, of several, writes."""
    names = sorted((folder / FINISHED).glob("*"))
    if not names or not first:
        return bool(names)
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        (out / name.name).unlink(missing_ok=True)
        os.link(name, out / name.name)
        os.utime(out / name.name)  # newer than the inputs, which may have been made again to the same bits
    print(
        f"{out}: finished before, by a job whose end Snakemake did not see; its files are taken as they are"
    )
    return True


def remove_finished(checkpoints: Path) -> None:
    """Removes what `keep` kept, of all runs below `checkpoints`."""
    for folder in list(checkpoints.rglob(FINISHED)):
        shutil.rmtree(folder.parents[1], ignore_errors=True)
