"""Fetch a data set from one commit of a git repository as an archive, by the program git."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import zipfile
from pathlib import Path

from wbcsr.dataset.archive import is_lfs_pointer
from wbcsr.errors import InputError
from wbcsr.files import replacing
from wbcsr.text import counted

log = logging.getLogger(__name__)

# The repository's own attributes could leave files out, or make git or a filter change their bytes.
_AS_COMMITTED = "* -export-ignore -export-subst -text -ident -filter -working-tree-encoding\n"
# Git must fail instead of asking for a password or a host's key, because nobody can answer.
_ASK_NOBODY = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
_LARGEST_POINTER = 1024  # bytes, by the specification of Git LFS


def download_repository(url: str, commit: str, folder: str | None, path: Path) -> None:
    """Write the files of `commit` (40 hexadecimal digits), or those in `folder`, to the zip file `path`.

    Only this commit is fetched, without its history. The zip file's comment is the hash, as `git archive` writes it.
    Raises InputError if git is not installed, if the repository, the commit or the folder is not found, or if files are
    pointers of Git LFS.
    """
    by_hand = "clone it by hand and name that folder as dataset.archive"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".git-", dir=path.parent) as scratch:
        _git(scratch, by_hand, "init", "--quiet", "--bare")
        attributes = Path(scratch, "info", "attributes")
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_text(_AS_COMMITTED, encoding="utf-8")
        log.info("fetching commit %s of %s", commit, url)
        remedy = f"correct dataset.git, connect and run again, or {by_hand}"
        _git(scratch, remedy, "fetch", "--quiet", "--depth", "1", "--no-tags", "--", url, commit)
        if folder:
            _git(scratch, "correct dataset.git.folder", "cat-file", "-e", f"{commit}:{folder}")
        with replacing(path) as beside:
            chosen = ["--", f":(literal){folder}"] if folder else []
            target = f"--output={beside.absolute()}"
            _git(scratch, by_hand, "archive", "--format=zip", "-1", target, commit, *chosen)
            _check_pointers(url, beside, by_hand)


def _git(repository: str, remedy: str, *arguments: str) -> None:
    """Run git in a repository; raises InputError with its last line and `remedy` if it fails."""
    command = ["git", "--git-dir", repository, "-c", "core.autocrlf=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=_ASK_NOBODY | os.environ)
    except FileNotFoundError as error:
        raise InputError(
            "git is not installed, and dataset.git needs it; install it (`apt install git`, `module load git`), or "
            "name a clone as dataset.archive"
        ) from error
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise InputError(f"git {arguments[0]} failed ({said}); {remedy}")


def _check_pointers(url: str, path: Path, by_hand: str) -> None:
    """Raise InputError if files of the zip file are pointers of Git LFS, whose contents git alone does not fetch."""
    with zipfile.ZipFile(path) as packed:
        small = (entry for entry in packed.infolist() if entry.file_size <= _LARGEST_POINTER)
        pointers = [entry.filename for entry in small if is_lfs_pointer(packed.read(entry))]
    if pointers:
        raise InputError(
            f"{url}: {counted(len(pointers), 'file')} (first: {pointers[0]}) are pointers of Git LFS, not the files "
            f"themselves; install git-lfs, {by_hand}"
        )
