"""A workflow that is killed repeatedly gives the same results as an undisturbed one."""

from __future__ import annotations

import shutil
from pathlib import Path

from kills import attack
from studies import CLASSES, copy_study


def test_a_workflow_killed_at_random_moments_gives_the_undisturbed_results(small_study: Path, tmp_path: Path) -> None:
    """A few kills, starting with the upscaling; `python tests/workflow/kills.py 200 <folder>` is the long version."""

    def start_before_upscaling(folder: Path) -> None:
        copy_study(small_study, folder)
        results = folder / "results"
        shutil.rmtree(results / "images" / "realesrgan_x4" / "TRAIN" / CLASSES[0])
        for path in (results / "packed").glob("realesrgan_x4*"):
            path.unlink()
        # What is made of the images of other variants stays.
        for training in ("realesrgan_x4", "dual"):
            shutil.rmtree(results / "runs" / "paper" / training)
            shutil.rmtree(results / "predictions" / "paper" / training)
        for name in ("changes", "tables", "figures", "report"):
            shutil.rmtree(results / name)

    struck, _, found = attack(3, tmp_path, small_study, start_before_upscaling)
    assert found == []
    assert sum(struck.values()) >= 3
