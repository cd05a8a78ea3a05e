"""Errors that a user can mend."""

import errno
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


class InputError(Exception):
    """Something that was given is wrong.

    The message is one line: it names the file or key, says what is wrong with it and what to do.
    It reaches the user without a traceback.
    """


def mistake(error: BaseException) -> str | None:
    """The one line that says of an error what a user can mend, or None where it is a defect of the program.

    Besides `InputError` these are disks that are full or must not be written.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _REMEDIES:
        where = error.filename or f"the working folder or {tempfile.gettempdir()}"
        reason = str(error.strerror).lower()
        return f"{where}: {reason}; {_REMEDIES[error.errno]} and run again: what is finished is kept"
    return None


def make_again(path: str | Path) -> str:
    """What mends a result that is damaged.

    Deleted, it would take all that follows from it along; made again by force, what follows stays where it comes out
    as it was.
    """
    return f"run once with --force -- {shlex.quote(str(path))} to make it again, then as before"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
