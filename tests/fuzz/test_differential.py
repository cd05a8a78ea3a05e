"""Image files with all options of their formats are decoded correctly, or rejected if they must be."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

DIFFERENTIAL = Path(__file__).with_name("differential.py")


def test_decoded_pixels_equal_the_written_ones_for_all_options(
    tmp_path: Path, add_to_summary: Callable[[str], None]
) -> None:
    command = [sys.executable, str(DIFFERENTIAL), "all", "0"]  # 0 seconds: no random files after those for all pairs
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
    done = re.findall(r"^([\w-]+): (\d+) files, (\d+) alike, (\d+) refused, 0 wrong$", result.stdout, re.MULTILINE)
    assert {name for name, *_ in done} == {"tiff", "pillow-tiff", "png", "jpeg", "bmp", "webp"}
    for name, _, alike, _ in done:
        assert int(alike) >= 30, name
    add_to_summary("; ".join(result.stdout.splitlines()))
