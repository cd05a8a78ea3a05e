"""The GPUs that a job sees. A script called nvidia-smi simulates GPUs: it lists some, but nothing runs on them.

Processes really hold GPUs. The holds apply to the whole machine, so each test uses new GPU names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from wbcsr.devices import VISIBLE, using_gpus

SECONDS = 120.0

# Holds the given number of GPUs until its stdin has a line or ends; prints their names, or that it waits.
USER = """
import json, logging, os, sys
from wbcsr.devices import VISIBLE, using_gpus
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='"%(message)s"')
with using_gpus(int(sys.argv[1]), int(sys.argv[2])) as given:
    print(json.dumps({"given": list(given), "visible": os.environ.get(VISIBLE)}), flush=True)
    sys.stdin.readline()
"""

User = subprocess.Popen[str]
Start = Callable[..., User]


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Fail a test that waits too long for a GPU in this process."""

    def late(*_: object) -> None:
        raise TimeoutError(f"still waiting after {SECONDS:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """A function that makes nvidia-smi list a number of GPUs, with nothing else on the PATH; it returns their UUIDs.

    The file `asked` gets a line for each call of nvidia-smi.
    """
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VISIBLE, raising=False)

    def having(count: int) -> list[str]:
        uuids = [f"GPU-{uuid.uuid4()}" for _ in range(count)]
        listed = "\n".join(f"{index}, {name}, Stand-in {index}" for index, name in enumerate(uuids))
        answer = f"--query-gpu=index,uuid,name) echo '{listed}';;"
        write_nvidia_smi(tmp_path, f'echo "$1" >> {tmp_path}/asked\ncase "$1" in\n{answer}\n*) exit 2;;\nesac')
        return uuids

    return having


def write_nvidia_smi(folder: Path, body: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts a process that holds GPUs; after a time limit the process is killed."""
    users: list[User] = []
    clocks: list[Timer] = []

    def new(count: int, named: str | None = None, jobs_per_gpu: int = 1) -> User:
        environment = os.environ | ({} if named is None else {VISIBLE: named})
        command = [sys.executable, "-c", USER, str(count), str(jobs_per_gpu)]
        user = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        clock = Timer(SECONDS, user.kill)
        clock.start()
        users.append(user)
        clocks.append(clock)
        return user

    yield new
    for user, clock in zip(users, clocks, strict=True):
        user.kill()
        user.communicate()
        clock.cancel()


def next_line(user: User) -> Any:
    """The next line of a process: its GPUs, or a line of its log."""
    assert user.stdout is not None
    return json.loads(user.stdout.readline() or '"nothing"')


def end(user: User) -> None:
    user.communicate("done\n", timeout=SECONDS)
    assert user.returncode == 0


def having(*names: str) -> dict[str, Any]:
    return {"given": list(names), "visible": ",".join(names)}


@pytest.mark.parametrize("named", [None, "0,1"])
def test_a_job_that_requests_no_gpu_sees_none(
    named: str | None, machine: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2)
    if named is not None:
        monkeypatch.setenv(VISIBLE, named)
    with using_gpus(0) as given:
        assert (given, os.environ[VISIBLE]) == ({}, "")


@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [("3", 1, "3"), ("0,2", 2, "0,2"), ("5", 2, "5"), (" 0 , 1 ", 2, "0,1"), ("", 1, None)],
    ids=["one", "two", "fewer than requested", "spaces", "none"],
)
def test_gpus_chosen_by_a_scheduler_are_kept(
    named: str, count: int, expected: str | None, machine: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(1)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv(VISIBLE, named)
    # Two holds at once: the scheduler assigned the GPU, so nothing is held and nobody waits.
    with using_gpus(count) as first, using_gpus(count) as second:
        assert [*first] == [*second] == (expected.split(",") if expected else [])
        assert os.environ[VISIBLE] == (expected or "")


def test_a_gpu_that_a_user_chose_is_held_like_any_other(machine: Callable[[int], list[str]], start: Start) -> None:
    first_gpu, second_gpu = machine(2)
    first = start(1, "0")
    assert next_line(first) == having("0")
    # The same GPU under another name.
    second = start(1)
    assert next_line(second) == having(second_gpu)
    third = start(1, first_gpu)
    assert "waiting" in next_line(third)
    end(first)
    assert next_line(third) == having(first_gpu)
    end(second)
    end(third)


@pytest.mark.parametrize("how", ["ends", "is killed"])
def test_two_jobs_get_different_gpus_and_a_third_waits(
    how: str, machine: Callable[[int], list[str]], start: Start
) -> None:
    first_gpu, second_gpu = machine(2)
    first = start(1)
    assert next_line(first) == having(first_gpu)
    second = start(1)
    assert next_line(second) == having(second_gpu)
    third = start(1)
    assert next_line(third) == "waiting for 1 of 2 GPUs that other jobs hold"
    if how == "ends":
        end(second)
    else:
        second.kill()
        assert second.wait(SECONDS) == -signal.SIGKILL
    assert next_line(third) == having(second_gpu)
    end(third)
    end(first)


def test_the_only_gpu_is_held_even_if_nobody_chose_it(machine: Callable[[int], list[str]], start: Start) -> None:
    (only,) = machine(1)
    first = start(1)
    assert next_line(first) == having(only)
    second = start(1)
    assert next_line(second) == "waiting for 1 of 1 GPUs that other jobs hold"
    end(first)
    assert next_line(second) == having(only)


def test_a_job_that_waits_for_two_holds_none_of_them(machine: Callable[[int], list[str]], start: Start) -> None:
    first_gpu, second_gpu, third_gpu = machine(3)
    first, second = start(1, f"{second_gpu},{first_gpu}"), start(1, f"{third_gpu},{first_gpu}")
    assert (next_line(first), next_line(second)) == (having(second_gpu), having(third_gpu))
    both = start(2)
    assert next_line(both) == "waiting for 2 of 3 GPUs that other jobs hold"
    # The job holds a GPU only for microseconds per second while it checks.
    one = start(1)
    assert next_line(one) == having(first_gpu)


def test_a_number_and_a_uuid_can_name_the_same_gpu(machine: Callable[[int], list[str]], start: Start) -> None:
    uuids = machine(2)
    assert next_line(start(1, "0,1")) == having("0")
    assert next_line(start(1, ",".join(uuids))) == having(uuids[1])
    assert next_line(start(1, "1,0")) == "waiting for 1 of 2 GPUs that other jobs hold"


@pytest.mark.parametrize("named", [None, "", " 0,1"])
def test_the_environment_is_restored_afterwards(
    named: str | None, machine: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2)
    if named is not None:
        monkeypatch.setenv(VISIBLE, named)
    for count in (0, 1, 2):
        with using_gpus(count):
            pass
        assert os.environ.get(VISIBLE) == named
        with pytest.raises(ZeroDivisionError), using_gpus(count):
            raise ZeroDivisionError
        assert os.environ.get(VISIBLE) == named


@pytest.mark.parametrize("body", [None, "echo 'No devices were found'", "echo 'NVIDIA-SMI has failed'; exit 9"])
def test_if_nvidia_smi_lists_no_gpu_torch_searches_itself(
    body: str | None, tmp_path: Path, machine: Callable[[int], list[str]]
) -> None:
    machine(0)
    if body:
        write_nvidia_smi(tmp_path, body)
    else:
        (tmp_path / "nvidia-smi").unlink()
    with using_gpus(1) as given:
        assert given == {}
        assert VISIBLE not in os.environ


def test_a_job_that_requests_too_many_gpus_gets_all_of_them(machine: Callable[[int], list[str]]) -> None:
    uuids = machine(2)
    with using_gpus(3) as given:
        assert given == {uuids[0]: "Stand-in 0", uuids[1]: "Stand-in 1"}
        assert os.environ[VISIBLE] == ",".join(uuids)


@pytest.mark.parametrize("named", [None, "1", "0,1"])
def test_a_job_with_a_gpu_calls_nvidia_smi_once_and_others_never(
    named: str | None, machine: Callable[[int], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(2)
    if named is not None:
        monkeypatch.setenv(VISIBLE, named)
    with using_gpus(0):
        assert not (tmp_path / "asked").exists()
    with using_gpus(1):
        assert len((tmp_path / "asked").read_text().splitlines()) == 1


def test_two_jobs_share_each_gpu_if_the_profile_says_so(machine: Callable[[int], list[str]], start: Start) -> None:
    """A job takes the GPU that fewest others hold, and waits if all are held twice."""
    first, second = machine(2)
    users = []
    for expected in (first, second, first, second):
        users.append(start(1, jobs_per_gpu=2))
        assert next_line(users[-1]) == having(expected)
    late = start(1, jobs_per_gpu=2)
    assert "waiting for 1 of 2 GPUs" in next_line(late)
    end(users[1])
    assert next_line(late) == having(second)
    for user in (*users[:1], *users[2:], late):
        end(user)
