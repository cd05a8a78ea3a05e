"""Faults that occur on clusters, caused on a real SLURM; afterwards the results equal those of an undisturbed run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, wait_for
from compared import differences
from runs import PROFILE, RULES, RUN, RUN_TARGET, SHARD, SHARD_TARGET, Study, requested
from studies import SMALL, write_config

GOES_ON = {
    SHARD_TARGET: r"[1-4] of 5 images are kept",
    RUN_TARGET: r"after epoch [12] of 3",
}


def require_undisturbed_results(study: Study, undisturbed: Study) -> None:
    assert study.finish() == 0, study.output()
    assert differences(study.folder, undisturbed.folder) == []
    left = [path.name for path in (study.folder / "results").rglob(".*")]
    assert left == [], "half-written files, claims or ledgers"


def test_a_cancelled_job_is_resubmitted_with_more_resources(study: Study, whole_study: Study) -> None:
    job, _ = study.start_and_freeze(SHARD_TARGET)
    study.slurm.ask("scancel", job)
    require_undisturbed_results(study, whole_study)
    first, second = study.jobs("upscale")
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    megabytes = [int(requested(record)["memory"].rstrip("M")) for record in (first, second)]
    assert megabytes[1] == 2 * megabytes[0]
    hours = [int(requested(record)["time"].split(":")[0]) for record in (first, second)]
    assert hours[1] == 2 * hours[0] > 0
    assert re.search(GOES_ON[SHARD_TARGET], study.log("upscale"))


def test_a_job_that_hangs_until_its_time_limit_is_resubmitted(study: Study, whole_study: Study) -> None:
    job, _ = study.start_and_freeze(SHARD_TARGET)
    study.slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    require_undisturbed_results(study, whole_study)
    assert study.states("upscale") == ["TIMEOUT", "COMPLETED"]


def test_a_job_that_runs_out_of_memory_gets_more_at_the_next_attempt(
    study: Study, whole_study: Study, tmp_path: Path
) -> None:
    content = yaml.safe_load((PROFILE / "profile.yaml").read_text())
    content["set-resources"]["upscale"] = {**content["set-resources"]["upscale"], "mem_mb": "400 * attempt ** 2"}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(content))
    study.remove(SHARD_TARGET)
    study.start("--", SHARD_TARGET, profile=tmp_path)
    require_undisturbed_results(study, whole_study)
    records = study.jobs("upscale")
    assert records[-1]["JobState"] == "COMPLETED"
    assert records[0]["JobState"] in {"FAILED", "OUT_OF_MEMORY", "CANCELLED"}
    assert [requested(record)["memory"] for record in records[:2]] == ["400M", "1600M"]
    log = (study.slurm.folder / "log" / "slurmd.log").read_text()
    assert re.search(rf"\b{records[0]['JobId']}\b.* exceeded memory limit", log)


# Kills a job at the start of its work.
KILLED = """
import os, sys
class Killer:
    def find_spec(self, name, path=None, target=None):
        if name == "wbcsr.dataset.ingest" and "SLURM_JOB_ID" in os.environ:
            os.kill(os.getpid(), 9)
