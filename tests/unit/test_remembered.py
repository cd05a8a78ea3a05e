"""The hash of a large file is remembered as long as the file does not change."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from wbcsr import remembered
from wbcsr.files import sha256
from wbcsr.provenance import hashes
from wbcsr.remembered import remembered_sha256


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each file that is read to be hashed; every file is large and settled here."""
    done: list[Path] = []

    def read(path: Path) -> str:
        done.append(Path(path))
        return sha256(path)

    monkeypatch.setattr(remembered, "sha256", read)
    monkeypatch.setattr(remembered, "LEAST", 0)
    monkeypatch.setattr(remembered, "_SETTLED_NS", -1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return done


@pytest.fixture
def array(tmp_path: Path) -> Path:
    path = tmp_path / "packed.npy"
    path.write_bytes(b"1234")
    return path


def notes(folder: Path) -> list[Path]:
    return list(folder.glob("wbcsr-*/hashes/*"))


def test_an_unchanged_file_is_read_once(reads: list[Path], array: Path) -> None:
    assert remembered_sha256(array) == remembered_sha256(array) == sha256(array)
    assert hashes([str(array)]) == {"packed.npy": sha256(array)}
    assert reads == [array]


def change_back_in_time(path: Path) -> None:
    """Other bytes, of the same size and with the same time: what only the inode's own time tells."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(b"9")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"9234")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [change_back_in_time, exchange, lambda path: path.write_bytes(b"12345")])
def test_a_changed_file_is_read_again(change: Callable[[Path], None], reads: list[Path], array: Path) -> None:
    first = remembered_sha256(array)
    change(array)
    assert remembered_sha256(array) == sha256(array) != first


@pytest.mark.parametrize("content", ["", "0" * 64, f"{'0' * 64} {'0' * 64}", "\x80"])
def test_a_damaged_note_is_not_used(content: str, reads: list[Path], array: Path, tmp_path: Path) -> None:
    remembered_sha256(array)
    (note,) = notes(tmp_path)
    note.write_text(content, encoding="latin-1")
    assert remembered_sha256(array) == sha256(array)
    assert len(reads) == 2


def test_a_note_that_cannot_be_written_does_no_harm(reads: list[Path], array: Path, tmp_path: Path) -> None:
    remembered_sha256(array)
    folder = notes(tmp_path)[0].parent
    shutil.rmtree(folder)
    folder.write_text("a file in its place")
    assert remembered_sha256(array) == sha256(array)


def test_small_files_and_new_ones_are_not_remembered(
    reads: list[Path], array: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LEAST", 5), ("_SETTLED_NS", 10**12)):
        with monkeypatch.context() as patch:
            patch.setattr(remembered, name, value)
            assert remembered_sha256(array) == sha256(array)
        assert notes(tmp_path) == []
