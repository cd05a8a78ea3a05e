"""A bundle: code, packages and data in parts that are small enough to copy to a machine without a network.

`make bundle` packs it. On the machine, `run.sh` (scripts/bundle.sh) unpacks it and runs commands for a limited time.
This module uses only Python's standard library, because a copy of it runs there before anything is installed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

# Sizes in bytes. Each of the commands unpack, tests, benchmark and study leaves a log and an archive; that of unpack is
# nearly empty. So the results are at most 48 MB in eight files.
PART = 60_000_000
ARCHIVE = 15_000_000
LOG = 700_000
# The names of the parts with their SHA-256, in the format of sha256sum.
LIST = "parts.sha256"
# The folder of the code in the bundle.
CODE = "wbcsr"
# Seconds between two updates of the archive of results, in case the whole machine is stopped.
UPDATE = 30.0
# Before the limit: seconds for a command to end after SIGINT, then after SIGTERM, then to write its archive.
ENDING, TERMINATING, WRITING = 10.0, 5.0, 5.0


def pack(
    repository: Path,
    folder: Path,
    wheels: Sequence[Path],
    archive: Path,
    images: Path | None = None,
    sources: Path | None = None,
) -> None:
    """Write a bundle to `folder`, which is replaced: run.sh, this module, the list, and parts of at most `PART` bytes.

    It contains the last commit of `repository`, the files in the folders `wheels`, the data set `archive` (a zip file;
    with `images`, a CSV file with a column `image`, only these images), and the table `sources`. Exits with a message
    if the archive is not a zip file or lacks an image of the list, or if `sources` does not fit the packed images.
    """
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    stream = beside / "bundle.tar"
    git = ["git", "-C", str(repository)]
    subprocess.run([*git, "archive", f"--prefix={CODE}/", f"--output={stream.resolve()}", "HEAD"], check=True)
    commit = subprocess.run(
        [*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=True
    ).stdout
    if commit.strip().endswith("-dirty"):
        print("warning: the bundle has the last commit; later changes are left out", file=sys.stderr)
    with tarfile.open(stream, "a") as tar, tempfile.TemporaryDirectory(dir=beside) as scratch:
        for wheel in (file for each in wheels for file in sorted(each.iterdir())):
            tar.add(wheel, f"{CODE}/{wheel.relative_to(repository)}")
        packed = chosen(archive, images, Path(scratch) / "archive.zip")
        tar.add(packed, f"{CODE}/data/archive.zip")
        if sources:
            check_sources(sources, packed)
            tar.add(sources, f"{CODE}/data/sources.csv")
        note = tarfile.TarInfo(f"{CODE}/commit.txt")
        note.size = len(commit.encode())
        tar.addfile(note, io.BytesIO(commit.encode()))
    lines: list[str] = []
    with open(stream, "rb") as file:
        while content := file.read(PART):
            part = beside / f"part-{len(lines) + 1:02d}"
            part.write_bytes(content)
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {part.name}\n")
    stream.unlink()
    (beside / LIST).write_text("".join(lines))
    shutil.copy(__file__, beside / "bundle.py")
    shutil.copy(Path(__file__).parents[1] / "bundle.sh", beside / "run.sh")
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    print(f"{folder}: {len(lines)} part{'s' * (len(lines) > 1)}, commit {commit.strip()}")


def chosen(archive: Path, images: Path | None, target: Path) -> Path:
    """Return `archive`, or a copy at `target` with only the images that the table `images` lists."""
    if not zipfile.is_zipfile(archive):
        sys.exit(f"error: {archive}: is not a zip file; pack the data set with `zip -r` and name the file as ARCHIVE=")
    if images is None:
        return archive
    rows = _rows(images, ["image"], "IMAGES=")
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as copy:
        members = _members(source)
        for image in dict.fromkeys(row["image"] for row in rows):
            if image not in members:
                sys.exit(f"error: {images}: {archive} has no image {image}; correct the list (IMAGES=)")
            copy.writestr(members[image], source.read(members[image]))
    return target


def check_sources(sources: Path, archive: Path) -> None:
    """Exit with a message if `sources` does not have a row for exactly the images in the folders that it names."""
    rows = _rows(sources, ["image", "source"], "SOURCES=")
    with zipfile.ZipFile(archive) as packed:
        members = _members(packed)
        files = packed.namelist()
    listed = {members.get(row["image"], ""): row["image"] for row in rows}
    if "" in listed:
        sys.exit(f"error: {sources}: the bundle has no image {listed['']}; take a table of the same images (SOURCES=)")
    kinds = {_kind(file) for file in listed}
    without = next((file for file in files if _kind(file) in kinds and file not in listed), None)
    if without:
        sys.exit(
            f"error: {sources}: has no row for {without}; add one, with an empty source if it is not known, or pack "
            f"only the images of the table (IMAGES={sources})"
        )


def _rows(table: Path, columns: Sequence[str], variable: str) -> list[dict[str, str]]:
    if not table.is_file():
        sys.exit(f"error: {table}: is missing; correct {variable}")
    with open(table, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    lacking = [column for column in columns if not rows or column not in rows[0]]
    if lacking:
        sys.exit(f"error: {table}: has no rows with a column named {lacking[0]}; correct {variable}")
    return rows


def _members(archive: zipfile.ZipFile) -> dict[str, str]:
    """The name in the archive of each file, by every end of its path."""
    return {
        "/".join(name.split("/")[start:]): name for name in archive.namelist() for start in range(name.count("/") + 1)
    }


def _kind(file: str) -> tuple[str, str]:
    """Folder and suffix."""
    path = PurePosixPath(file)
    return str(path.parent), path.suffix


def unpack(folder: Path, work: Path) -> bool:
    """Take the parts of a bundle in `folder`; return whether all have arrived, and the code is in the folder `work`.

    Parts with the listed SHA-256 are copied to `work`, so that they may be replaced by the next ones. The others are
    named. When none is missing, the bundle is unpacked once. Exits with a message if `work` has another bundle.
    """
    if not (folder / LIST).is_file():
        sys.exit(f"error: {folder / LIST}: is missing; copy it from the bundle")
    listed = (folder / LIST).read_text()
    hashes = {name: digest for digest, name in map(str.split, listed.splitlines())}
    stamp, taken = work / LIST, work / "parts"
    if stamp.is_file():
        if stamp.read_text() != listed:
            sys.exit(f"error: {work}: has another bundle; remove the folder, or set WORK to another one")
        print(f"{work / CODE}: was unpacked before")
        return True
    taken.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    damaged: list[str] = []
    for name, digest in hashes.items():
        if _sha256(taken / name) == digest:
            continue
        found = _sha256(folder / name)
        if found == digest:
            shutil.copyfile(folder / name, taken / f"{name}.copying")
            (taken / f"{name}.copying").replace(taken / name)
        else:
            (damaged if found else missing).append(name)
    for name in damaged:
        print(f"error: {folder / name}: its SHA-256 is not the one in {LIST}; copy it again", file=sys.stderr)
    if missing:
        print(f"missing: {', '.join(missing)}; copy them to {folder} and unpack again")
    if missing or damaged:
        print(f"{len(hashes) - len(missing) - len(damaged)} of {len(hashes)} parts are here")
        return False
    joined = ["cat", *(str(taken / name) for name in hashes)]
    with (
        subprocess.Popen(joined, stdout=subprocess.PIPE) as cat,
        tarfile.open(fileobj=cat.stdout, mode="r|") as tar,
    ):
        tar.extractall(work, filter="data")
    stamp.write_text(listed)
    shutil.rmtree(taken)
    print(f"{work / CODE}: unpacked")
    return True


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(command: Sequence[str], seconds: float, log: Path, archive: Path, folder: Path, kept: Sequence[str]) -> int:
    """Run `command` for at most `seconds`, its output in `log`; return its exit status, or 124 if the time was over.

    The results that exist, the files of `folder` that match the patterns `kept`, are packed to `archive` every `UPDATE`
    seconds and at the end. Before the limit, the processes of the command get SIGINT, later SIGTERM and SIGKILL.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    limit = time.monotonic() + seconds - WRITING
    ending = limit - ENDING - TERMINATING
    print(f"at most {seconds:.0f} s; output: {log}", flush=True)
    status = None
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while status is None and time.monotonic() < ending:
                collect(folder, kept, archive)
                status = _wait(process, min(UPDATE, ending - time.monotonic()))
        finally:
            # If the machine ends this process before the limit, little time is left, too.
            _end(process, min(limit, time.monotonic() + ENDING + TERMINATING))
            if status is None:
                output.write(f"\nstopped before it was finished, after at most {seconds:.0f} s\n".encode())
            output.close()
            collect(folder, kept, archive)
            print(_shorten(log))
    return 124 if status is None else status


