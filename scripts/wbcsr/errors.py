"""Errors that a user can mend."""

import errno
import re
import shlex
import tempfile
from pathlib import Path

# What to do about a disk, whatever file it happens to.
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "use a --directory that can be written",
    errno.EACCES: "ask its owner for permission or use a --directory that you may write",
}
# What sets a terminal's colours and moves its cursor (ECMA-48).
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class InputError(Exception):
    """Something that was given is wrong.

    The message is one printable line, whatever it was made from: it names the file or key, says what is wrong with it
    and what to do. It reaches the user without a traceback.
    """

    def __str__(self) -> str:
        return one_line(super().__str__())


def one_line(text: str) -> str:
    """A text as one line that a terminal shows as it is: without escape sequences, control characters named."""
    lines = (line.strip() for line in _ESCAPES.sub("", text).splitlines())
    joined = " ".join(line for line in lines if line)
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in joined)


def user_message(error: BaseException) -> str | None:
    """The one line that says of an error what a user can mend, or None where it is a defect of the program.

    Besides `InputError` these are disks that are full or must not be written.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        where = error.filename or f"the working folder or {tempfile.gettempdir()}"
        reason = str(error.strerror).lower()
        return one_line(f"{where}: {reason}; {_REMEDIES[error.errno]} and run again: what is finished is kept")
    return None


def how_to_regenerate(path: str | Path) -> str:
    """What mends a result that is damaged.

    Deleted, it would take all that follows from it along; made again by force, what follows stays where it comes out
    as it was.
    """
    return f"run once with --force -- {shlex.quote(str(path))} to regenerate it, then rerun your command"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
