"""Each parser of foreign data is fuzzed for a few seconds, which suffices to find the defects found before."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
SECONDS = 5
PARSERS = ["archive", "image", "labels", "split", "manifest", "record", "ncnn", "configuration"]


@pytest.mark.parametrize("parser", PARSERS)
def test_any_bytes_give_a_result_or_a_one_line_error(
    parser: str, tmp_path: Path, add_to_summary: Callable[[str], None]
) -> None:
    options = [f"-max_total_time={SECONDS}", "-rss_limit_mb=4096", "-seed=1"]
    result = subprocess.run(
        [sys.executable, str(FUZZ), parser, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    done = re.search(r"Done (\d+) runs in (\d+) second", result.stderr)
    assert done
    assert int(done[1]) > 100
    add_to_summary(f"fuzzed {parser}: {done[1]} inputs in {done[2]} s")
