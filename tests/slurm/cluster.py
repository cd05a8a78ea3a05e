"""A real SLURM for the tests: on the loopback interface, in its own folder, independent of an installed SLURM."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol"]
DAEMONS = {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmscriptd", "slurmd"}
SLURMS_NAMES = tuple(f"Name:\t{name}" for name in ("slurm", "munge", "srun", "sbatch", "squeue", "scontrol", "scancel"))
# The models of the devices 0, 1 and 2.
GPU_MODELS = ["h100", "h100", "a100"]

# The partitions have the names of profiles/slurm; jobs in `urgent` preempt jobs in the others. A requeued job waits for
# its old credential to expire, by default for two minutes. Timeouts are long, because daemons may be slow while other
# tests run. Of the plugins that need no cgroups, proctrack/pgid finds a job's process whose parent has ended; linuxproc
# does not.
SLURM_CONF = """
ClusterName=wbcsrtests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket,cred_expire=10
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=120
SlurmctldTimeout=120
MessageTimeout=60
KillWait=5
MinJobAge=3600
InactiveLimit=0
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=200
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
{accounting}
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=400000 Gres={gres}
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10
"""

# Snakemake's jobstep executor takes SLURM's variables, including SLURM_CONF, from the environment of srun.
SRUN = """#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


