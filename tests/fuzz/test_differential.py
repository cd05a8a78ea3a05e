"""Files of all options of their formats are decoded as they show, or refused where they must be."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

DIFFERENTIAL = Path(__file__).with_name("differential.py")
SECONDS = 12


def test_files_of_all_options_come_out_as_they_were_written(tmp_path: Path, tell: Callable[[str], None]) -> None:
    command = [sys.executable, str(DIFFERENTIAL), "all", str(SECONDS)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []
    done = re.findall(r"^([\w-]+): (\d+) files, (\d+) alike, (\d+) refused, 0 wrong$", result.stdout, re.MULTILINE)
    assert {name for name, *_ in done} == {"tiff", "pillow-tiff", "png", "jpeg", "bmp", "webp"}
    for name, _, alike, _ in done:
        assert int(alike) >= 30, name
    tell("; ".join(result.stdout.splitlines()))