sys.meta_path.insert(0, Killer())
"""


@pytest.mark.parametrize(
    ("partition", "hook", "message"),
    [
        ("cpu", "", r"data\.zip: is not a zip file"),
        ("cpu", KILLED, r"rule ingest_dataset ended without a message \(killed\? .*\): SLURM-job '\d+' failed"),
        ("nowhere", "", r"rule ingest_dataset did not begin: SLURM sbatch failed.* nowhere "),
    ],
    ids=["its own error", "killed", "not taken"],
)
def test_the_last_line_names_a_job_that_fails_at_every_attempt(
    slurm: Cluster, tmp_path: Path, partition: str, hook: str, message: str
) -> None:
    """The error is read from the job's log; if the job wrote none, the line gives SLURM's state of the job."""
    content = yaml.safe_load((PROFILE / "profile.yaml").read_text())
    content["default-resources"]["slurm_partition"] = partition
    for name in ("profile", "hook"):
        (tmp_path / name).mkdir()
    (tmp_path / "profile" / "profile.yaml").write_text(yaml.safe_dump({**content, "retries": 1}))
    (tmp_path / "hook" / "sitecustomize.py").write_text(hook)
    write_config(tmp_path, {**SMALL, "dataset": {**SMALL["dataset"], "archive": "data.zip"}})
    (tmp_path / "data.zip").write_text("<html>Sign in</html>")
    failing = Study(tmp_path, slurm, environment={"PYTHONPATH": str(tmp_path / "hook")})
    assert failing.start("--", "results/dataset/images.csv", profile=tmp_path / "profile").finish() == 1
    *above, last = failing.output().splitlines()
    assert re.match(f"error: {message}", last), failing.output()
    assert not any(line.startswith("error: ") for line in above)
    assert len(failing.jobs()) == (0 if partition == "nowhere" else 2)


def test_a_job_survives_a_crash_of_the_node_daemon(study: Study, whole_study: Study) -> None:
    study.start_until_half_done(SHARD_TARGET)
    study.slurm.stop_node()
    time.sleep(3)
    study.slurm.start_node()
    require_undisturbed_results(study, whole_study)
    (record,) = study.jobs("upscale")
    assert (record["JobState"], record["Restarts"]) == ("COMPLETED", "0")


def test_a_preempted_job_continues(study: Study, whole_study: Study) -> None:
    """SLURM requeues it, as after `scontrol requeue`."""
    job, _ = study.start_and_freeze(RUN_TARGET)
    urgent = ["--partition=urgent", "--gpus=h100:2", "--output=/dev/null", "--comment=rule_urgent", "--wrap=sleep 1"]
    study.slurm.ask("sbatch", *urgent)
    require_undisturbed_results(study, whole_study)
    (record,) = study.jobs("train_classifier")
    assert (record["JobId"], record["JobState"], record["Restarts"]) == (job, "COMPLETED", "1")
    assert study.slurm.jobs("urgent")[-1]["JobState"] == "COMPLETED"
    assert re.search(GOES_ON[RUN_TARGET], study.log("train_classifier"))


def test_a_hung_job_stops_when_another_job_has_taken_over(study: Study, whole_study: Study) -> None:
    """Snakemake was killed and started again, and resubmitted the job; then the old job continues."""
    old, frozen = study.start_and_freeze(RUN_TARGET)
    restarted(study, RUN_TARGET)
    assert study.finish() == 0, study.output()
    for process in frozen:
        os.kill(process, signal.SIGCONT)
    study.wait_for_state(old, "FAILED")
    require_undisturbed_results(study, whole_study)
    # Snakemake gives each attempt a new log; the old job's output is in SLURM's own log.
    (log,) = study.folder.glob(f".snakemake/slurm_logs/**/{old}.log")
    assert "a newer job has taken over these files (it has ended by now); this one stops" in log.read_text()


def test_two_jobs_that_write_the_same_output_at_once(study: Study, whole_study: Study) -> None:
    old, frozen = study.start_and_freeze(SHARD_TARGET)
    restarted(study, SHARD_TARGET)
    wait_for(lambda: len(study.jobs("upscale")) == 2, "the second job")
    wait_for(lambda: study.slurm.scripts(study.jobs("upscale")[-1]["JobId"]), "its work")
    for process in frozen:
        os.kill(process, signal.SIGCONT)
    assert study.finish() == 0, study.output()
    study.wait_for_state(old, "FAILED", "COMPLETED")
    require_undisturbed_results(study, whole_study)


def restarted(study: Study, target: str) -> None:
    """Kill Snakemake and start it again while its job runs."""
    begin = study.begin
    study.kill()
    study.unlock()
    assert study.slurm.jobs(RULES[target])[-1]["JobState"] == "RUNNING"
    study.start("--", target)
    study.begin = begin


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """Mount a small file system at `folder`."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a full disk was not tested: no disk could be mounted ({mounted.stderr.strip()})")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    ("target", "folder", "kilobytes"),
    [(SHARD_TARGET, SHARD, 160), (RUN_TARGET, RUN, 30_000)],
    ids=["upscaling", "training"],
)
def test_a_full_disk_gives_one_line_and_the_job_continues_when_there_is_space(
    study: Study, whole_study: Study, target: str, folder: str, kilobytes: int
) -> None:
    study.remove(target)
    engine = study.folder / folder / "engine"
    if engine.exists():
        engine.rename(study.folder / "engine")
    with small_disk(study.folder / folder, kilobytes):
        assert study.start("--retries", "0", "--", target).finish() != 0
        assert not (study.folder / target).exists()
        errors = {line.partition("error: ")[2] for line in study.log(RULES[target]).splitlines() if "error: " in line}
        assert len(errors) == 1
        pattern = r"results/.*: no space left on device; free some space and run again: what is finished is kept"
        assert re.fullmatch(pattern, errors.pop())
        assert re.fullmatch(rf"error: {pattern} \(logs/.*\)", study.output().splitlines()[-1])
        subprocess.run(["mount", "-o", "remount,size=1g", str(study.folder / folder)], check=True)
        assert study.start("--", target).finish() == 0, study.output()
        engines = [path for path in (whole_study.folder / folder / "engine").rglob("*") if path.is_file()]
        moved_away = sorted(path.relative_to(whole_study.folder).as_posix() for path in engines)
        assert differences(study.folder, whole_study.folder, folder) == moved_away
    if target == SHARD_TARGET:
        assert re.search(GOES_ON[target], study.log(RULES[target]))
