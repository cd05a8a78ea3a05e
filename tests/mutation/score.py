"""Mutation testing: the share of random faults that the tests detect: `python tests/mutation/score.py [modules]`.

Without arguments, all modules are tested. mutmut mutates each module in its own folder, `mutants/<module>`; there,
`mutmut results` and `mutmut show <mutant>` show which mutants survived. Only the module's own unit tests are run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

REPOSITORY = Path(__file__).parents[2]
MODULES = {
    "intervals": ("wbcsr/stats/intervals.py", ["test_statistics.py"]),
    "split": ("wbcsr/dataset/split.py", ["test_split.py", "test_labels.py"]),
    "table": ("wbcsr/present/table.py", ["test_table.py", "test_tables.py"]),
    "ingest": ("wbcsr/dataset/ingest.py", ["test_ingest.py", "test_labels.py"]),
}
PROCESSES = 2


def prepare(name: str) -> Path:
    """Make a new folder with the sources as mutmut expects them and its configuration for one module."""
    folder = REPOSITORY / "mutants" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "src").symlink_to(REPOSITORY / "scripts")
    for part in ("tests", "config"):
        (folder / part).symlink_to(REPOSITORY / part)
    module, tests = MODULES[name]
    own = [
        f'only_mutate = ["src/{module}"]',
        f"pytest_add_cli_args_test_selection = {[f'tests/unit/{file}' for file in tests]}",
    ]
    settings = (REPOSITORY / "pyproject.toml").read_text()
    table = "[tool.mutmut]\n"
    (folder / "pyproject.toml").write_text(settings.replace(table, table + "\n".join(own) + "\n"))
    return folder


def counted(name: str, folder: Path) -> str:
    found = folder / "mutants" / "src" / f"{MODULES[name][0]}.meta"
    exit_codes = json.loads(found.read_text())["exit_code_by_key"]
    statuses = Counter(status_by_exit_code[code] for code in exit_codes.values())
    detected = statuses["killed"] + statuses["timeout"]
    listed = ", ".join(f"{number} {status}" for status, number in statuses.most_common())
    return f"{name}: {detected / len(exit_codes):.1%} of {len(exit_codes)} mutants detected ({listed})"


def main(names: list[str]) -> None:
    lines = []
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(PROCESSES)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    for name in names or MODULES:
        folder = prepare(name)
        subprocess.run(command, cwd=folder, env=environment, check=True)
        lines.append(counted(name, folder))
    print(*lines, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
