"""Kill the workflow at random moments, restart it, and compare the results: `kills.py <kills> <folder>`.

A small study is run repeatedly. At random moments, Snakemake and all its jobs are killed (SIGKILL), as in a power
failure. The results of each finished study are compared with those of an undisturbed one. At the end, a line for each
rule gives the number of its kills.
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

# Mean number of seconds from the start of a job to the kill. Most kills happen during a job. Because some waits are
# many times as long, every job can finish at some point.
AVERAGE = 4.0
# Each rule gets at most 1/SHARES of the kills.
SHARES = 12


def begun(folder: Path) -> dict[str, float]:
    """The time at which each job's log was created or last written, by `<rule>/<name>`."""
    logs = folder / "logs"
    return {path.relative_to(logs).as_posix(): path.stat().st_mtime for path in logs.rglob("*.log")}


def kill_once(folder: Path, chance: random.Random, spared: set[str]) -> list[str] | None:
    """Start the study and kill it some time after a job has started, unless only spared rules are running.

    Returns the rules that were running, or None if the study ended before.
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
    """Prepare a study that has not been started."""
    write_config(folder, SMALL)


def attack(
    kills: int, folder: Path, undisturbed: Path, begin: Callable[[Path], None] = from_the_beginning, seed: int = 0
) -> tuple[Counter[str], int, list[str]]:
    """Kill the study `kills` times; returns the kills of each rule, the number of studies, and the differences.

    `begin` prepares a study in a folder. A rule that has had its share of kills is spared, so that rules with short
    jobs get theirs in later studies.
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
        if done == before:  # all rules that it ran have had their share
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
