"""Run the workflow on SLURM as its users do, and compare the results."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster import Cluster, rule_of, wait_for
from studies import CLASSES, REPOSITORY

PROFILE = REPOSITORY / "profiles" / "slurm"
# One shard and one run, which the tests interrupt, and the files that exist when half of their work is done.
SHARD = f"results/images/realesrgan_x4/TRAIN/{CLASSES[0]}"
SHARD_TARGET = f"{SHARD}/manifest_1of1.csv"
RUN = "results/runs/paper/original/seed0"
RUN_TARGET = f"{RUN}/model.safetensors"
HALF_DONE = {SHARD_TARGET: f"{SHARD}/_*.png", RUN_TARGET: f"{RUN}/checkpoint.pt"}
RULES = {SHARD_TARGET: "upscale", RUN_TARGET: "train_classifier"}
# A job on SLURM that tries to use the network records the address.
NO_NETWORK = """
import os, socket
if "SLURM_JOB_ID" in os.environ:
    with open({jobs!r}, "a") as jobs:
        jobs.write(os.environ["SLURM_JOB_ID"] + " " + os.environ.get("CUDA_VISIBLE_DEVICES", "none") + "\\n")
    def here_only(function, host_of):
        def guarded(*arguments, **named):
            host = host_of(*arguments)
            if host not in (None, "", "127.0.0.1", "::1", "localhost", socket.gethostname()):
                with open({record!r}, "a") as record:
                    record.write(f"{{host}}\\n")
                raise OSError(f"no network on a compute node: {{host}}")
            return function(*arguments, **named)
        return guarded
    def peer(self, address):
        return None if self.family == socket.AF_UNIX else address[0]
    socket.socket.connect = here_only(socket.socket.connect, peer)
    socket.socket.connect_ex = here_only(socket.socket.connect_ex, peer)
    socket.getaddrinfo = here_only(socket.getaddrinfo, lambda host, *rest: host)
"""


class Study:
    """A working folder in which Snakemake runs with the SLURM profile."""

    def __init__(
        self,
        folder: Path,
        slurm: Cluster,
        python: Sequence[str] = (sys.executable,),
        environment: Mapping[str, str] | None = None,
        user: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.slurm = slurm
        self.python = python
        self.environment = {**slurm.environment, **(environment or {})}
        self.user = dict(user or {})
        self.process: subprocess.Popen[bytes] | None = None
        # Position in the output at which the current run begins.
        self.begin = 0

    def can_import(self, package: str) -> bool:
        """Whether the user of this study can import a package."""
        command = [*self.python, "-c", f"import {package}"]
        return subprocess.run(command, env=self.environment, check=False, **self.user).returncode == 0

    def start(self, *arguments: str, profile: Path = PROFILE) -> Study:
        """Start Snakemake; jobs and output now refer to this run."""
        self.begin = len(self.output())
        hurry = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]
        paths = ["--directory", str(self.folder), "--configfile", str(self.folder / "config.yaml")]
        snakefile = ["--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(profile)]
        hurried = str(Path(__file__).with_name("hurried.py"))
        with open(self.folder / "output.txt", "ab") as output:
            self.process = subprocess.Popen(
                [*self.python, hurried, *snakefile, *paths, *hurry, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self.user,
            )
        return self

    def cut_the_network(self) -> None:
        """Block the network for all jobs; attempts to use it are recorded in reached.txt."""
        guard = self.folder / "guard"
        guard.mkdir()
        (guard / "sitecustomize.py").write_text(
            NO_NETWORK.format(record=str(self.folder / "reached.txt"), jobs=str(self.folder / "jobs.txt"))
        )
        self.environment["PYTHONPATH"] = str(guard)

    def finish(self, seconds: float = 900) -> int:
        """Wait until Snakemake ends; returns its exit status."""
        assert self.process is not None
        return self.process.wait(seconds)

    def end(self) -> None:
        """Kill all processes that a test left running."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for record in self.jobs():
            if record["JobState"] in {"PENDING", "RUNNING", "COMPLETING"}:
                self.slurm.ask("scancel", record["JobId"])

    def output(self) -> str:
        """The complete output of Snakemake in this folder."""
        file = self.folder / "output.txt"
        return file.read_text() if file.exists() else ""

    def log(self, rule: str) -> str:
        """The logs of the jobs of a rule."""
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs" / rule).rglob("*.log")))

    def jobs(self, *rules: str) -> list[dict[str, str]]:
        """SLURM's record of this run's jobs, whose names contain the id of the run."""
        runs = re.findall(r"SLURM run ID: (\S+)", self.output()[self.begin :])
        return [record for record in self.slurm.jobs(*rules) if record["JobName"] in runs]

    def start_and_freeze(self, target: str) -> tuple[str, list[int]]:
        """As `start_until_half_done`, then stop the work with SIGSTOP; returns the job and the stopped processes."""
        job = self.start_until_half_done(target)
        frozen = self.slurm.freeze(job)
        assert not (self.folder / target).exists(), "the job ended before the fault"
        return job, frozen

    def start_until_half_done(self, target: str) -> str:
        """Remove `target`, start making it again, and return the number of its job when half of its work is done."""
        self.remove(target)
        self.start("--", target)
        wait_for(lambda: list(self.folder.glob(HALF_DONE[target])), f"half of {target}", 300)
        return self.jobs(RULES[target])[-1]["JobId"]

    def remove(self, target: str) -> None:
        """Remove `target` and everything that its job made."""
        folder = (self.folder / target).parent
        for path in folder.iterdir():
            if path.name != "engine":
                path.unlink()

    def kill(self) -> None:
        """Kill Snakemake itself; its jobs continue."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def unlock(self) -> None:
        """Run `snakemake --unlock`, as a user does after Snakemake was killed."""
        assert self.start("--unlock").finish(300) == 0, self.output()

    def link_results(self, folder: Path) -> None:
        """Make the results available in another folder, by hard links."""
        shutil.copytree(self.folder / "results", folder / "results", copy_function=os.link)

    def history(self, job: str) -> dict[str, str]:
        """SLURM's record of one job."""
        return next(record for record in self.jobs() if record["JobId"] == job)

    def states(self, rule: str) -> list[str]:
        return [record["JobState"] for record in self.jobs(rule)]

    def wait_for_state(self, job: str, *states: str, seconds: float = 180) -> None:
        """Wait until SLURM reports one of the given states for a job."""
        wait_for(lambda: self.history(job)["JobState"] in states, f"job {job} {' or '.join(states)}", seconds)


def requested(record: dict[str, str]) -> dict[str, str]:
    """The resources that a job requested: partition, cores, memory, time, GPUs ("" for none)."""
    resources = dict(re.findall(r"(\w+)=(\w+)", record["TRES"]))
    gpus = record.get("TresPerJob", "").removeprefix("gres:gpu:")
    return {
        "rule": rule_of(record),
        "partition": record["Partition"],
        "cores": record["CPUs/Task"],
        "memory": resources["mem"],
        "time": record["TimeLimit"],
        "gpus": gpus,
    }
