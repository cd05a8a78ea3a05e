"""Kill the workflow at random moments, start it again, and compare what it ends with: `kills.py <kills> <folder>`.

A small study is run to its end over and over, and at random moments Snakemake and all its jobs get a SIGKILL, as from a
machine that loses its power; after each study that came to its end its results are held against those of an undisturbed
one. Ends with a line for each rule: how many times it was killed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from compared import differences
from studies import SMALL, command, run, write_config

# Seconds from a job's beginning to the kill, on average: most jobs are struck in their midst, and since now and then
# the wait is many times as long, none is kept from ever ending.
AVERAGE = 4.0
# One rule gets at most this part of the kills.
SHARES = 12


def begun(folder: Path) -> dict[str, float]:
    """When each job's log was begun or written last, by `<rule>/<name>`."""
    logs = folder / "logs"
    return {path.relative_to(logs).as_posix(): path.stat().st_mtime for path in logs.rglob("*.log")}


def kill_once(folder: Path, chance: random.Random, spared: set[str]) -> list[str] | None:
    """Start the study and kill it a while after a job has begun, unless only rules that are spared run then.

    The rules that ran, or None where it ended before.
    """
    known = begun(folder)
    process = subprocess.Popen(
        command(folder, "--rerun-incomplete", "--nolock"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while process.poll() is None:
        now = begun(folder)
        running = {name.split("/")[0] for name, time_of in now.items() if known.get(name) != time_of}
        if not running - spared:
            time.sleep(0.05)
            known = now
            continue
        try:
            process.wait(timeout=chance.expovariate(1 / AVERAGE))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return sorted(running)
    if process.returncode:
        raise AssertionError(f"{folder}: ended with status {process.returncode}")
    return None


def from_the_beginning(folder: Path) -> None:
    """A study of which nothing is done."""
    write_config(folder, SMALL)


def attack(
    kills: int, folder: Path, undisturbed: Path, begin: Callable[[Path], None] = from_the_beginning, seed: int = 0
) -> tuple[Counter[str], int, list[str]]:
    """Kill so many times; how often a job of each rule was struck or had just ended, studies, and what differs.

    `begin` has a folder hold a study that is to be ended. A rule that had its share is spared, so that those with short
    jobs get theirs in the studies that follow.
    """
    chance = random.Random(seed)
    share = -(-kills // SHARES)
    struck: Counter[str] = Counter()
    done, studies, found = 0, 0, []
    while done < kills:
        studies += 1
        study = folder / f"study{studies}"
        begin(study)
        before = done
        while (rules := kill_once(study, chance, {rule for rule in struck if struck[rule] >= share})) is not None:
            done += 1
            struck.update(rules)
            print(f"{done} kills, study {studies}: {', '.join(rules)}", flush=True)
            if done >= kills:
                result = run(study, "--rerun-incomplete", "--nolock")
                if result.returncode:
                    raise AssertionError(result.stdout)
                break
        differ = differences(study, undisturbed)
        found += [f"study {studies}: {name}" for name in differ]
        print(f"study {studies}: {len(differ)} differences {differ[:5]}", flush=True)
        shutil.rmtree(study / "results")
        if done == before:  # all that it ran had their share
            share += 1
    return struck, studies, found


def main() -> int:
    kills, folder = int(sys.argv[1]), Path(sys.argv[2])
    undisturbed = folder / "undisturbed"
    write_config(undisturbed, SMALL)
    result = run(undisturbed)
    if result.returncode:
        sys.exit(result.stdout)
    struck, studies, found = attack(kills, folder, undisturbed)
    print("\n".join(f"{rule}: {number}" for rule, number in sorted(struck.items())))
    print(f"{kills} kills in {studies} studies, {len(found)} differences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
