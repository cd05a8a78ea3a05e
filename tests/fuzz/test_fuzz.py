"""Each parser of foreign data is fuzzed for about two seconds; docs/contributing.md has the results of longer runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
# The number of inputs for each parser.
PARSERS = {
    **{"archive": 500, "image": 5000, "labels": 600, "split": 1000},
    **{"manifest": 1000, "record": 1500, "ncnn": 3000, "configuration": 100},
}


@pytest.mark.parametrize(("parser", "inputs"), PARSERS.items())
def test_any_bytes_give_a_result_or_a_one_line_error(
    parser: str, inputs: int, tmp_path: Path, add_to_summary: Callable[[str], None]
) -> None:
    options = [f"-runs={inputs}", "-rss_limit_mb=4096", "-seed=1"]
    result = subprocess.run(
        [sys.executable, str(FUZZ), parser, *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    done = re.search(r"Done (\d+) runs in (\d+) second", result.stderr)
    assert done
    assert int(done[1]) >= inputs
    add_to_summary(f"fuzzed {parser}: {done[1]} inputs in {done[2]} s")
