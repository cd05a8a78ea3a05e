"""A real SLURM for the tests of this folder, and a study that went through it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, lacking
from runs import Study
from studies import SMALL, write_config


@pytest.fixture(scope="session")
def slurm(tell: Callable[[str], None]) -> Iterator[Cluster]:
    """SLURM itself, started and stopped by the tests. Its GPUs are a mock: device files that answer like /dev/null."""
    if reason := lacking():
        pytest.skip(f"no SLURM to start: {reason}; submitting jobs and their faults were not looked at")
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        tell(f"SLURM recorded {cluster.recorded()} jobs of these tests")
        if left := cluster.stop():
            tell(f"SLURM left processes of its own: {left}")


@pytest.fixture(scope="session")
def whole_study(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The small study from drawn smears to the report, each job submitted by the profile as it is."""
    folder = tmp_path_factory.mktemp("slurm")
    write_config(folder, SMALL)
    study = Study(folder, slurm)
    study.cut_the_network()
    status = study.start("--jobs", "6").finish(seconds=1800)
    assert status == 0, study.output()
    return study


@pytest.fixture
def study(whole_study: Study, tmp_path: Path) -> Iterator[Study]:
    """A copy of the whole study, for a test to do its work again in."""
    copy = Study(tmp_path / "study", whole_study.slurm)
    # Results are put in place by renaming, so the files themselves can be shared; what is appended to cannot.
    shutil.copytree(whole_study.folder, copy.folder, ignore=shutil.ignore_patterns("results", "guard"))
    whole_study.link_results(copy.folder)
    yield copy
    copy.end()
