"""`job`: the start of its log, its end after an error that a user can correct, and its recorded cost.

Each job runs in a new process with a substitute for Snakemake's object. A script called nvidia-smi simulates a GPU.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wbcsr.errors import user_message
from wbcsr.files import write_text
from wbcsr.isolated import run_step

SECONDS = 120.0

PRELUDE = """
import json, logging, os, subprocess, sys, time
from types import SimpleNamespace
from wbcsr.errors import InputError
from wbcsr.files import write_text
from wbcsr.job import job

class Named(list):
    def __init__(self, named):
        super().__init__(named.values())
        self.get, self.items = named.get, named.items

def fake(rule="make_table", log=None, gpu=None, gres=None, threads=2, wildcards={}, params={}, inputs=(), **output):
    output = output or {"table": "results/table.csv"}
    return SimpleNamespace(
        rule=rule, log=[log] if log else [], threads=threads, input=inputs, output=Named(output),
        wildcards=Named(wildcards), params=Named(params),
        resources={name: value for name, value in {"gpu": gpu, "gres": gres}.items() if value is not None},
    )

def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
"""

FULL = "no space left on device; free some space and run again: what is finished is kept"
READ_ONLY = "read-only file system; use a --directory that can be written and run again: what is finished is kept"
TOO_MUCH = "write_text('disk/table.csv', 'x' * 200_000)"


def run(folder: Path, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program with jobs in `folder`, without the environment variables that a job or a scheduler sets."""
    foreign = re.compile("WBCSR_|SLURM_|CUDA_|OMP_|GOMP_|TORCHINDUCTOR_|TRITON_")
    environment = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    environment |= variables
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip


def one_job(snakemake: str, body: str) -> str:
    return f"with job(fake({snakemake})) as facts:\n" + "".join(f"    {line}\n" for line in body.splitlines())


def require_one_line(done: subprocess.CompletedProcess[str], line: str) -> None:
    """Require that a job ended with status 1 and this line as the last one, and printed no other error."""
    assert done.returncode == 1, done.stderr
    assert re.sub(r"^\d\d:\d\d:\d\d ", "", done.stderr.splitlines()[-1]) == f"error: {line}"
    assert len(re.findall("error", done.stderr, re.IGNORECASE)) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory; skips the test if this user cannot mount one."""
    if os.getuid():
        pytest.skip("not tested how a full or read-only disk ends a job: only root can mount a small disk")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        pytest.skip(
            f"not tested how a full or read-only disk ends a job: root cannot mount here ({done.stderr.strip()})"
        )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], timeout=SECONDS, check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 KiB in tmp_path/disk."""
    with mounted(tmp_path / "disk", "size=64k") as folder:
        yield folder


def write_nvidia_smi(folder: Path, uuid: str, name: str) -> None:
    program = folder / "nvidia-smi"
    listed = f'echo "0, {uuid}, {name}"; echo "1, GPU-of-another, Stand-in 40GB"'
    program.write_text(f'#!/bin/sh\ncase "$1" in\n*=index,uuid,name) {listed};;\n*) echo "{uuid}";;\nesac\n')
    program.chmod(0o755)


def header(done: subprocess.CompletedProcess[str], log: Path) -> list[str]:
    assert done.returncode == 0, done.stderr
    written = log.read_text().splitlines()
    assert [line for line in written if "versions: " not in line] == done.stderr.splitlines()
    return [line[len("12:34:56 ") :] for line in written]


