"""Only the job that started last may write its outputs.

A cluster job outlives the Snakemake process that submitted it. If that Snakemake was killed and another one is started,
two copies of the same job may run at once. The later one then holds the claim. The earlier one stops before it renames
its next file into place: an image, an epoch, a table. Only a short time between its check and the renaming is not
protected. In all other cases, all files come from one job, and no GPU does the same work twice.
"""

from __future__ import annotations

import errno
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wbcsr.errors import InputError

# In the environment, so that processes that the job starts also respect its claim.
_HELD = "WBCSR_CLAIM"


@contextmanager
def claiming(output: str | Path) -> Iterator[None]:
    """Hold the claim to a job's outputs, of which `output` is the first; a hidden file next to it names the holder."""
    # Absolute, since a process started by the job may work in another folder.
    first = Path(output).absolute()
    path = first.with_name(f".{first.name}.claim")
    path.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    temporary = path.with_name(f"{path.name}.{token}")
    try:
        temporary.write_text(f"{token} {_who()}", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(output)
        with suppress(OSError):
            temporary.unlink()
        raise
    os.environ[_HELD] = f"{token} {path}"
    try:
        yield
    finally:
        del os.environ[_HELD]
        # If a claim cannot be removed, for example on a disk that became read-only, the next job takes it over.
        with suppress(OSError):
            if _holder(path).startswith(token):
                path.unlink()


def require_claim() -> None:
    """Raise InputError if a later job has taken the claim of this process's job; without a claim, do nothing."""
    token, _, path = os.environ.get(_HELD, "").partition(" ")
    if token and not (holder := _holder(Path(path))).startswith(token):
        later = holder.partition(" ")[2] or "it has ended by now"
        raise InputError(
            f"{Path(path).parent}: a newer job has taken over these files ({later}); this one stops, and what "
            "it has finished is kept"
        )


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        # A network file system reports ESTALE for a file that another node has replaced since it was opened.
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return ""
        raise


def _who() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"{f'SLURM job {job}' if job else f'process {os.getpid()}'} on {socket.gethostname()}"
