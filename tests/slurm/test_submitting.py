"""What Snakemake submits, without a SLURM: its sbatch waits for the site's limits, and arrays are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from studies import REPOSITORY

from wbcsr import program_path
from wbcsr.errors import InputError
from wbcsr.slurm import refuse_arrays

OURS = REPOSITORY / "scripts" / "slurm"
LIMIT = "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates policy"
WRONG = "sbatch: error: invalid partition specified: gpu"


@pytest.mark.parametrize(
    ("answers", "status", "output", "error", "slept"),
    [
        ([("0", "4711", "")], 0, "4711\n", "", 0),
        ([("0", "4711", "sbatch: warning: low")], 0, "4711\n", "sbatch: warning: low\n", 0),
        ([("1", "", LIMIT), ("1", "", LIMIT.replace("QOS", "Assoc")), ("0", "4712", "")], 0, "4712\n", "", 2),
        ([("1", "", WRONG)], 1, "", f"{WRONG}\n", 0),
    ],
    ids=["taken", "taken with a warning", "limit", "refused"],
)
def test_a_job_waits_while_slurm_takes_no_more(
    answers: list[tuple[str, str, str]], status: int, output: str, error: str, slept: int, tmp_path: Path
) -> None:
    """Snakemake would count three failed attempts."""
    for number, answer in enumerate(answers):
        for name, text in zip(("status", "output", "errors"), answer, strict=True):
            (tmp_path / f"{name}{number}").write_text(f"{text}\n" if text else "")
    programs = {
        "sbatch": f'cd {tmp_path}; echo "$PATH" > path; n=$(cat asked | wc -l); echo "$@" >> asked; '
        "cat output$n; cat errors$n >&2; exit $(cat status$n)",
        "sleep": f"echo $1 >> {tmp_path}/slept",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("asked", "slept"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["sbatch", "--parsable", "--wrap=a b"],
        env={"PATH": f"{OURS}:{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, output, error)
    assert (tmp_path / "asked").read_text() == "--parsable --wrap=a b\n" * len(answers)
    # Jobs inherit this PATH. An empty entry would be the working folder.
    assert (tmp_path / "path").read_text() == f"{tmp_path}:{os.environ['PATH']}\n"
    assert (tmp_path / "slept").read_text() == "60\n" * slept


def test_snakemake_submits_with_this_sbatch() -> None:
    assert shutil.which("sbatch", path=program_path()) == str(OURS / "sbatch")


def test_job_arrays_are_refused() -> None:
    class Settings:
        array_jobs: str | None = None

    refuse_arrays(Settings())
    refuse_arrays(None)
    Settings.array_jobs = "all"
    with pytest.raises(InputError, match="slurm-array-jobs"):
        refuse_arrays(Settings())
