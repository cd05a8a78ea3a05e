"""A bundle is packed from a small repository, arrives in parts, and runs commands until a limit."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from wbcsr import bundle

REPOSITORY = Path(__file__).parents[2]
IMAGES = [f"{partition}/A/{number}.jpeg" for partition in ("TRAIN", "TEST") for number in range(5)]


def git(folder: Path, *arguments: str) -> None:
    settings = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", str(folder), *settings, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one file, a wheel, and an archive of `IMAGES`."""
    folder = tmp_path / "repository"
    (folder / "wheelhouse").mkdir(parents=True)
    (folder / "Makefile").write_text("setup-site:\n")
    git(folder, "init")
    git(folder, "add", "Makefile")
    git(folder, "commit", "-m", "first")
    (folder / "wheelhouse" / "a.whl").write_bytes(random.Random(0).randbytes(50_000))
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for number, image in enumerate(IMAGES):
            archive.writestr(f"set/images/{image}", random.Random(number).randbytes(2000))
    return folder


@pytest.fixture
def packed(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of several parts."""
    monkeypatch.setattr(bundle, "PART", 20_000)
    bundle.pack(repository, tmp_path / "bundle", [repository / "wheelhouse"], repository / "archive.zip")
    return tmp_path / "bundle"


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*"))


def test_parts_are_small_and_their_hashes_are_listed(packed: Path) -> None:
    assert len(parts(packed)) > 3
    assert max(part.stat().st_size for part in parts(packed)) == 20_000
    listed = dict(line.split()[::-1] for line in (packed / bundle.LIST).read_text().splitlines())
    assert listed == {part.name: hashlib.sha256(part.read_bytes()).hexdigest() for part in parts(packed)}
    assert {file.name for file in packed.iterdir()} == {*listed, bundle.LIST, "bundle.py", "run.sh"}


def test_a_bundle_is_unpacked_once(packed: Path, repository: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert bundle.unpack(packed, work)
    code = work / bundle.CODE
    assert (code / "wheelhouse" / "a.whl").read_bytes() == (repository / "wheelhouse" / "a.whl").read_bytes()
    assert (code / "data" / "archive.zip").read_bytes() == (repository / "archive.zip").read_bytes()
    assert re.fullmatch(r"[0-9a-f]{7,40}\n", (code / "commit.txt").read_text())
    (code / "Makefile").write_text("changed here\n")
    assert bundle.unpack(packed, work)
    assert (code / "Makefile").read_text() == "changed here\n"


def test_parts_may_arrive_one_after_another(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each part replaces the one before, as on a machine to which only one part can be copied at a time."""
    arriving, work = tmp_path / "arriving", tmp_path / "work"
    names = [part.name for part in parts(packed)]
    for count, name in enumerate(reversed(names), 1):
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir()
        for file in (name, bundle.LIST):
            shutil.copy(packed / file, arriving)
        assert bundle.unpack(arriving, work) == (count == len(names))
        said = re.findall(r"part-\d+", capsys.readouterr().out)
        assert said == names[: len(names) - count]
    assert (work / bundle.CODE / "Makefile").is_file()


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"x" + content[1:]])
def test_a_damaged_part_is_refused_by_name(
    damage: object, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = parts(packed)[1]
    good = part.read_bytes()
    part.write_bytes(damage(good))  # type: ignore[operator]
    assert not bundle.unpack(packed, tmp_path / "work")
    assert re.findall(r"part-\d+", capsys.readouterr().err) == [part.name]
    assert not (tmp_path / "work" / bundle.CODE).exists()
    part.write_bytes(good)
    assert bundle.unpack(packed, tmp_path / "work")


def test_another_bundle_is_not_unpacked_over_the_first(packed: Path, tmp_path: Path) -> None:
    bundle.unpack(packed, tmp_path / "work")
    (packed / bundle.LIST).write_text(f"{64 * '0'}  part-01\n")
    with pytest.raises(SystemExit, match=r"work: has another bundle"):
        bundle.unpack(packed, tmp_path / "work")


def test_only_listed_images_are_packed(repository: Path, tmp_path: Path) -> None:
    listed = tmp_path / "images.csv"
    listed.write_text(f"image,class\n{IMAGES[7]},A\n{IMAGES[2]},A\n{IMAGES[2]},A\n")
    copy = bundle.chosen(repository / "archive.zip", listed, tmp_path / "copy.zip")
    with zipfile.ZipFile(copy) as archive:
        assert archive.namelist() == [f"set/images/{IMAGES[7]}", f"set/images/{IMAGES[2]}"]
        assert archive.read(archive.namelist()[1]) == random.Random(2).randbytes(2000)


@pytest.mark.parametrize(
    ("images", "archive", "named"),
    [
        ("image\nTRAIN/A/9.jpeg\n", "archive.zip", r"images\.csv: .* has no image TRAIN/A/9\.jpeg"),
        ("file\nTRAIN/A/1.jpeg\n", "archive.zip", r"images\.csv: .*column named image"),
        ("image\n", "archive.zip", r"images\.csv: has no rows"),
        ("image\nTRAIN/A/1.jpeg\n", "Makefile", r"Makefile: is not a zip file"),
    ],
)
def test_a_wrong_list_or_archive_is_named(
    images: str, archive: str, named: str, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "images.csv").write_text(images)
    with pytest.raises(SystemExit, match=rf"^error: .*{named}"):
        bundle.chosen(repository / archive, tmp_path / "images.csv", tmp_path / "copy.zip")


def table_of(images: list[str], name: str = "source") -> str:
    return f"image,{name}\n" + "".join(f"{image},1\n" for image in images)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (table_of([*IMAGES, "TEST/A/9.jpeg"]), r"sources\.csv: the bundle has no image TEST/A/9\.jpeg"),
        (table_of(IMAGES[:-1]), rf"sources\.csv: has no row for set/images/{re.escape(IMAGES[-1])}"),
        (table_of(IMAGES, "photograph"), r"sources\.csv: .*column named source"),
        (None, r"sources\.csv: is missing"),
    ],
    ids=["too many", "too few", "another table", "no table"],
)
def test_a_table_of_sources_that_does_not_fit_is_named_before_packing_ends(
    table: str | None, named: str, repository: Path, tmp_path: Path
) -> None:
    """On the node, the study would stop only after the parts were copied."""
    sources = tmp_path / "sources.csv"
    if table:
        sources.write_text(table)
    with pytest.raises(SystemExit, match=rf"^error: .*{named}"):
        bundle.pack(repository, tmp_path / "bundle", [], repository / "archive.zip", sources=sources)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:3]])
