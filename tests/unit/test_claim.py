"""The claim to a job's outputs, tested between real processes: the later job holds it, the earlier one stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import IO

import pytest

from originals import originals
from wbcsr.claim import claiming, require_claim
from wbcsr.errors import InputError
from wbcsr.files import write_if_changed, write_text
from wbcsr.upscale import store
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import upscale_shard

SECONDS = 120.0

# Holds the claim to its output and writes its name to each file named on stdin; "end" ends it.
JOB = """
import sys
from wbcsr.claim import claiming
from wbcsr.errors import InputError
from wbcsr.files import write_text
output, name = sys.argv[1:]
try:
    with claiming(output):
        print("holds", flush=True)
        for line in iter(lambda: sys.stdin.readline().strip(), "end"):
            write_text(line, name)
            print("wrote", flush=True)
except InputError as error:
    print(error, flush=True)
    sys.exit(1)
"""

# Holds the claim to a relative output; its child process, in the folder `elsewhere`, writes a file for each line on
# stdin.
JOB_WITH_A_CHILD = """
import subprocess, sys
from wbcsr.claim import claiming
output, elsewhere, file = sys.argv[1:]
child = "import sys; from wbcsr.files import write_text; write_text(sys.argv[1], 'child')"
with claiming(output):
    for _ in range(2):
        print("holds", flush=True)
        sys.stdin.readline()
        done = subprocess.run([sys.executable, "-c", child, file], cwd=elsewhere, capture_output=True, text=True)
        print(done.returncode, *done.stderr.splitlines()[-1:], flush=True)
"""

# Upscales the images of a shard; before its fourth batch, it waits for a line on stdin.
SHARD = """
import sys
from pathlib import Path
from wbcsr.claim import claiming
from wbcsr.errors import InputError
from wbcsr.upscale.interpolation import Interpolation
from wbcsr.upscale.shard import upscale_shard

class Waiting(Interpolation):
    calls = 0
    def __call__(self, images):
        Waiting.calls += 1
        if Waiting.calls == 7:  # each of the first batches has two kinds of image, so it is two calls
            print("waits", flush=True)
            sys.stdin.readline()
        return super().__call__(images)

source, manifest = map(Path, sys.argv[1:])
try:
    with claiming(manifest):
        upscale_shard(source, manifest, 1, 1, Waiting("bicubic", 4, 2), 2)
except InputError as error:
    print(error, flush=True)
    sys.exit(1)
