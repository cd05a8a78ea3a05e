"""Run a file of checks of Triton kernels in Triton's interpreter, which a process can only choose at its start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType


def run(checks: ModuleType, folder: Path) -> None:
    """Run the file `checks` in `folder`; it prints `passed` for each member of its list CHECKS."""
    command = [sys.executable, str(checks.__file__)]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("passed") == len(checks.CHECKS)