def _shorten(log: Path) -> str:
    """Cut the middle out of a log of more than `LOG` bytes; return its last lines."""
    content = log.read_bytes()
    if len(content) > LOG:
        content = content[: LOG // 2 - 50] + b"\n(the middle of this log is left out)\n" + content[-LOG // 2 + 50 :]
        log.write_bytes(content)
    return "\n".join(content.decode(errors="replace").splitlines()[-20:])


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes], limit: float) -> None:
    """End all processes of the group by `limit`; if the command has ended by itself, those that it left behind."""
    for number, end in ((signal.SIGINT, limit - TERMINATING), (signal.SIGTERM, limit), (signal.SIGKILL, limit + 1)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        _wait(process, end - time.monotonic())


def collect(folder: Path, kept: Sequence[str], archive: Path) -> None:
    """Pack the files of `folder` that match `kept` (patterns, the most important ones first) into a zip file.

    Files that would make it larger than `ARCHIVE` bytes are left out and listed in it as left_out.txt. The table
    seconds.csv says how long the jobs of each Snakemake rule took.
    """
    files = dict.fromkeys(path for pattern in kept for path in sorted(folder.glob(pattern)) if path.is_file())
    beside = archive.with_name(f"{archive.name}.part")
    left_out: list[str] = []
    room = ARCHIVE - 200_000  # for seconds.csv and left_out.txt
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.writestr("seconds.csv", "\n".join(seconds_by_rule(folder)) + "\n")
        for file in files:
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                continue  # an unfinished file, which a job has renamed or removed since it was listed
            name = str(file.relative_to(folder))
            # A member has its name twice, and headers of about a hundred bytes.
            size = len(zlib.compress(content, 1)) + 2 * len(name.encode()) + 150
            if size > room:
                left_out.append(name)
                continue
            room -= size
            packed.writestr(name, content)
        if left_out:
            packed.writestr("left_out.txt", "\n".join(left_out)[:100_000] + "\n")
    beside.replace(archive)


def seconds_by_rule(folder: Path) -> Iterator[str]:
    """Lines of CSV: for each rule its number of jobs, their seconds in total, and begin and end of the first and last.

    From the files that Snakemake writes to `benchmarks` at the end of each job. Begin and end count from the first job.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    for path in (folder / "benchmarks").rglob("*.tsv"):
        with open(path, newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                end = path.stat().st_mtime
                rule = path.relative_to(folder / "benchmarks").parts[0].removesuffix(".tsv")
                spans.setdefault(rule, []).append((end - float(row["s"]), end))
    yield "rule,jobs,seconds,begin,end"
    first = min((begin for of in spans.values() for begin, _ in of), default=0.0)
    for rule, of in sorted(spans.items(), key=lambda item: min(item[1])):
        begin, end = min(begin for begin, _ in of) - first, max(end for _, end in of) - first
        yield f"{rule},{len(of)},{sum(end - begin for begin, end in of):.1f},{begin:.1f},{end:.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands `pack`, `unpack` and `run`; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--wheels", type=Path, nargs="+", required=True)
    packing.add_argument("--archive", type=Path, required=True)
    packing.add_argument("--images", type=Path)
    packing.add_argument("--sources", type=Path)
    unpacking = commands.add_parser("unpack")
    unpacking.add_argument("folder", type=Path)
    unpacking.add_argument("work", type=Path)
    running = commands.add_parser("run")
    running.add_argument("seconds", type=float)
    running.add_argument("log", type=Path)
    running.add_argument("archive", type=Path)
    running.add_argument("folder", type=Path)
    running.add_argument("--keep", nargs="+", default=[])
    running.add_argument("do", nargs="+", metavar="-- command")
    given = parser.parse_args(arguments)
    if given.command == "pack":
        here = Path.cwd()
        wheels = [here / each for each in given.wheels]
        pack(here, given.folder, wheels, given.archive, given.images, given.sources)
        return 0
    if given.command == "unpack":
        return 0 if unpack(given.folder, given.work) else 1
    # A machine's own limit ends this process with SIGTERM: then the results are packed, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run(given.do, given.seconds, given.log, given.archive, given.folder, given.keep)


if __name__ == "__main__":
    sys.exit(main())