def test_a_table_of_sources_is_packed_with_its_images(images: list[str], repository: Path, tmp_path: Path) -> None:
    sources = tmp_path / "sources.csv"
    sources.write_text(table_of(images))
    bundle.pack(repository, tmp_path / "bundle", [], repository / "archive.zip", images=sources, sources=sources)
    assert bundle.unpack(tmp_path / "bundle", tmp_path / "work")
    assert (tmp_path / "work" / bundle.CODE / "data" / "sources.csv").read_text() == sources.read_text()


# Writes a result, starts a process of its own, and then waits; the argument says which signals both ignore.
WAITING = """
import pathlib, signal, subprocess, sys, time
for name in sys.argv[1].split():
    signal.signal(getattr(signal, name), signal.SIG_IGN)
pathlib.Path("results").mkdir(exist_ok=True)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("results/finished.csv").write_text(f"{child.pid}")
print("waiting", flush=True)
time.sleep(600)
"""


def ended(process: int) -> bool:
    """Whether the process ends within seconds; a zombie has ended."""
    stat, late = Path(f"/proc/{process}/stat"), time.monotonic() + 10
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        if time.monotonic() > late:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("UPDATE", 0.2), ("ENDING", 1.0), ("TERMINATING", 0.5), ("WRITING", 0.5)):
        monkeypatch.setattr(bundle, name, seconds)


