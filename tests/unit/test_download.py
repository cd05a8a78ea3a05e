"""Downloading from Kaggle. kagglehub and the network are fakes: the tests use no network."""

from __future__ import annotations

import os
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

from defaults import LIMITS
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.download import download_archive, keep_archive
from wbcsr.errors import InputError

FILES = {"images/TRAIN/A/1.jpeg": b"one", "images/TEST/A/1.jpeg": b"two", "labels.csv": b"a,b\n"}


class UnauthenticatedError(Exception):
    """Replaces kagglehub.exceptions.UnauthenticatedError."""


class CredentialError(Exception):
    """Replaces kagglehub.exceptions.CredentialError."""


class DataCorruptionError(Exception):
    """Replaces kagglehub.exceptions.DataCorruptionError."""


class FakeKaggle:
    """A fake kagglehub: each call raises the next of `failures`, or returns the folder of the unpacked data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: list[Exception] = []
        self.calls: list[str] = []
        self.waits: list[float] = []
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def dataset_download(self, handle: str) -> str:
        self.calls.append(handle)
        if self.failures:
            raise self.failures.pop(0)
        return str(self.folder)


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKaggle:
    fake = FakeKaggle(tmp_path / "cache" / "versions" / "6")
    package, exceptions = ModuleType("kagglehub"), ModuleType("kagglehub.exceptions")
    for error in (UnauthenticatedError, CredentialError, DataCorruptionError):
        setattr(exceptions, error.__name__, error)
    package.dataset_download = fake.dataset_download  # type: ignore[attr-defined]
    package.exceptions = exceptions  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", package)
    monkeypatch.setitem(sys.modules, "kagglehub.exceptions", exceptions)
    monkeypatch.setattr(time, "sleep", fake.waits.append)
    return fake


def status(code: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = code
    return requests.HTTPError(f"{code} Client Error.\n\nMore lines, as kagglehub writes them.", response=response)


def test_downloaded_files_are_packed(kaggle: FakeKaggle, tmp_path: Path) -> None:
    path = tmp_path / "data" / "archive.zip"
    download_archive("owner/name", path)
    assert kaggle.calls == ["owner/name"]
    with open_archive(path, LIMITS) as archive:
        assert {name: archive.read(name) for name in archive.entries} == FILES
    with zipfile.ZipFile(path) as packed:
        assert {entry.compress_type for entry in packed.infolist()} == {zipfile.ZIP_STORED}


def test_the_same_files_give_the_same_archive(kaggle: FakeKaggle, tmp_path: Path) -> None:
    download_archive("owner/name", tmp_path / "1.zip")
    for file in kaggle.folder.rglob("*.jpeg"):
        os.utime(file, (1e9, 1e9))
    download_archive("owner/name", tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


@pytest.mark.parametrize(
    ("comment", "kept"),
    [
        (None, False),
        ("", True),
        ("packed by hand", True),
        ("owner/name", True),
        ("owner/other", False),
        ("not a zip file", True),
    ],
)
def test_only_an_archive_of_another_origin_is_downloaded_again(comment: str | None, kept: bool, tmp_path: Path) -> None:
    """None: there is no file. An archive that is older than the script must not be replaced."""
    path = tmp_path / "archive.zip"
    if comment == "not a zip file":
        path.write_text(comment)
    elif comment is not None:
        with zipfile.ZipFile(path, "w") as packed:
            packed.comment = comment.encode()
    if path.exists():
        os.utime(path, (1e9, 1e9))
    before = path.read_bytes() if path.exists() else None
    assert keep_archive(path, "owner/name") == kept
    assert (path.read_bytes() if path.exists() else None) == before
    assert (path.exists() and path.stat().st_mtime > 1e9) == kept


def test_a_downloaded_archive_is_kept(kaggle: FakeKaggle, tmp_path: Path) -> None:
    download_archive("owner/name", tmp_path / "archive.zip")
    assert keep_archive(tmp_path / "archive.zip", "owner/name")
    assert not keep_archive(tmp_path / "archive.zip", "owner/other")
    assert not keep_archive(tmp_path / "archive.zip", "0" * 40)


def test_a_zip_of_a_git_commit_is_neither_used_nor_replaced_by_a_data_set_of_kaggle(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.comment = b"0" * 40
    with pytest.raises(InputError, match=f"{path}: is of the git commit 0000"):
        keep_archive(path, "owner/name")
    assert not keep_archive(path, "1" * 40)


TEMPORARY: list[Callable[[], Exception]] = [
    lambda: requests.ConnectionError("name resolution failed"),
    lambda: requests.ReadTimeout("read timed out"),
    lambda: requests.exceptions.ChunkedEncodingError("connection broken"),
    lambda: DataCorruptionError("MD5 differs"),
    lambda: status(500),
    lambda: status(503),
    lambda: status(429),
]


@pytest.mark.parametrize("failure", TEMPORARY)
def test_a_temporary_failure_is_retried(kaggle: FakeKaggle, tmp_path: Path, failure: Callable[[], Exception]) -> None:
    kaggle.failures = [failure(), failure()]
    download_archive("owner/name", tmp_path / "archive.zip")
    assert len(kaggle.calls) == 3
    assert kaggle.waits == [2, 4]
    assert (tmp_path / "archive.zip").is_file()


@pytest.mark.parametrize("failure", TEMPORARY)
def test_three_failures_end_the_download(kaggle: FakeKaggle, tmp_path: Path, failure: Callable[[], Exception]) -> None:
    kaggle.failures = [failure() for _ in range(4)]
    with pytest.raises(InputError) as caught:
        download_archive("owner/name", tmp_path / "archive.zip")
    assert len(kaggle.calls) == 3
    check_advice(caught.value, tmp_path / "archive.zip")
    assert not (tmp_path / "archive.zip").exists()


def check_advice(error: InputError, path: Path) -> None:
    assert f"https://www.kaggle.com/datasets/owner/name by hand and save it as {path}" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (status(401), "create a token on Kaggle's account page"),
        (status(403), "create a token on Kaggle's account page"),
        (UnauthenticatedError("User is not authenticated"), "create a token on Kaggle's account page"),
        (CredentialError("bad\ncredentials"), "create a token on Kaggle's account page"),
        (
            ValueError("Invalid Kaggle credentials file at kaggle.json"),
            "Invalid Kaggle credentials file at kaggle.json",
        ),
        (ValueError(""), "ValueError"),
        (zipfile.BadZipFile("File is not a zip file"), "File is not a zip file"),
    ],
)
def test_an_error_that_the_user_must_correct_is_not_retried(
    kaggle: FakeKaggle, tmp_path: Path, failure: Exception, words: str
) -> None:
    kaggle.failures = [failure]
    with pytest.raises(InputError) as caught:
        download_archive("owner/name", tmp_path / "archive.zip")
    assert len(kaggle.calls) == 1
    assert words in str(caught.value)
    check_advice(caught.value, tmp_path / "archive.zip")


def test_an_unknown_data_set_is_an_error(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.failures = [status(404)]
    with pytest.raises(InputError, match=r"Kaggle has no data set 'owner/nmae'; correct dataset\.kaggle"):
        download_archive("owner/nmae", tmp_path / "archive.zip")


def test_a_defect_is_not_reported_as_a_user_error(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.failures = [RuntimeError("a defect")]
    with pytest.raises(RuntimeError, match="a defect"):
        download_archive("owner/name", tmp_path / "archive.zip")


def test_without_kagglehub_the_download_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=r"pip install kagglehub==1\.0\.3") as caught:
        download_archive("owner/name", tmp_path / "archive.zip")
    check_advice(caught.value, tmp_path / "archive.zip")


def test_an_empty_download_is_rejected(kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.folder = tmp_path / "empty"
    kaggle.folder.mkdir()
    with pytest.raises(InputError, match="has no files after the download; delete the folder"):
        download_archive("owner/name", tmp_path / "archive.zip")


def test_an_interrupted_packing_leaves_no_files(
    kaggle: FakeKaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="No space left"):
        download_archive("owner/name", tmp_path / "data" / "archive.zip")
    assert list((tmp_path / "data").iterdir()) == []
