"""Errors that a user can mend."""


class InputError(Exception):
    """Something that was given is wrong.

    The message is one line: it names the file or key, says what is wrong with it and what to do.
    It reaches the user without a traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
