"""A workflow that is killed again and again ends as one that was left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from kills import attack
from studies import CLASSES, copy_study


def test_killed_at_random_moments_it_ends_as_if_undisturbed(small_study: Path, tmp_path: Path) -> None:
    """A few of them, from the enlarging on; `python tests/workflow/kills.py 200 <folder>` is the long run."""

    def from_the_enlarging_on(folder: Path) -> None:
        copy_study(small_study, folder)
        results = folder / "results"
        shutil.rmtree(results / "images" / "realesrgan_x4" / "TRAIN" / CLASSES[0])
        for path in (results / "packed").glob("realesrgan_x4*"):
            path.unlink()
        # What is made of the images of other variants stays.
        for training in ("realesrgan_x4", "dual"):
            shutil.rmtree(results / "runs" / "paper" / training)
            shutil.rmtree(results / "predictions" / "paper" / training)
        for name in ("fidelity", "changes", "tables", "figures", "report"):
            shutil.rmtree(results / name)

    struck, _, found = attack(3, tmp_path, small_study, from_the_enlarging_on)
    assert found == []
    assert sum(struck.values()) >= 3
