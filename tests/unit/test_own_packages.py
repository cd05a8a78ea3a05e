"""PYTHONPATH may name folders, unless they hide packages of the environment."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from wbcsr.errors import InputError
from wbcsr.own_packages import require_own_packages

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_a_module_that_hides_packages_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "apps" / "site-packages"
    for package in ("numpy", "unknown_to_us"):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPTS), "", str(site)]))
    with pytest.raises(InputError, match=f"PYTHONPATH: {site} has numpy, .*`unset PYTHONPATH`"):
        require_own_packages()


@pytest.mark.parametrize("value", ["", str(SCRIPTS), "/not/there", sysconfig.get_path("purelib")])
def test_our_library_empty_folders_and_the_environment_itself_hide_nothing(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", value)
    require_own_packages()


def test_folders_with_other_packages_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    require_own_packages()
