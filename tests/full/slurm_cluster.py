"""A real Slurm on this machine, of one node or more with two pretended GPUs each, as a cluster for tests.

Needs root and Debian's packages slurm-wlm and munge.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

#: Where Slurm looks by itself: the executor plugin takes SLURM_CONF away from jobs.
CONFIGURATION = Path("/etc/slurm")
STATE = Path("/run/slurm-test")
GPUS = 2
#: Of each node, in MB, as Slurm counts it.
MEMORY = 6000

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is requeued waits as long as a credential counts: two minutes if nothing is said.
AuthInfo=socket={state}/munge.socket,cred_expire=10
CryptoType=crypto/munge
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/%n.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
# A node that does not answer is down after ten seconds, and back once its daemon answers again.
SlurmdTimeout=10
ReturnToService=2
# A job that dies with its node is sent again by Snakemake, not by Slurm.
JobRequeue=0
KillWait=10
MinJobAge=300
SchedulerParameters=batch_sched_delay=1,sched_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports}] CPUs=2 RealMemory={memory} \
Gres=gpu:pretended:{gpus} State=UNKNOWN
PartitionName=test Nodes={nodes} Default=YES MaxTime=INFINITE State=UP
"""
# Any file stands for a GPU: Slurm hands out its number, and nothing opens it.
GRES_CONF = "NodeName={nodes} Name=gpu Type=pretended Count={gpus} File={state}/gpu[1-{gpus}]\n"
#: Of the nodes' daemons: each listens at its own.
PORTS = 17001


class Job(NamedTuple):
    """As `squeue` says it. `node` is empty while it waits; `gpus` and `memory` as asked for."""

    number: str
    state: str
    node: str
    gpus: str
    memory: str
    comment: str


class SlurmCluster:
    """Controller, munge and a daemon a node; `stop` ends them and every job that still runs."""

    def __init__(self, nodes: int = 1) -> None:
        self.nodes = [f"node{number + 1}" for number in range(nodes)]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        shutil.rmtree(STATE, ignore_errors=True)  # of a cluster that was killed
        for name in ("controller", "log", "munge", *self.nodes):
            (STATE / name).mkdir(parents=True, exist_ok=True)
        for number in range(GPUS):
            (STATE / f"gpu{number + 1}").touch()
        CONFIGURATION.mkdir(parents=True, exist_ok=True)
        values = {
            "host": socket.gethostname().split(".")[0],
            "state": STATE,
            "nodes": ",".join(self.nodes),
            "ports": f"{PORTS}-{PORTS + len(self.nodes) - 1}",
            "memory": MEMORY,
            "gpus": GPUS,
        }
        (CONFIGURATION / "slurm.conf").write_text(SLURM_CONF.format(**values), encoding="utf-8")
        (CONFIGURATION / "gres.conf").write_text(GRES_CONF.format(**values), encoding="utf-8")
        self._start_munge()
        self._daemon("slurmctld", "slurmctld", "-D", "-i")
        for node in self.nodes:
            self.start_node(node)

    def _start_munge(self) -> None:
        key = STATE / "munge/munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        options = [f"--socket={STATE}/munge.socket", f"--key-file={key}", f"--pid-file={STATE}/munge/pid"]
        options += [f"--log-file={STATE}/munge/log", f"--seed-file={STATE}/munge/seed", "--force"]
        self._daemon("munged", "munged", "--foreground", *options)
        wait_for(lambda: (STATE / "munge.socket").exists(), "munge to open its socket")

    def start_node(self, node: str) -> None:
        """Starts the node's daemon, and waits until the controller gives it jobs."""
        self._daemon(node, "slurmd", "-D", "-N", node)
        wait_for(lambda: self.state(node) in ("idle", "mixed", "allocated"), f"{node} to be ready")

    def kill_node(self, node: str) -> None:
        """The node's daemon dies, as it does with the machine it runs on; so do its jobs."""
        self.daemons[node].kill()
        self.daemons[node].wait()
        for step in children_of("slurmstepd"):
            kill_tree(step)

    def state(self, node: str) -> str:
        """As `sinfo` says it: idle, mixed, allocated, down, …; an asterisk: it does not answer."""
        return said("sinfo", "--noheader", "--nodes", node, "--format", "%T").strip()

    def jobs(self) -> list[Job]:
        """Each job that waits or runs."""
        lines = said("squeue", "--noheader", "--array", "--format", "%i|%T|%N|%b|%m|%k").splitlines()
        return [Job(*line.split("|", 5)) for line in lines]

    def stop(self) -> None:
        for job in self.jobs():
            subprocess.run(["scancel", job.number], check=False)
        with suppress(AssertionError):  # whatever is left, the daemons end
            wait_for(lambda: not self.jobs(), "the jobs to end", seconds=30)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
        for daemon in self.daemons.values():
            daemon.wait(timeout=30)
        shutil.rmtree(STATE, ignore_errors=True)

    def _daemon(self, name: str, *command: str) -> None:
        program = shutil.which(command[0]) or f"/usr/sbin/{command[0]}"
        log = (STATE / "log" / f"{name}.out").open("ab")
        self.daemons[name] = subprocess.Popen([program, *command[1:]], stdout=log, stderr=log)


def said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def wait_for(reached: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Raises AssertionError where it is not reached in time."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.2)


def children_of(name: str) -> list[int]:
    """Process numbers of all programs called `name`."""
    return [int(number) for number in said("pgrep", "--exact", name).split()]


def kill_tree(number: int) -> None:
    """Ends a process and all below it at once."""
    for child in said("pgrep", "--parent", str(number)).split():
        kill_tree(int(child))
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)
