"""The workflow on a real SLURM that refuses a user's third job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import rule_of, wait_for
from limited import LIMIT, LimitedCluster, lacking_for_limits
from runs import Study
from studies import CLASSES, SMALL, write_config


@pytest.fixture(scope="module")
def limited() -> Iterator[LimitedCluster]:
    """SLURM with accounting, started and stopped by the tests."""
    if reason := lacking_for_limits():
        pytest.skip(f"the limits of a real SLURM were not tested: {reason}")
    cluster = LimitedCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def test_a_study_waits_while_slurm_takes_no_more_jobs(limited: LimitedCluster, tmp_path: Path) -> None:
    """Without the workflow's sbatch, each refused job would count as a failed attempt."""
    write_config(tmp_path, {**SMALL, "variants": ["original", "bicubic_x2"], "dual": False})
    # What sbatch waits is recorded and takes a second instead of a minute.
    (tmp_path / "bin").mkdir()
    sleep = tmp_path / "bin" / "sleep"
    sleep.write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/slept\nexec /bin/sleep 1\n")
    sleep.chmod(0o755)
    study = Study(tmp_path, limited, environment={"PATH": f"{sleep.parent}:{limited.environment['PATH']}"})
    manifest = "results/images/bicubic_x2/{}/{}/manifest_1of1.csv"
    targets = [manifest.format(partition, name) for partition in ("TRAIN", "TEST") for name in CLASSES]
    try:
        study.start("--retries", "0", "--group-components", "interpolated=1", "--", *targets)
        assert study.finish() == 0, study.output()
        jobs = [rule_of(record) for record in study.jobs()]
        assert jobs == ["make_synthetic_archive", "ingest_dataset", *["interpolated_interpolate"] * len(targets)]
        assert "60\n" in (tmp_path / "slept").read_text()
        assert not limited.ask("squeue", "--noheader")
    finally:
        study.end()


@pytest.mark.parametrize(
    ("limit", "qos", "reason"),
    [(None, "limited", "QOSMaxSubmitJobPerUserLimit"), (1, "normal", "AssocMaxSubmitJobLimit")],
    ids=["quality of service", "account"],
)
def test_slurm_names_the_limits_that_the_workflows_sbatch_waits_for(
    limit: int | None, qos: str, reason: str, limited: LimitedCluster
) -> None:
    if limit:
        limited.manage("modify", "user", "root", "set", f"MaxSubmitJobs={limit}")
        known = re.compile(rf"\bMaxSubmitJobs={limit}\b")
        wait_for(lambda: known.search(limited.ask("scontrol", "show", "assoc_mgr", "flags=assoc")), "the limit")
    try:
        answers = [limited.ask("sbatch", f"--qos={qos}", "--wrap=sleep 600") for _ in range(LIMIT + 1)]
        taken = sum("Submitted" in answer for answer in answers)
        assert (taken, reason in answers[-1]) == (limit or LIMIT, True), answers
    finally:
        limited.ask("scancel", "--user=root")
        limited.manage("modify", "user", "root", "set", "MaxSubmitJobs=-1")
