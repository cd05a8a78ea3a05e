"""Skipping of GPU tests. torch is replaced by a fake with or without a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MARKED = """
import pytest

@pytest.mark.gpu(verifies="an engine is loaded in a new process")
@pytest.mark.parametrize("case", [1, 2])
def test_engine(case): pass

@pytest.mark.skip(reason="for another reason")
def test_other(): pass

def test_everywhere(): pass
"""


def run(folder: Path, tests: str, gpu: bool, *arguments: str) -> str:
    """The output of pytest for `tests` with the project's settings and conftest."""
    (folder / "torch.py").write_text(f"class cuda:\n    is_available = staticmethod(lambda: {gpu})\n")
    (folder / "conftest.py").write_bytes((REPOSITORY / "tests" / "conftest.py").read_bytes())
    (folder / "test_marked.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(folder)]
    # Without plugins, whose loading takes longer than the tests themselves.
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ["-p", "no:cacheprovider", "--color", "no", *arguments, str(folder)]
    answer = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    return answer.stdout + answer.stderr


def test_without_a_gpu_skipped_tests_are_counted_and_say_what_was_not_verified(tmp_path: Path) -> None:
    printed = run(tmp_path, MARKED, gpu=False)
    assert "no GPU: not verified: an engine is loaded in a new process" in printed
    assert "2 GPU tests did not run: no GPU" in printed.splitlines()
    assert "1 passed, 3 skipped" in printed.splitlines()[-1]


def test_with_a_gpu_the_tests_run(tmp_path: Path) -> None:
    printed = run(tmp_path, MARKED, gpu=True)
    assert "3 passed, 1 skipped" in printed
    assert "no GPU" not in printed


def test_a_file_runs_in_one_process_and_the_summary_covers_all_processes(tmp_path: Path) -> None:
    reporting = "import os\nimport pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_{0}(n, add_to_summary): "
    reporting += "add_to_summary(f'{0} ran in {{os.getpid()}}')\n"
    for name in "abc":
        (tmp_path / f"test_{name}.py").write_text(reporting.format(name))
    printed = run(tmp_path, MARKED, False, "-p", "xdist", "--numprocesses", "2")
    result = re.findall(r"^(\w) ran in (\d+)$", printed, re.MULTILINE)
    assert len(result) == 12, printed
    assert len(set(result)) == 3
    assert len({process for _, process in result}) == 2
    assert "2 GPU tests did not run: no GPU" in printed.splitlines()
    assert "13 passed, 3 skipped" in printed.splitlines()[-1]


@pytest.mark.parametrize("mark", ["gpu", "gpu()", 'gpu(verifies="")', 'gpu("an engine is loaded")'])
def test_a_gpu_mark_must_say_what_is_verified(mark: str, tmp_path: Path) -> None:
    printed = run(tmp_path, f"import pytest\n\n@pytest.mark.{mark}\ndef test_engine(): pass\n", gpu=True)
    assert "test_engine: lacks what it verifies" in printed
    assert "passed" not in printed
