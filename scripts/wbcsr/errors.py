"""Errors that a user can correct."""

import errno
import re
import shlex
import tempfile
from pathlib import Path

# What to do about a disk error, for any file.
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "use a --directory that can be written",
    errno.EACCES: "ask its owner for permission or use a --directory that you may write",
}
# Control sequences that set a terminal's colours or move its cursor (ECMA-48).
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class InputError(Exception):
    """The user's input is wrong.

    The message is one printable line, whatever text it was built from. It names the file or key and says what is wrong
    and what to do. The user sees it without a traceback.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text as one printable line: without escape sequences, and with control characters written as escapes."""
    lines = (line.strip() for line in _ESCAPES.sub("", text).splitlines())
    joined = " ".join(line for line in lines if line)
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in joined)


def user_message(error: BaseException) -> str | None:
    """The line that tells a user what to correct, or None if the error is a defect of the program.

    A user can correct an `InputError`, a full disk, and a disk without write permission.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        where = error.filename or f"the working folder or {tempfile.gettempdir()}"
        reason = str(error.strerror).lower()
        return one_line(f"{where}: {reason}; {_REMEDIES[error.errno]} and run again: what is finished is kept")
    return None


def how_to_regenerate(path: str | Path) -> str:
    """How to regenerate a damaged result.

    If the file were deleted, everything that depends on it would be made again. If Snakemake is forced to regenerate it
    and its content does not change, the results that depend on it remain.
    """
    return f"run once with --force -- {shlex.quote(str(path))} to regenerate it, then rerun your command"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