@pytest.mark.parametrize("request_", ["gpu=1", "gpu=0, gres='gpu:h100:1'"])
def test_the_log_begins_with_job_node_and_gpus_and_the_log_file_with_versions(request_: str, tmp_path: Path) -> None:
    write_nvidia_smi(tmp_path, "GPU-of-test-job", "Stand-in 80GB")
    settings = f'log="logs/a.log", rule="upscale", {request_}, threads=3, wildcards={{"class": "LYT", "shard": "2of4"}}'
    program = one_job(settings, "logging.getLogger('wbcsr').info('body')")
    done = run(tmp_path, program, PATH=str(tmp_path), SLURM_JOB_ID="4711", CUDA_VISIBLE_DEVICES="GPU-of-test-job")
    first, gpus, versions, body = header(done, tmp_path / "logs" / "a.log")
    node = socket.gethostname()
    assert first == f"upscale (class LYT, shard 2of4) on node {node}, SLURM job 4711, 3 threads"
    assert gpus == "GPUs: CUDA_VISIBLE_DEVICES=GPU-of-test-job (Stand-in 80GB)"
    python = ".".join(map(str, sys.version_info[:3]))
    assert re.match(rf"versions: python {re.escape(python)}, .*numpy \d+\.", versions)
    assert body == "body"


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        ("None", "GPUs: none requested, none visible"),
        ("0", "GPUs: none requested, none visible"),
        ("1", "GPUs: CUDA_VISIBLE_DEVICES=not set (nvidia-smi names none)"),
    ],
)
def test_the_log_of_a_job_without_scheduler_and_gpu(gpu: str, expected: str, tmp_path: Path) -> None:
    done = run(tmp_path, one_job(f"log='a.log', gpu={gpu}", "pass"), PATH=str(tmp_path))
    first, gpus, _ = header(done, tmp_path / "a.log")
    assert first == f"make_table on node {socket.gethostname()}, 2 threads"
    assert gpus == expected


def test_a_module_that_hides_packages_of_the_environment_stops_a_job(tmp_path: Path) -> None:
    """The variable may be set only on the node."""
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "tqdm.py").touch()
    program = f"os.environ['PYTHONPATH'] += ':{tmp_path}/module'\n" + one_job("log='a.log'", "write_text('b', 'c')")
    done = run(tmp_path, program)
    assert done.returncode == 1
    assert re.search(rf"error: PYTHONPATH: {tmp_path}/module has tqdm, ", (tmp_path / "a.log").read_text())
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("log", ["elsewhere.log", "disk/log.txt"])
def test_a_full_disk_gives_one_line(log: str, tmp_path: Path, disk: Path) -> None:
    done = run(tmp_path, one_job(f"log={log!r}, table='disk/table.csv'", TOO_MUCH))
    require_one_line(done, f"disk/table.csv: {FULL}")
    # The unfinished file and the claim have been removed.
    assert {path.name for path in disk.iterdir()} <= {"log.txt"}
    assert (tmp_path / log).read_text().endswith(f"error: disk/table.csv: {FULL}\n")


def test_a_log_file_on_a_full_disk_is_not_a_second_error(tmp_path: Path, disk: Path) -> None:
    body = f"fill('disk/rest')\nfor line in range(99): logging.getLogger('wbcsr').info('x' * 99)\n{TOO_MUCH}"
    done = run(tmp_path, one_job("log='disk/log.txt', table='disk/table.csv'", body))
    require_one_line(done, f"disk/table.csv: {FULL}")
    # stderr has every line; the log file has those that fitted.
    assert done.stderr.count("x" * 99) == 99
    log = (disk / "log.txt").read_text()
    assert "make_table on node" in log
    assert log.count("x" * 99) < 99


def test_a_log_file_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k,nr_inodes=2") as disk:
        (disk / "only").touch()
        done = run(tmp_path, one_job("log='disk/log.txt'", "pass"))
    require_one_line(done, f"{tmp_path}/disk/log.txt: {FULL}")


