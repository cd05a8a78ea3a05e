"""Call functions in a separate Python process.

When the process ends, its memory and its GPU are free again. A crash or a hang in it does not stop this process, and an
engine that it has loaded can also be loaded by a later job.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import IO, Any, Self, TypeVar

from wbcsr import python_path
from wbcsr.job import configure_logging, keep_large_blocks

Result = TypeVar("Result")

# Seconds between two checks whether the process has ended without an answer.
_INTERVAL_S = 0.1
# Seconds that an idle process gets to end by itself.
_GRACE_S = 30


class EndedError(RuntimeError):
    """The isolated process ended or was stopped before it had a result."""


class IsolatedProcess:
    """A new Python interpreter that calls functions, one after another, until the `with` block ends.

    The process imports each function by its name, so functions must be defined in a module. It must be possible to
    pickle arguments and results. An exception of the function is raised here, with the original traceback as a note.
    Raises EndedError if the process ends without a result, or if a call takes longer than `timeout_s` seconds. The
    output of the process goes to the file `output`, or, without one, to the output of this process. All processes that
    the isolated process started end with it, and it ends with this process.
    """

    def __init__(self, *, timeout_s: float | None = None, output: IO[bytes] | None = None) -> None:
        self._timeout_s = timeout_s
        self._pending = False
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wbcsr.isolated", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env={**os.environ, "PYTHONPATH": python_path()},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._send(sys.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., Result], *arguments: Any, **keywords: Any) -> Result:
        """Call `function` in the isolated process and return its result."""
        self.start(function, *arguments, **keywords)
        return self.result()

    def start(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Start a call of `function`; `result` waits for it."""
        self._send((function, arguments, keywords))
        self._pending = True

    def _send(self, message: Any) -> None:
        with suppress(BrokenPipeError):  # `result` says how the process ended
            self._connection.send(message)

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the function that was started last, and return its result; `timeout_s` replaces the process's."""
        timeout_s = timeout_s or self._timeout_s
        deadline = time.monotonic() + timeout_s if timeout_s else None
        while not self._connection.poll(_INTERVAL_S):
            if self._process.poll() is not None and not self._connection.poll():
                raise EndedError(_how_it_ended(self._process.returncode))
            if deadline and time.monotonic() > deadline:
                self.close()
                raise EndedError(f"it took longer than {timeout_s:g} s and was stopped")
        try:
            error, result = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise EndedError(_how_it_ended(self._process.wait())) from None
        self._pending = False
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """End the process, and stop a call that has not returned."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self._pending else _GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def run_step(function: Callable[..., Result], *arguments: Any, log_file: str | None = None) -> Result:
    """Call `function` in its own process, which logs and uses memory as a job does (see `IsolatedProcess`).

    Its log goes to stderr and to `log_file`.
    """
    with IsolatedProcess() as process:
        process.call(_prepare_as_job, log_file)
        return process.call(function, *arguments)


def _prepare_as_job(log_file: str | None) -> None:
    configure_logging(log_file)
    keep_large_blocks()


def end_with_parent() -> None:
    """Have Linux kill this process when its parent process ends, even if the parent is killed."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # name of the option in prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _how_it_ended(status: int) -> str:
    if status < 0:
        remark = ", perhaps because memory ran out" if -status == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-status).name}{remark}"
    return f"its process ended with exit status {status}"


def _serve(connection: Connection) -> None:
    """Run by the isolated process: answer each call that arrives, until the other end is closed."""
    sys.path[:] = connection.recv()
    while True:
        try:
            call = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(call))


def _answer(call: bytes) -> bytes:
    """The pickled pair of the exception that a call raised, or None, and the call's result."""
    try:
        function, arguments, keywords = pickle.loads(call)
        return pickle.dumps((None, function(*arguments, **keywords)))
    except Exception as error:
        text = f"In the isolated process:\n{traceback.format_exc()}"
        error.add_note(text)
        try:
            answer = pickle.dumps((error, None))
            pickle.loads(answer)
        except Exception:  # many exceptions cannot be pickled, or cannot be restored from the pickle
            replacement = RuntimeError(f"{type(error).__name__}: {error}")
            replacement.add_note(text)
            answer = pickle.dumps((replacement, None))
        return answer


if __name__ == "__main__":
    end_with_parent()
    descriptor = int(sys.argv[1])
    # Processes that a call starts do not inherit it.
    os.set_inheritable(descriptor, False)
    _serve(Connection(descriptor))
