"""A real SLURM for the tests of this folder, and a study that was run on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, lacking
from runs import Study
from studies import SMALL, write_config


@pytest.fixture(scope="session")
def slurm(add_to_summary: Callable[[str], None]) -> Iterator[Cluster]:
    """SLURM, started and stopped by the tests. Device files that behave like /dev/null simulate its GPUs."""
    if reason := lacking():
        pytest.skip(f"jobs on SLURM and their faults were not tested: {reason}")
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        add_to_summary(f"SLURM recorded {cluster.recorded()} jobs of these tests")
        if left := cluster.stop():
            add_to_summary(f"SLURM did not stop these processes: {left}")


@pytest.fixture(scope="session")
def whole_study(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The small study on synthetic images, complete up to the report; its jobs use the SLURM profile."""
    folder = tmp_path_factory.mktemp("slurm")
    write_config(folder, SMALL)
    study = Study(folder, slurm)
    study.cut_the_network()
    status = study.start("--jobs", "6").finish(seconds=1800)
    assert status == 0, study.output()
    return study


@pytest.fixture
def study(whole_study: Study, tmp_path: Path) -> Iterator[Study]:
    """A copy of the whole study, in which a test can repeat parts of the work."""
    copy = Study(tmp_path / "study", whole_study.slurm)
    # Results are renamed into place, so the files can be shared by hard links; files that jobs append to cannot.
    shutil.copytree(whole_study.folder, copy.folder, ignore=shutil.ignore_patterns("results", "guard"))
    whole_study.link_results(copy.folder)
    yield copy
    copy.end()