@pytest.mark.parametrize("ignored", ["", "SIGINT", "SIGINT SIGTERM"])
def test_a_command_is_stopped_at_its_limit_and_its_results_are_packed(
    ignored: str, soon: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log, archive = tmp_path / "out" / "study.log", tmp_path / "out" / "study.zip"
    started = time.monotonic()
    status = bundle.run([sys.executable, "-c", WAITING, ignored], 4, log, archive, tmp_path, ["results/*"])
    assert (status, time.monotonic() - started < 6) == (124, True)
    with zipfile.ZipFile(archive) as packed:
        assert ended(int(packed.read("results/finished.csv")))
    assert log.read_text().startswith("waiting")
    assert "stopped" in log.read_text()
    assert {file.name for file in log.parent.iterdir()} == {"study.log", "study.zip"}


def test_results_are_packed_when_the_machine_ends_the_command(tmp_path: Path) -> None:
    """A batch system sends SIGTERM before its own limit."""
    run = ["run", "600", "out/a.log", "out/a.zip", ".", "--keep", "results/*", "--", sys.executable, "-c", WAITING, ""]
    process = subprocess.Popen([sys.executable, bundle.__file__, *run], cwd=tmp_path, stdout=subprocess.DEVNULL)
    finished = tmp_path / "results" / "finished.csv"
    while not (finished.is_file() and finished.read_text()):
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    assert process.wait(60) == 143
    with zipfile.ZipFile(tmp_path / "out" / "a.zip") as packed:
        assert ended(int(packed.read("results/finished.csv")))


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_of_a_command_that_ends_by_itself_is_kept(status: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"print('done'); raise SystemExit({status})"]
    assert bundle.run(command, 60, tmp_path / "a.log", tmp_path / "a.zip", tmp_path, []) == status
    assert (tmp_path / "a.log").read_text() == "done\n"


def test_the_most_important_results_fit_into_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "ARCHIVE", 260_000)
    for number, name in enumerate(("a", "b", "c", "d")):
        (tmp_path / name).write_bytes(random.Random(number).randbytes({"b": 50_000}.get(name, 20_000)))
    bundle.collect(tmp_path, ["c", "b", "*"], tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as packed:
        assert {*packed.namelist()} == {"seconds.csv", "c", "a", "left_out.txt"}
        assert packed.read("left_out.txt").decode().split() == ["b", "d"]
    assert (tmp_path / "results.zip").stat().st_size <= 260_000


def test_a_file_that_a_job_renames_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.part").write_text("unfinished")
    (tmp_path / "b").write_text("finished")
    read = Path.read_bytes

    def late(path: Path) -> bytes:
        (tmp_path / "a.part").unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", late)
    bundle.collect(tmp_path, ["*"], tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as packed:
        assert {*packed.namelist()} == {"seconds.csv", "b"}


def test_a_long_log_loses_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LOG", 1000)
    command = [sys.executable, "-c", "print(*range(1000), sep='\\n')"]
    bundle.run(command, 60, tmp_path / "a.log", tmp_path / "a.zip", tmp_path, [])
    lines = (tmp_path / "a.log").read_text().splitlines()
    assert (tmp_path / "a.log").stat().st_size <= 1000
    assert (lines[0], lines[-1]) == ("0", "999")


def test_the_table_of_seconds_adds_the_jobs_of_a_rule(tmp_path: Path) -> None:
    for name, seconds, end in (("predict/by_source/a.tsv", 3, 113), ("predict/b.tsv", 5, 120), ("doctor.tsv", 10, 110)):
        path = tmp_path / "benchmarks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:0{seconds}\n")
        os.utime(path, (end, end))
    rows = list(csv.DictReader(io.StringIO("\n".join(bundle.seconds_by_rule(tmp_path)))))
    assert rows == [
        {"rule": "doctor", "jobs": "1", "seconds": "10.0", "begin": "0.0", "end": "10.0"},
        {"rule": "predict", "jobs": "2", "seconds": "8.0", "begin": "10.0", "end": "20.0"},
    ]


def test_the_script_says_what_to_run_first(packed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "WORK": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run([packed / "run.sh", "study"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run.sh unpack" in done.stderr
    usage = subprocess.run([packed / "run.sh"], env=environment, capture_output=True, text=True, check=False)
    assert usage.returncode == 1
    assert all(f"run.sh {verb}" in usage.stderr for verb in ("unpack", "tests", "benchmark", "study"))


def test_the_script_unpacks_installs_and_leaves_a_log(packed: Path, tmp_path: Path) -> None:
    """`make setup-site` of this small repository does nothing."""
    environment = {**os.environ, "WORK": str(tmp_path / "work"), "PYTHON": sys.executable}
    environment["RESULTS"] = str(tmp_path / "back")
    last = parts(packed)[-1].rename(tmp_path / "late")
    for status, arrives in ((1, True), (0, False)):
        done = subprocess.run([packed / "run.sh", "unpack", "60"], env=environment, capture_output=True, check=False)
        assert (done.returncode, {file.name for file in (tmp_path / "back").iterdir()}) == (
            status,
            {"unpack.log", "unpack.zip"},
        )
        if arrives:
            last.rename(parts(packed)[0].with_name(f"part-{len(parts(packed)) + 1:02d}"))
    assert (tmp_path / "work" / bundle.CODE / "Makefile").is_file()


def test_a_folder_has_one_run_at_a_time_and_none_blocks_it_after_its_end(packed: Path, tmp_path: Path) -> None:
    """Snakemake is replaced: it says that it runs, and ends when a file appears."""
    code = tmp_path / "work" / bundle.CODE
    programs = code / ".venv-site" / "bin"
    programs.mkdir(parents=True)
    (code / ".venv-site" / "installed").touch()
    (code / "commit.txt").write_text("abc")
    snakemake = programs / "snakemake"
    snakemake.write_text(f"#!/bin/sh\ntouch {tmp_path}/runs\nwhile ! [ -e {tmp_path}/end ]; do sleep 0.1; done\n")
    snakemake.chmod(0o755)
    environment = {**os.environ, "WORK": str(tmp_path / "work"), "PYTHON": sys.executable}
    command = [packed / "run.sh", "benchmark", "60"]
    with subprocess.Popen(command, env={**environment, "RESULTS": str(tmp_path / "one")}) as first:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        second = subprocess.run(command, env={**environment, "RESULTS": str(tmp_path / "two")}, check=False)
        assert second.returncode != 0
        assert "another run.sh uses this folder" in (tmp_path / "two" / "benchmark.log").read_text()
        first.kill()  # as at a limit; Snakemake goes on for a moment
        (tmp_path / "end").touch()
    deadline = time.monotonic() + 60
    while subprocess.run(command, env={**environment, "RESULTS": str(tmp_path / "two")}, check=False).returncode:
        assert time.monotonic() < deadline


def test_the_bundled_weights_are_those_that_a_study_takes() -> None:
    from wbcsr.classify.networks import NETWORKS

    package = NETWORKS["efficientnet_lite0"].imagenet
    assert package
    listed = (REPOSITORY / "envs" / "weights-hashes.txt").read_text().splitlines()[1:]
    assert listed == [f"{package.requirement} --hash=sha256:{package.sha256}"]
