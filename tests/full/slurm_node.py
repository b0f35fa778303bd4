"""A real Slurm of one node on this machine, with two pretended GPUs, as a cluster for tests.

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

#: Where Slurm looks by itself: the executor plugin takes SLURM_CONF away from jobs.
CONFIGURATION = Path("/etc/slurm")
STATE = Path("/run/slurm-test")
GPUS = 2

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={state}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={state}/controller
SlurmdSpoolDir={state}/node
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd.pid
SlurmctldLogFile={state}/log/slurmctld.log
SlurmdLogFile={state}/log/slurmd.log
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
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory={memory} Gres=gpu:pretended:{gpus} State=UNKNOWN
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
# Any device file stands for a GPU: Slurm hands out its number, and nothing opens it.
GRES_CONF = "NodeName={host} Name=gpu Type=pretended Count={gpus} File=/dev/tty[1-{gpus}]\n"


class SlurmNode:
    """Controller, node daemon and munge; `stop` ends them and every job that still runs."""

    def __init__(self) -> None:
        self.host = socket.gethostname().split(".")[0]
        self.daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        shutil.rmtree(STATE, ignore_errors=True)  # of a cluster that was killed
        for name in ("controller", "node", "log", "munge"):
            (STATE / name).mkdir(parents=True, exist_ok=True)
        CONFIGURATION.mkdir(parents=True, exist_ok=True)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        values = {"host": self.host, "state": STATE, "memory": memory * 9 // 10, "gpus": GPUS}
        (CONFIGURATION / "slurm.conf").write_text(SLURM_CONF.format(**values), encoding="utf-8")
        (CONFIGURATION / "gres.conf").write_text(GRES_CONF.format(**values), encoding="utf-8")
        self._start_munge()
        self._daemon("slurmctld", "-D", "-i")
        self.start_node()

    def _start_munge(self) -> None:
        key = STATE / "munge/munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        options = [f"--socket={STATE}/munge.socket", f"--key-file={key}", f"--pid-file={STATE}/munge/pid"]
        options += [f"--log-file={STATE}/munge/log", f"--seed-file={STATE}/munge/seed", "--force"]
        self._daemon("munged", "--foreground", *options)
        wait_for(lambda: (STATE / "munge.socket").exists(), "munge to open its socket")

    def start_node(self) -> None:
        """Starts the node's daemon, and waits until the controller gives it jobs."""
        self.node = self._daemon("slurmd", "-D")
        wait_for(lambda: self.state() in ("idle", "mixed", "allocated"), "the node to be ready")

    def kill_node(self) -> None:
        """The node's daemon dies, as it does with the machine it runs on; so do its jobs."""
        self.node.send_signal(signal.SIGKILL)
        self.node.wait()
        for step in children_of("slurmstepd"):
            kill_tree(step)

    def state(self) -> str:
        """As `sinfo` says it: idle, mixed, allocated, down, …; an asterisk: it does not answer."""
        return said("sinfo", "--noheader", "--format", "%T").strip()

    def jobs(self) -> list[tuple[str, str, str]]:
        """(number, state, comment) of each job that waits or runs."""
        lines = said("squeue", "--noheader", "--array", "--format", "%i|%T|%k").splitlines()
        return [tuple(line.split("|", 2)) for line in lines]  # type: ignore[misc]

    def stop(self) -> None:
        for number, _, _ in self.jobs():
            subprocess.run(["scancel", number], check=False)
        wait_for(lambda: not self.jobs(), "the jobs to end", seconds=30)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            daemon.wait(timeout=30)
        shutil.rmtree(STATE, ignore_errors=True)

    def _daemon(self, *command: str) -> subprocess.Popen[bytes]:
        program = shutil.which(command[0]) or f"/usr/sbin/{command[0]}"
        log = (STATE / "log" / f"{command[0]}.out").open("ab")
        daemon = subprocess.Popen([program, *command[1:]], stdout=log, stderr=log)
        self.daemons.append(daemon)
        return daemon


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
