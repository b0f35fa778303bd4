"""Starts a pretraining: in this process, or in several through `torchrun`, on one node or more.

    torchrun --nproc-per-node 4 -m usfmae.training.launch job.json

`job.json` holds the workflow's merged configuration and what one job is about; `run` writes it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed.run import get_args_parser

from usfmae.attempts import KILLED, STOPPED, leaving_on_term
from usfmae.record import write_json
from usfmae.settings import settings_from
from usfmae.training.checkpointing import LEAVES
from usfmae.training.pretrain import Job, pretrain
from usfmae.training.processes import TrainingError

#: Where the processes of several nodes meet: the job's number chooses, so that two jobs seldom share one.
PORTS = range(20000, 30000)
#: Seconds that processes have after TERM to save their state: ten less than the profile gives a job.
SAVING = 110


def job_of(config: dict[str, Any], asked: dict[str, Any]) -> Job:
    """The job that `asked` describes: `recipe`, paths, and for the grid `setting` and `fold`, or `chosen`,
    the file that names the best setting."""
    settings, name = settings_from(config), str(asked["recipe"])
    recipe = settings.recipes.pretrain[name]
    if recipe.grid is not None and asked.get("setting"):
        recipe = recipe.with_setting(recipe.grid.settings()[asked["setting"]])
    elif asked.get("chosen"):
        best = json.loads(Path(asked["chosen"]).read_text(encoding="utf-8"))
        recipe = recipe.with_setting({key: best[key] for key in ("learning_rate", "weight_decay")})
    datasets = settings.members(recipe.corpus)
    return Job(
        name=name,
        recipe=recipe,
        encoder=settings.encoders[recipe.encoder],
        corpus=Path(asked["corpus"]),
        datasets=datasets,
        evaluation_datasets=settings.evaluation_datasets(datasets),
        simulated=bool(settings.simulated(datasets)),
        out=Path(asked["out"]),
        checkpoints=Path(asked["checkpoints"]),
        folds=_path(asked.get("folds")),
        initial_weights=_path(asked.get("initial_weights")),
        grid_fold=int(asked["fold"]) if asked.get("setting") else None,
        wildcards=asked["wildcards"],
        gpus=int(asked.get("gpus", 0)),
    )


def run(
    config: dict[str, Any], asked: dict[str, Any], processes: int, *, nodes: int = 1, threads: int = 1
) -> None:
    """Runs the job in `processes` processes a node, on `nodes` nodes of this job's Slurm allocation.

    `threads` are the cores of each process. Raises TrainingError where one of them does, and else SystemExit
    with the code of those that fail: after TERM 75, as of a single process, and 137 where one was killed.
    """
    if processes <= 1 and nodes <= 1:
        pretrain(job_of(config, asked))
        return
    job = Path(asked["checkpoints"]) / "job.json"
    write_json(job, {"config": config, "asked": asked})
    command = [*torchrun(processes, nodes, threads), "-m", "usfmae.training.launch", str(job)]
    stopped, killed, said = False, False, ""
    # They inherit the lock of the job's log (usfmae.attempts.alone), so that it holds as long as they live.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, close_fds=False
    ) as started:

        def pass_on(number: int, _frame: FrameType | None) -> None:
            nonlocal stopped
            stopped = True
            started.send_signal(number)

        before = signal.signal(signal.SIGTERM, pass_on)
        try:
            for line in started.stdout or ():
                print(line, end="", flush=True)  # into the job's log, as what a single process says
                # Slurm may send TERM to the processes on the nodes and not to this one.
                stopped = stopped or LEAVES in line
                killed = killed or bool(re.search(r"exitcode +: -9\b", line))
                if error := re.match(rf"(?:\[rank\d+\]: )?[\w.]*{TrainingError.__name__}: (.+)", line):
                    said = said or error[1]
            code = started.wait()
        finally:
            signal.signal(signal.SIGTERM, before)
    if code and said and not stopped:
        raise TrainingError(said)
    if code:
        raise SystemExit(STOPPED if stopped else KILLED if killed else code)


def torchrun(processes: int, nodes: int = 1, threads: int = 1) -> list[str]:
    """The command that starts `processes` processes on this node, or by `srun` on each of `nodes` nodes."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(max(1, processes))]
    if "--shutdown-timeout" in get_args_parser().format_help():
        start += ["--shutdown-timeout", str(SAVING)]  # else 30 s; older ones have no such option
    if nodes == 1:
        return [*start, "--standalone"]
    number = int(os.environ["SLURM_JOB_ID"])
    # One agent a node, with all the cores that the job has there; they meet at this one, the first.
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    # Seconds after which the others are ended where one node fails; the first needs some to write its end.
    srun += [f"--cpus-per-task={max(1, processes) * threads}", "--wait=300"]
    meeting = f"{socket.gethostname()}:{PORTS.start + number % len(PORTS)}"
    start += ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
    return [*srun, *start, "--rdzv-id", str(number)]


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        with leaving_on_term():  # where the training itself does not listen yet, or not any more
            pretrain(job_of(content["config"], content["asked"]))
    except SystemExit as error:
        if error.code == STOPPED:
            print(LEAVES, file=sys.stderr, flush=True)
        raise
