"""Downloading from a git repository: one on this machine, by its file:// address."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from defaults import LIMITS, config_of
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.ingest import ingest
from wbcsr.dataset.repository import download_repository
from wbcsr.errors import InputError
from wbcsr.imaging import encode_png

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5000\n"
IMAGE = encode_png(np.zeros((8, 8, 3), np.uint8))
FILES = {
    "images/TRAIN/A/1.png": IMAGE,
    "images/notes.txt": b"two\r\nlines\n",
    "images/$Id$.txt": b"$Id$ $Format:%H$",
    "README.md": b"",
    # The data as committed, whatever this says.
    ".gitattributes": b"*.png export-ignore\n*.txt text eol=lf ident export-subst filter=missing\n",
}


class Repository:
    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"file://{folder}"
        folder.mkdir()
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false"]
        command = ["git", "-C", str(self.folder), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, files: dict[str, bytes]) -> str:
        for name, content in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
        # The bytes as they are, before any attributes apply.
        for name in sorted(files):
            blob = self.git("hash-object", "-w", "--no-filters", name)
            self.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{name}")
        self.git("commit", "--quiet", "--message", "data")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "cells of ours")


@pytest.mark.parametrize("folder", [None, "images", "images/TRAIN"])
def test_the_files_of_the_commit_are_packed_as_committed(
    repository: Repository, tmp_path: Path, folder: str | None
) -> None:
    commit = repository.commit(FILES)
    repository.commit({"images/TRAIN/A/2.png": b"later"})
    target = tmp_path / "data" / "archive.zip"
    download_repository(repository.url, commit, folder, target)
    with open_archive(target, LIMITS) as archive:
        assert archive.commit == commit
        found = {name: archive.read(name) for name in archive.entries}
    assert found == {name: content for name, content in FILES.items() if name.startswith(folder or "")}
    assert list(target.parent.iterdir()) == [target]
    again = target.with_name("again.zip")
    download_repository(repository.url, commit, folder, again)
    assert again.read_bytes() == target.read_bytes()


MISSING = "0" * 40


@pytest.mark.parametrize(
    ("url", "commit", "folder", "says"),
    [
        ("file:///nowhere/cells", None, None, "git fetch failed .*correct dataset.git"),
        (None, MISSING, None, "git fetch failed .*correct dataset.git"),
        (None, None, "image", r"git cat-file failed .*correct dataset\.git\.folder"),
        (None, None, "lfs", r"2 files \(first: lfs/a\.png\) are pointers of Git LFS.* git-lfs"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    repository: Repository, tmp_path: Path, url: str | None, commit: str | None, folder: str | None, says: str
) -> None:
    own = repository.commit({**FILES, "lfs/a.png": POINTER, "lfs/b.png": POINTER})
    target = tmp_path / "data" / "archive.zip"
    with pytest.raises(InputError, match=says) as caught:
        download_repository(url or repository.url, commit or own, folder, target)
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"git is not installed, and dataset\.git needs it; install it"):
        download_repository("https://example.org/cells", MISSING, None, tmp_path / "archive.zip")


def test_another_repositorys_variables_do_no_harm(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a hook of git starts the workflow."""
    commit = repository.commit(FILES)
    before = sorted(repository.folder.rglob("*"))
    monkeypatch.setenv("GIT_DIR", os.fspath(repository.folder / ".git"))
    download_repository(repository.url, commit, "images", tmp_path / "archive.zip")
    assert sorted(repository.folder.rglob("*")) == before


def taken_in(folder: Path, archive: Path, **dataset: object) -> dict[str, object]:
    settings = {"splits": ["by_source"], "sources": {"method": "each"}}
    section = config_of(dataset={"classes": ["A", "B"], "partitions": None, **dataset}, **settings)["dataset"]
    return ingest(archive, section, folder / "images.csv", folder / "rejected.csv", folder / "originals", {})


def test_the_commit_is_recorded_and_another_one_refused(repository: Repository, tmp_path: Path) -> None:
    commit = repository.commit({"A/1.png": IMAGE, "B/1.png": encode_png(np.ones((8, 8, 3), np.uint8))})
    archive = tmp_path / "archive.zip"
    download_repository(repository.url, commit, None, archive)
    assert taken_in(tmp_path, archive)["commit"] == commit
    git = {"url": "https://example.org/cells", "commit": commit}
    assert taken_in(tmp_path, archive, git=git)["commit"] == commit
    with pytest.raises(InputError, match=rf"{archive}: is not of the commit 0+ of dataset\.git; delete it"):
        taken_in(tmp_path, archive, git=git | {"commit": MISSING})


def test_a_pointer_in_a_clone_is_named_as_such(tmp_path: Path) -> None:
    for name in "AB":
        (tmp_path / "clone" / name).mkdir(parents=True)
        (tmp_path / "clone" / name / "1.png").write_bytes(POINTER)
    with pytest.raises(InputError, match=r"no file in ALL/A can be used, .* pointer of Git LFS, .*git lfs pull"):
        taken_in(tmp_path, tmp_path / "clone")


@pytest.mark.parametrize(
    ("git", "key"),
    [
        ({"url": "ext::sh -c date", "commit": MISSING}, "dataset.git.url"),
        ({"url": "--upload-pack=date", "commit": MISSING}, "dataset.git.url"),
        ({"url": "https://me:secret@example.org/cells", "commit": MISSING}, "dataset.git.url"),
        ({"url": "https://example.org/cells", "commit": "main"}, "dataset.git.commit"),
        ({"url": "https://example.org/cells"}, "dataset.git.commit"),
        ({"url": "https://example.org/cells", "commit": MISSING, "folder": ":(top)"}, "dataset.git.folder"),
    ],
)
def test_an_address_that_git_would_take_for_more_is_refused(git: dict[str, str], key: str) -> None:
    with pytest.raises(InputError, match=re.escape(key)):
        config_of(dataset={"git": git})


def test_git_writes_the_downloaded_archive_only() -> None:
    git = {"url": "git@example.org:ours/cells.git", "commit": MISSING, "folder": "data"}
    assert config_of(dataset={"git": git})["dataset"]["git"] == git
    with pytest.raises(InputError, match=r"dataset\.archive is cells; leave one of them out"):
        config_of(dataset={"git": git, "archive": "cells"})