def test_a_claim_on_a_full_disk_names_the_output(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k,nr_inodes=2") as disk:
        (disk / "only").touch()
        done = run(tmp_path, one_job("log='a.log', table='disk/table.csv'", "pass"))
    require_one_line(done, f"disk/table.csv: {FULL}")


def test_a_provenance_on_a_full_disk_is_named(tmp_path: Path, disk: Path) -> None:
    body = "write_text('table.csv', 'a')\nfill('disk/rest')"
    done = run(tmp_path, one_job("log='a.log', table='table.csv', provenance='disk/provenance.json'", body))
    require_one_line(done, f"disk/provenance.json: {FULL}")
    assert [path.name for path in disk.iterdir()] == ["rest"]


def test_a_full_disk_without_a_file_name_names_working_and_temporary_folder(tmp_path: Path, disk: Path) -> None:
    body = "with open('disk/ledger', 'a') as file: file.write('x' * 200_000)"
    done = run(tmp_path, one_job("log='a.log', table='disk/table.csv'", body))
    require_one_line(done, f"the working folder or {tempfile.gettempdir()}: {FULL}")


@pytest.mark.parametrize(("log", "named"), [("a.log", "disk/table.csv"), ("disk/log.txt", "{}/disk/log.txt")])
def test_a_read_only_disk_gives_one_line(log: str, named: str, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k,ro"):
        done = run(tmp_path, one_job(f"log={log!r}, table='disk/table.csv'", "pass"))
    require_one_line(done, f"{named.format(tmp_path)}: {READ_ONLY}")


def test_a_disk_that_becomes_read_only_gives_one_line(tmp_path: Path, disk: Path) -> None:
    body = "subprocess.run(['mount', '-o', 'remount,ro', os.path.abspath('disk')], check=True)\n" + TOO_MUCH
    done = run(tmp_path, one_job("log='a.log', table='disk/table.csv'", body))
    require_one_line(done, f"disk/table.csv: {READ_ONLY}")


@pytest.mark.skipif(os.getuid() == 0, reason="missing permission was not tested: root may write everywhere")
def test_a_folder_without_permission_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    done = run(tmp_path, one_job("log='a.log', table='theirs/table.csv'", "pass"))
    remedy = "ask its owner for permission or use a --directory that you may write"
    require_one_line(done, f"theirs/table.csv: permission denied; {remedy} and run again: what is finished is kept")


def test_a_full_disk_in_an_isolated_process_gives_one_line(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        run_step(write_text, str(disk / "a.json"), "x" * 200_000)
    assert user_message(raised.value) == f"{disk}/a.json: {FULL}"
    assert list(disk.iterdir()) == []


def test_an_input_error_gives_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, one_job("log='a.log'", "raise InputError('config.yaml: scale is 3; set 2 or 4')"))
    require_one_line(done, "config.yaml: scale is 3; set 2 or 4")
    assert (tmp_path / "a.log").read_text().splitlines()[-1] == done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("open('gone')", f"FileNotFoundError: [Errno {errno.ENOENT}] No such file or directory: 'gone'"),
    ],
)
def test_any_other_exception_keeps_its_traceback(body: str, last: str, tmp_path: Path) -> None:
    done = run(tmp_path, one_job("log='a.log'", body))
    assert done.returncode == 1
    assert "make_table failed\nTraceback (most recent call last):\n" in done.stderr
    assert done.stderr.splitlines()[-1] == last
    assert " error: " not in done.stderr
    assert (tmp_path / "a.log").read_text().endswith(f"{last}\n")


BUSY = "end = time.process_time() + 2\nwhile time.process_time() < end: pass"
LARGE = "x = b'x' * (200 << 20)"
IN_A_CHILD = "subprocess.run([sys.executable, '-c', {!r}], check=True)"


