"""Steps on the device, each in a process of its own.

What a step held there is free when it ends, a GPU that serves one process at a time serves them all in turn, and an
engine that is checked is one that a later job can load.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wbcsr import python_path
from wbcsr.errors import InputError, user_message
from wbcsr.files import read_json, write_json
from wbcsr.job import configure_logging, keep_large_blocks

log = logging.getLogger(__name__)


def end_with_parent() -> None:
    """Have Linux kill this process when the one that started it is gone, even if that was killed itself."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # name of the option in prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def run(step: str, arguments: dict[str, Any], log_file: str | None = None) -> dict[str, Any]:
    """Call the function `step` ("package.module:function") with `arguments` in a fresh process; gives its result.

    Arguments and result are what JSON can hold. Its log goes to stderr and `log_file`.
    InputError as the function; RuntimeError where the process failed for another reason, which the log then has.
    """
    with tempfile.TemporaryDirectory() as folder:
        task, answer = Path(folder) / "task.json", Path(folder) / "answer.json"
        write_json(task, {"step": step, "arguments": arguments, "log_file": log_file})
        command = [sys.executable, "-m", "wbcsr.engines.fresh", str(task), str(answer)]
        status = subprocess.run(command, env={**os.environ, "PYTHONPATH": python_path()}, check=False).returncode
        answered = read_json(answer) if answer.is_file() else {}
    if "mistake" in answered:
        raise InputError(answered["mistake"])
    if "result" not in answered:
        raise RuntimeError(f"{step} ended with status {status}; its log stands above")
    return answered["result"]


def main(task_file: str, answer_file: str) -> int:
    """The fresh process: do what `task_file` says and write the result, or the user's mistake, to `answer_file`."""
    end_with_parent()
    keep_large_blocks()
    task = read_json(task_file)
    configure_logging(task["log_file"])
    try:
        result = pkgutil.resolve_name(task["step"])(**task["arguments"])
    except Exception as error:
        if line := user_message(error):
            Path(answer_file).write_text(json.dumps({"mistake": line}), encoding="utf-8")
        else:
            log.exception("%s failed", task["step"])
        return 1
    Path(answer_file).write_text(json.dumps({"result": result}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
