"""Download a data set from Kaggle as one archive."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from pathlib import Path

import requests
from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_attempt, wait_exponential

from wbcsr.errors import InputError
from wbcsr.files import replacing

log = logging.getLogger(__name__)

ATTEMPTS = 3
# With a fixed time (the earliest possible in a zip), the same files always give the same archive.
_PACKED_AT = (1980, 1, 1, 0, 0, 0)
# The comment of a downloaded zip file: a commit, or Kaggle's name of the data set.
_ORIGIN = re.compile(r"[0-9a-f]{40}|[\w.-]+/[\w.-]+")


def keep_archive(path: Path, origin: str) -> bool:
    """Whether the archive `path` must not be downloaded, because it was downloaded before or put there by hand.

    `origin` is the commit or Kaggle's data set (owner/name) that is configured. An archive that was downloaded from
    another one is not kept. The time of a kept file is set to now, so that it is newer than the script of the rule.
    Raises InputError if the archive is of a git commit, but a data set of Kaggle is configured: it may be a user's own
    zip from GitHub, so it is neither used nor replaced.
    """
    if not path.is_file():
        return False
    comment = ""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment.decode(errors="replace")
    if _ORIGIN.fullmatch(comment) and comment != origin:
        if "/" in origin and "/" not in comment:
            raise InputError(
                f"{path}: is of the git commit {comment}, but the configuration names Kaggle's {origin}; move the file "
                "away and that is downloaded, or give the file another name and set dataset.archive to it"
            )
        return False
    log.info("%s: is there already, nothing is downloaded", path)
    try:
        os.utime(path, follow_symlinks=False)
    except PermissionError as error:
        raise InputError(
            f"{path}: belongs to another user, so its time cannot be renewed; set dataset.archive to the file itself, "
            "or copy it here"
        ) from error
    if not comment:
        log.warning("%s: does not say where it is from; it is taken for %s", path, origin)
    return True


def download_archive(handle: str, path: Path) -> None:
    """Download Kaggle's data set `handle` (owner/name) and write it, uncompressed, to the zip file `path`.

    The zip file's comment is the handle.

    kagglehub keeps the unpacked files in its cache (`KAGGLEHUB_CACHE`, by default ~/.cache/kagglehub), so that an
    interrupted download is resumed. Network errors are retried, with `ATTEMPTS` attempts in total. Raises InputError if
    kagglehub is not installed, or if Kaggle cannot be reached, denies access or does not have the data set; each
    message says what to do.
    """
    by_hand = f"download the zip from https://www.kaggle.com/datasets/{handle} by hand and save it as {path}"
    try:
        import kagglehub
        from kagglehub import exceptions
    except ImportError as error:
        raise InputError(
            f"{path}: kagglehub cannot be used ({_brief(error)}); `pip install kagglehub==1.0.3`, or {by_hand}"
        ) from error

    def is_temporary(error: BaseException) -> bool:
        if isinstance(error, requests.HTTPError):
            return error.response is None or error.response.status_code == 429 or error.response.status_code >= 500
        return isinstance(error, (requests.RequestException, exceptions.DataCorruptionError))

    attempts = Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=2, max=30),
        retry=retry_if_exception(is_temporary),
        before_sleep=before_sleep_log(log, logging.WARNING),
        reraise=True,
    )
    try:
        folder = Path(attempts(kagglehub.dataset_download, handle))
    except (exceptions.UnauthenticatedError, exceptions.CredentialError) as error:
        raise InputError(_denied(handle, error, by_hand)) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise InputError(_denied(handle, error, by_hand)) from error
        if status == 404:
            raise InputError(f"Kaggle has no data set {handle!r}; correct dataset.kaggle") from error
        raise InputError(f"Kaggle failed to send {handle} ({_brief(error)}); try again later, or {by_hand}") from error
    except (requests.RequestException, exceptions.DataCorruptionError) as error:
        raise InputError(
            f"Kaggle cannot be reached for {handle} ({_brief(error)}); connect and run again, or {by_hand}"
        ) from error
    except (ValueError, zipfile.BadZipFile) as error:
        # kagglehub raises these for an unreadable kaggle.json and for a download that is not an archive.
        raise InputError(f"kagglehub cannot fetch {handle} ({_brief(error)}); correct that, or {by_hand}") from error
    log.info("%s: packing what kagglehub keeps in %s", path, folder)
    _pack(folder, path, handle)


def _pack(folder: Path, path: Path, comment: str) -> None:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        raise InputError(f"{folder}: has no files after the download; delete the folder and run again")
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as packed:
        packed.comment = comment.encode()
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _PACKED_AT)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, file.read_bytes())


def _denied(handle: str, error: Exception, by_hand: str) -> str:
    return (
        f"Kaggle denies the download of {handle} ({_brief(error)}); create a token on Kaggle's account page and put "
        f"it in ~/.kaggle/kaggle.json, KAGGLE_API_TOKEN or KAGGLE_USERNAME and KAGGLE_KEY, or {by_hand}"
    )


def _brief(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