def provenance(folder: Path, body: str = "") -> dict[str, Any]:
    settings = "table='t.csv', provenance='t.provenance.json', params={'scale': 4}, wildcards={'model': 'm'}"
    done = run(folder, one_job(settings, f"write_text('t.csv', 'a')\nfacts['backend'] = 'cpu'\n{body}"))
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "t.provenance.json").read_text())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The provenance of a job that does almost nothing."""
    return provenance(tmp_path_factory.mktemp("plain"))


def test_a_job_that_does_little_costs_little(plain: dict[str, Any]) -> None:
    assert (plain["rule"], plain["wildcards"], plain["parameters"]) == ("make_table", {"model": "m"}, {"scale": 4})
    assert plain["outputs_sha256"].keys() == {"t.csv"}
    assert (plain["backend"], plain["threads"]) == ("cpu", 2)
    cost = plain["cost"]
    assert cost.keys() == {"wall_seconds", "cpu_seconds", "gpu_seconds", "memory_mib", "gpu_memory_mib"}
    assert 0 <= cost["wall_seconds"] == plain["seconds"] < 30
    assert 0 < cost["cpu_seconds"] < 2
    assert 10 < cost["memory_mib"] < 190
    assert (cost["gpu_seconds"], cost["gpu_memory_mib"]) == (0.0, None)


@pytest.mark.parametrize("body", [BUSY, IN_A_CHILD.format(f"import time\n{BUSY}")], ids=["itself", "child"])
def test_cpu_seconds_are_counted(body: str, tmp_path: Path) -> None:
    cost = provenance(tmp_path, body)["cost"]
    assert 2 <= cost["cpu_seconds"] < 30
    assert 2 <= cost["wall_seconds"] < 30


@pytest.mark.parametrize("body", [LARGE, IN_A_CHILD.format(LARGE)], ids=["itself", "child"])
def test_memory_is_counted(body: str, tmp_path: Path) -> None:
    assert 200 <= provenance(tmp_path, body)["cost"]["memory_mib"] < 450


def test_memory_of_the_process_that_started_the_job_is_not_counted(tmp_path: Path, plain: dict[str, Any]) -> None:
    starter = "import os, sys; x = b'x' * (300 << 20); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    settings = "table='t.csv', provenance='t.provenance.json'"
    program = PRELUDE + one_job(settings, "write_text('t.csv', 'a')")
    command = [sys.executable, "-c", starter, "-c", program]
    subprocess.run(command, cwd=tmp_path, timeout=SECONDS, check=True, capture_output=True)
    cost = json.loads((tmp_path / "t.provenance.json").read_text())["cost"]
    assert cost["memory_mib"] < plain["cost"]["memory_mib"] + 50


@pytest.mark.parametrize("ends", ["well", "in an error"])
def test_two_jobs_in_one_process_do_not_influence_each_other(ends: str, tmp_path: Path) -> None:
    body = "    raise InputError('no')\n" if ends == "in an error" else "    pass\n"
    program = (
        "before = dict(os.environ)\n"
        "def first():\n    with job(fake(gpu=0, threads=3, log='first.log', table='a/first.csv')):\n    "
        f"{body}try:\n    first()\nexcept SystemExit:\n    pass\n"
        "left = {name for name in before.keys() | os.environ if before.get(name) != os.environ.get(name)}\n"
        + one_job("gpu=1, threads=5, log='second.log', table='b/second.csv'", "seen = dict(os.environ)")
        + "print(json.dumps([sorted(left), seen]))"
    )
    # Without nvidia-smi, the second job lets torch find its GPUs.
    done = run(tmp_path, program, PATH=str(tmp_path))
    left, seen = json.loads(done.stdout)
    # Each job sets its own number of threads; the other variables are the same for every job.
    assert left == ["GOMP_SPINCOUNT", "OMP_NUM_THREADS", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"]
    assert seen["OMP_NUM_THREADS"] == "5"
    assert "CUDA_VISIBLE_DEVICES" not in seen
    assert seen["WBCSR_CLAIM"].endswith(f" {tmp_path}/b/.second.csv.claim")
    assert list(tmp_path.glob("[ab]/*")) == list(tmp_path.glob("[ab]/.*")) == []
    assert "5 threads" in (tmp_path / "second.log").read_text()
    assert "5 threads" not in (tmp_path / "first.log").read_text()