"""


class Process:
    """A real process that exchanges lines with the test; it is killed after a time limit and then answers nothing."""

    def __init__(
        self, program: str, *arguments: str | Path, folder: Path | None = None, job: str | None = None
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in ("WBCSR_CLAIM", "SLURM_JOB_ID")}
        environment |= {"SLURM_JOB_ID": job} if job else {}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.clock = Timer(SECONDS, self.process.kill)
        self.clock.start()

    def read_line(self) -> str:
        return _open(self.process.stdout).readline().rstrip("\n")

    def write_line(self, line: str | Path) -> None:
        stdin = _open(self.process.stdin)
        stdin.write(f"{line}\n")
        stdin.flush()

    def end(self) -> int:
        """Require that there is no further output; returns the exit status."""
        assert _open(self.process.stdout).read() == ""
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        self.clock.cancel()
        for stream in (self.process.stdin, self.process.stdout):
            _open(stream).close()


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def new(*arguments: str | Path, folder: Path | None = None, job: str | None = None) -> Process:
        started.append(Process(*map(str, arguments), folder=folder, job=job))
        return started[-1]

    yield new
    for process in started:
        process.kill()


@pytest.mark.parametrize("job", [None, "4711"])
def test_a_later_job_stops_the_earlier_one_at_its_next_file(job: str | None, tmp_path: Path, start: Start) -> None:
    output, kept = tmp_path / "a.csv", tmp_path / "b.csv"
    earlier = start(JOB, output, "earlier")
    assert earlier.read_line() == "holds"
    earlier.write_line(kept)
    assert earlier.read_line() == "wrote"
    later = start(JOB, output, "later", job=job)
    assert later.read_line() == "holds"
    later.write_line(output)
    assert later.read_line() == "wrote"
    earlier.write_line(output)
    line = earlier.read_line()
    assert line.startswith(f"{tmp_path}: a newer job has taken over these files (")
    assert (f"(SLURM job {job} on " if job else f"(process {later.process.pid} on ") in line
    assert earlier.end() == 1
    assert (output.read_text(), kept.read_text()) == ("later", "earlier")
    # The end of the earlier job does not take the claim from the later one.
    later.write_line(output)
    assert later.read_line() == "wrote"
    later.write_line("end")
    assert later.end() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv"]


@pytest.mark.parametrize("elsewhere", [".", "another"])
def test_a_child_process_respects_the_claim(elsewhere: str, tmp_path: Path, start: Start) -> None:
    (tmp_path / "another").mkdir()
    file = tmp_path / "b.csv"
    earlier = start(JOB_WITH_A_CHILD, "results/a.csv", elsewhere, file, folder=tmp_path)
    assert earlier.read_line() == "holds"
    earlier.write_line("go")
    assert earlier.read_line() == "0"
    assert earlier.read_line() == "holds"
    file.write_text("later")
    with claiming(tmp_path / "results" / "a.csv"):
        earlier.write_line("go")
        answer = earlier.read_line()
    assert answer.startswith("1 wbcsr.errors.InputError: ")
    assert f"a newer job has taken over these files (process {os.getpid()} on " in answer
    assert file.read_text() == "later"


@pytest.mark.parametrize("error", [None, RuntimeError("broken")])
def test_the_claim_is_released_when_the_job_ends(error: Exception | None, tmp_path: Path) -> None:
    def work() -> None:
        with claiming(tmp_path / "results" / "a.csv"):
            assert [path.name for path in (tmp_path / "results").iterdir()] == [".a.csv.claim"]
            if error:
                raise error

    if error:
        with pytest.raises(RuntimeError, match="broken"):
            work()
    else:
        work()
    assert list((tmp_path / "results").iterdir()) == []
    assert "WBCSR_CLAIM" not in os.environ


def test_the_next_job_takes_over_the_claim_of_a_killed_job(tmp_path: Path, start: Start) -> None:
    output = tmp_path / "a.csv"
    killed = start(JOB, output, "killed")
    assert killed.read_line() == "holds"
    killed.process.kill()
    assert killed.end() == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [".a.csv.claim"]
    following = start(JOB, output, "next")
    assert following.read_line() == "holds"
    following.write_line(output)
    assert following.read_line() == "wrote"
    following.write_line("end")
    assert following.end() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_later_job_stops_the_earlier_one_even_after_it_has_ended(tmp_path: Path, start: Start) -> None:
    output = tmp_path / "a.csv"
    earlier = start(JOB, output, "earlier")
    assert earlier.read_line() == "holds"
    with claiming(output):
        write_text(output, "later")
    earlier.write_line(output)
    assert "(it has ended by now); this one stops" in earlier.read_line()
    assert earlier.end() == 1
    assert output.read_text() == "later"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_files_can_be_written_without_a_claim(tmp_path: Path, start: Start) -> None:
    output = tmp_path / "a.csv"
    other = start(JOB, output, "other")
    assert other.read_line() == "holds"
    require_claim()
    write_text(output, "mine")
    assert output.read_text() == "mine"


def test_a_claim_that_cannot_be_written_names_the_output(tmp_path: Path) -> None:
    output, in_the_way = tmp_path / "a.csv", tmp_path / ".a.csv.claim"
    in_the_way.mkdir()
    with pytest.raises(OSError, match=r"a\.csv") as raised, claiming(output):
        pass
    assert raised.value.filename == str(output)
    assert list(tmp_path.iterdir()) == [in_the_way]
    assert "WBCSR_CLAIM" not in os.environ


def test_an_earlier_shard_stops_at_its_next_image_and_the_later_one_continues(tmp_path: Path, start: Start) -> None:
    source, manifest = originals(tmp_path / "original", 16), tmp_path / "twice" / "manifest_1of1.csv"
    earlier = start(SHARD, source, manifest)
    assert earlier.read_line() == "waits"
    ledger, end = manifest.with_name(".manifest_1of1.ledger"), time.monotonic() + SECONDS
    while len(ledger.read_text().split("\n{")) <= 6 and time.monotonic() < end:
        time.sleep(0.02)
    finished = {path.name: path.stat().st_mtime_ns for path in manifest.parent.glob("_*.png")}
    assert len(finished) == 6
    with claiming(manifest):
        earlier.write_line("go on")
        assert f"a newer job has taken over these files (process {os.getpid()} on " in earlier.read_line()
        assert earlier.end() == 1
        assert {path.name for path in manifest.parent.glob("_*.png")} == finished.keys()
        summary = upscale_shard(source, manifest, 1, 1, Interpolation("bicubic", 4, 2), 2)["upscaling"]
    assert (summary["images"], summary["images_kept"]) == (16, 6)
    assert {name: manifest.with_name(name).stat().st_mtime_ns for name in finished} == finished
    undisturbed = tmp_path / "undisturbed" / "manifest_1of1.csv"
    upscale_shard(source, undisturbed, 1, 1, Interpolation("bicubic", 4, 2), 2)
    once, twice = ({path.name: path.read_bytes() for path in file.parent.iterdir()} for file in (undisturbed, manifest))
    assert once == twice


def test_an_image_is_not_recorded_if_the_claim_was_lost_while_writing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, manifest = originals(tmp_path / "original", 1), tmp_path / "twice" / "manifest_1of1.csv"

    def write_and_lose_the_claim(path: Path, content: bytes) -> str:
        digest = write_if_changed(path, content)
        manifest.with_name(".manifest_1of1.csv.claim").write_text("another SLURM job 4711 on node7")
        return digest

    monkeypatch.setattr(store, "write_if_changed", write_and_lose_the_claim)
    with pytest.raises(InputError, match=r"twice: .*\(SLURM job 4711 on node7\); this one stops"), claiming(manifest):
        upscale_shard(source, manifest, 1, 1, Interpolation("bicubic", 4, 2), 2)
    assert manifest.with_name(".manifest_1of1.ledger").read_text() == ""
    assert not manifest.exists()
