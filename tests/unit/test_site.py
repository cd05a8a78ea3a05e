"""The check of a site's own PyTorch prints a line for each part that is missing or too old. The site is simulated."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from wbcsr import site

GOOD = {"torch": "2.11.0+cu130", "torchvision": "0.26.0", "triton": "3.6.0"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheelhouse of a machine that has a C compiler, Python's headers and the packages of `GOOD`."""
    for name in ("Python.h", "gcc", "requirements.txt"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    have(monkeypatch, **GOOD)
    return tmp_path


def have(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(package: str) -> str:
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    monkeypatch.setattr(metadata, "version", version)


def test_a_good_site_has_no_problems(machine: Path) -> None:
    assert site.problems(machine) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"torch": "2.10.1"}, "torch: .* has 2.10.1; needed is 2.11 or newer"),
        ({"torch": "2.9.0a0+nv25.8"}, "torch: .* has 2.9"),
        ({"triton": "unknown"}, "triton: .* has unknown"),
        ({"torchvision": ""}, "torchvision: .* has none; needed is 0.26"),
    ],
)
def test_a_package_that_is_missing_or_too_old_is_named(
    changes: dict[str, str], named: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, **{name: version for name, version in (GOOD | changes).items() if version})
    (line,) = site.problems(machine)
    assert re.match(named, line)


@pytest.mark.parametrize("name", ["Python.h", "gcc", "requirements.txt"])
def test_other_missing_parts_are_named(name: str, machine: Path) -> None:
    (machine / name).unlink()
    (line,) = site.problems(machine)
    assert {"Python.h": "Python.h", "gcc": "C compiler", "requirements.txt": "wheelhouse"}[name] in line


def test_a_newer_site_is_good(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, torch="2.14.1", torchvision="0.29.1", triton="3.10.0")
    assert site.problems(machine) == []


def test_it_needs_no_other_package(tmp_path: Path) -> None:
    """`make setup-site` runs it with the site's Python. It prints all lines at once and exits with status 1."""
    command = [sys.executable, "-S", "-m", "wbcsr.site", str(tmp_path / "3.12")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert all(line.startswith("error: ") for line in lines)
    assert [line.split()[1] for line in lines][:3] == ["torch:", "torchvision:", "triton:"]


def test_an_environment_with_its_own_torch_is_not_a_sites() -> None:
    own = Path(str(metadata.distribution("torch").locate_file(""))).resolve()
    inside = own.is_relative_to(Path(sys.prefix).resolve())
    assert site.folder() == (None if inside else Path(str(metadata.distribution("torch").locate_file(""))))


def test_torch_outside_the_environment_is_the_sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "opt" / "site-packages"
    (place / "torch-2.11.0.dist-info").mkdir(parents=True)
    (place / "torch-2.11.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.11.0\n")
    monkeypatch.syspath_prepend(place)
    assert site.folder() == place