def lacking() -> str | None:
    """What this machine lacks for running SLURM, as a sentence, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=search_path()) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "SLURM's daemons start jobs of other users, and this user is not root"
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.mknod(Path(folder) / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError as error:
            return f"no device files can be made, which stand for GPUs ({error.strerror})"
    return None


class Cluster:
    """One node with GPUs of two models; the GPUs are device files that behave like /dev/null."""

    accounting = "AccountingStorageType=accounting_storage/none"

    def __init__(self) -> None:
        # A short path, because a socket's path has at most 108 characters, and readable for other users.
        self.folder = Path(tempfile.mkdtemp(prefix="wbcsr-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        for name in ("run", "log", "state", "spool", "bin"):
            (self.folder / name).mkdir()
        self.host = socket.gethostname().split(".")[0]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._write_configuration()
        path = f"{self.folder / 'bin'}:{search_path()}"
        self.environment = {**_outside_slurm(), "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def _write_configuration(self) -> None:
        controller_port, daemon_port = free_ports(2)
        values: dict[str, Any] = {
            "folder": self.folder,
            "host": self.host,
            "srun": shutil.which("srun", path=search_path()),
        }
        gres = ",".join(f"gpu:{model}:{count}" for model, count in Counter(GPU_MODELS).items())
        values |= {
            "controller_port": controller_port,
            "daemon_port": daemon_port,
            "accounting": self.accounting.format(**values),
        }
        (self.folder / "slurm.conf").write_text(SLURM_CONF.format(**values, gres=gres))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nConstrainCores=no\nConstrainRAMSpace=no\n")
        devices = []
        for number, model in enumerate(GPU_MODELS):
            device = self.folder / f"nvidia{number}"
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
            devices.append(f"NodeName={self.host} Name=gpu Type={model} File={device}\n")
        (self.folder / "gres.conf").write_text("AutoDetect=off\n" + "".join(devices))
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(SRUN.format(**values))
        wrapper.chmod(0o755)

    def start(self) -> None:
        """Start the daemons; returns when the node accepts jobs."""
        run = self.folder / "run"
        self._start(
            "munged",
            "--foreground",
            "--force",
            f"--socket={run / 'munge.socket'}",
            f"--key-file={self.folder / 'munge.key'}",
            f"--pid-file={run / 'munged.pid'}",
            f"--seed-file={run / 'munged.seed'}",
            f"--log-file={self.folder / 'log' / 'munged.log'}",
        )
        wait_for((run / "munge.socket").exists, "munge's socket")
        self.start_accounting()
        self._start("slurmctld", "-D", "-c")
        self.start_node()

    def start_accounting(self) -> None:
        """Start what stores accounts and limits: nothing."""

    def start_node(self) -> None:
        """Start the daemon of the compute node."""
        self._start("slurmd", "-D", "-N", self.host)
        ready = re.compile(r"State=(IDLE|MIXED|ALLOCATED) ")
        wait_for(lambda: ready.search(self.ask("scontrol", "show", "node")), "the node")

    def stop_node(self) -> None:
        """Kill the daemon of the node, as in a crash; running jobs continue."""
        self.daemons.pop("slurmd").kill()

    def _start(self, program: str, *options: str) -> None:
        path = shutil.which(program, path=search_path())
        assert path is not None
        with open(self.folder / "log" / f"{program}.out", "ab") as output:
            self.daemons[program] = subprocess.Popen(
                [path, *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> str:
        """Cancel all jobs, stop the daemons and remove all files; AssertionError if a process of a job remains.

        Remaining processes of SLURM itself are killed and described in the returned text.
        """
        if "slurmctld" in self.daemons:
            for state in ("PENDING", "RUNNING"):
                with suppress(subprocess.TimeoutExpired):
                    subprocess.run(["scancel", f"--state={state}"], env=self.environment, check=False, timeout=120)
        self._wait_for_the_end_of_all(besides=DAEMONS)
        while self.daemons:
            _, daemon = self.daemons.popitem()  # the last one that was started
            daemon.terminate()
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._wait_for_the_end_of_all()
        left = {process: _description(process) for process in self.processes()}
        _kill(left)
        # Removing a folder would also remove what is mounted below it.
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        assert not [place for place in mounted if Path(place).is_relative_to(self.folder)]
        shutil.rmtree(self.folder)
        its_own = {process: line for process, line in left.items() if line.startswith(SLURMS_NAMES)}
        assert left == its_own, f"processes of the tests' SLURM were left: {left}"
        return "; ".join(its_own.values())

    def _wait_for_the_end_of_all(self, besides: Container[str] = (), seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.processes(besides) and time.monotonic() < deadline:
            time.sleep(0.2)

    def processes(self, besides: Container[str] = ()) -> list[int]:
        """Processes that use this SLURM's configuration: its daemons, steps and jobs."""
        mark = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    name = (entry / "comm").read_text().strip()
                    if name not in besides and mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:  # it has ended in the meantime
                    continue
        return found

    def ask(self, *command: str) -> str:
        """The output of a SLURM command."""
        return subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout

    def jobs(self, *rules: str) -> list[dict[str, str]]:
        """SLURM's record of all jobs, or of the jobs of some rules, oldest first: JobId, JobState, Comment, …"""
        records = [
            {name: value.strip() for name, value in re.findall(r"(\S+?)=(.*?)(?= \S+?=|$)", line)}
            for line in self.ask("scontrol", "show", "job", "-o", "-d").splitlines()
            if line.startswith("JobId=")
        ]
        records.sort(key=lambda record: int(record["JobId"]))
        return [record for record in records if not rules or any(does(record, rule) for rule in rules)]

    def recorded(self) -> int:
        """The number of jobs that SLURM has recorded as ended."""
        log = self.folder / "log" / "jobs"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def scripts(self, job: str) -> list[int]:
        """The processes that do the work of a job: Python processes that run one of Snakemake's scripts."""
        found = []
        for process in self.processes(besides=DAEMONS):
            try:
                command = Path(f"/proc/{process}/cmdline").read_bytes()
                environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            except OSError:  # it has ended in the meantime
                continue
            if b".snakemake/scripts/" in command and f"SLURM_JOB_ID={job}".encode() in environment:
                found.append(process)
        return found

    def freeze(self, job: str) -> list[int]:
        """Stop the processes of a job with SIGSTOP, as on a node that hangs; returns them, for SIGCONT."""
        frozen = wait_for(lambda: self.scripts(job), f"the script of job {job}")
        for process in frozen:
            os.kill(process, signal.SIGSTOP)
        return frozen


def rule_of(record: dict[str, str]) -> str:
    """The rule in a job's comment, which Snakemake writes; for a group of jobs, the name of the group and its rules."""
    return re.sub(r"^rule_|_wildcards_.*$", "", record.get("Comment", ""))


def does(record: dict[str, str], rule: str) -> bool:
    """Whether a job, or a job of its group, is of this rule."""
    return re.search(rf"(^|_){rule}(_|$)", rule_of(record)) is not None


def wait_for(condition: Callable[[], T], what: str, seconds: float = 180) -> T:
    """Wait until `condition` returns a true value, and return it."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.1)


def _kill(processes: Iterable[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _description(process: int) -> str:
    """The state, parent and command of a process."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError as error:  # it has ended in the meantime
        return str(error)
    return ", ".join(re.findall(r"^(?:Name|State|PPid):.*$", status, re.MULTILINE)) + f": {command}"


def search_path() -> str:
    """The search path for programs, with the folders of daemons, which are often not in a user's PATH."""
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _outside_slurm() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
