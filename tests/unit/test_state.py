"""The state of an archive: it changes with the contents, but not with the times alone."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wbcsr.dataset import state as module
from wbcsr.dataset.state import archive_state, note, write_record
from wbcsr.errors import InputError
from wbcsr.files import sha256


class Study:
    """An archive (folder or zip), and the record of its ingestion."""

    def __init__(self, root: Path, as_zip: bool = False) -> None:
        self.archive, self.record = root / "cells", root / "archive.csv"
        self.links: Path | None = None
        if as_zip:
            self.archive.write_bytes(b"zip")
        else:
            for name in ("A/1.png", "A/2.png", "B/1.png"):
                self.write(name, f"content of {name}")

    def write(self, name: str, content: str, time: int | None = None) -> None:
        path = self.archive / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if time is not None:
            os.utime(path, ns=(time, time))

    def ingest(self) -> str | None:
        """Record the archive as the ingestion does; the state must not change by this."""
        before = self.state
        write_record(self.record, note(self.archive, self.links, 1000, self.record, 2))
        assert self.state == before
        return before

    @property
    def state(self) -> str | None:
        return archive_state(self.archive, self.links, 1000, self.record)


@pytest.fixture(params=[False, True], ids=["not ingested", "ingested"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    made = Study(tmp_path)
    if request.param:
        made.ingest()
    return made


def older(study: Study) -> None:
    """As after rsync or mv: other content of the same size, and an older time."""
    study.write("A/1.png", "CONTENT OF A/1.png", time=1)


CHANGES: dict[str, Callable[[Study], object]] = {
    "other content": lambda study: study.write("A/1.png", "CONTENT OF A/1.png"),
    "other content, older": older,
    "another size": lambda study: study.write("A/1.png", "more content of it"),
    "one more": lambda study: study.write("A/3.png", "new"),
    "one less": lambda study: (study.archive / "A" / "2.png").unlink(),
    "renamed": lambda study: (study.archive / "A" / "2.png").rename(study.archive / "A" / "3.png"),
    "moved": lambda study: (study.archive / "A" / "2.png").rename(study.archive / "B" / "2.png"),
    "the photographs' labels": lambda study: study.write("labels.csv", "new"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_detected_once(study: Study, change: Callable[[Study], object]) -> None:
    before = study.state
    change(study)
    assert study.state != before
    study.ingest()


@pytest.mark.parametrize("name", ["README.md", "config.yaml", "A/.DS_Store", ".git/1.png", "A/._1.png", "results.txt"])
def test_files_that_are_not_images_do_not_change_the_state(study: Study, name: str) -> None:
    before = study.state
    study.write(name, "something else")
    assert study.state == before


def test_other_times_alone_do_not_change_the_state(tmp_path: Path) -> None:
    study = Study(tmp_path)
    first = study.ingest()
    for time in (5, 10**18):
        for path in study.archive.rglob("*"):
            os.utime(path, ns=(time, time))
        assert study.state == first
        study.ingest()
        assert study.state == first


def test_restoring_old_content_is_another_change(tmp_path: Path) -> None:
    """The content of the last ingestion counts, not that before it, even if the old time is restored, too."""
    study = Study(tmp_path)
    study.write("A/1.png", "one", time=1)
    study.ingest()
    study.write("A/1.png", "two", time=2)
    second = study.ingest()
    study.write("A/1.png", "one", time=1)
    assert study.state != second
    third = study.ingest()
    # Recorded with a later time, then replaced by a file with the first file's time.
    os.utime(study.archive / "A/1.png", ns=(9, 9))
    assert study.ingest() == third
    study.write("A/1.png", "six", time=1)
    assert study.state != third


def test_the_state_of_a_zip_is_that_of_one_file(tmp_path: Path) -> None:
    study = Study(tmp_path, as_zip=True)
    first = study.ingest()
    os.utime(study.archive)
    assert study.state == first
    with zipfile.ZipFile(study.archive, "w"):
        pass
    os.utime(study.archive, (1, 1))
    assert study.state != first
    study.archive.unlink()
    assert study.state is None  # a rule makes this zip


def test_only_files_with_another_time_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(tmp_path)
    study.ingest()
    read: list[str] = []

    def reading(path: str) -> str:
        read.append(path)
        return sha256(path)

    monkeypatch.setattr(module, "sha256", reading)
    os.utime(study.archive / "A" / "2.png")
    study.ingest()
    assert {Path(path).name for path in read} == {"2.png"}
    read.clear()
    assert study.state
    assert read == []


def test_the_state_of_a_link_is_that_of_its_target(tmp_path: Path) -> None:
    study = Study(tmp_path)
    target = tmp_path / "store" / "5fab"
    target.parent.mkdir()
    target.write_text("one")
    study.links = target.parent
    (study.archive / "A" / "1.png").unlink()
    (study.archive / "A" / "1.png").symlink_to(target)
    first = study.ingest()
    os.utime(target)
    assert study.state == first
    target.write_text("two")
    assert study.state != first
    target.unlink()
    with pytest.raises(InputError, match=r"A/1\.png' is a link to .* whose content is not here"):
        assert study.state


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.record.write_text("file,size\n")
    with pytest.raises(InputError, match=r"archive\.csv: lacks the column"):
        assert study.state


NAMES = st.sampled_from(
    ["1.png", "2.png", "a\nb.png", 'q".png', "ä.jpg", os.fsdecode(b"\xff.png"), "NA.tif", "n,1.bmp"]
)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(NAMES, st.tuples(st.sampled_from(["", "x", "y"]), st.integers(1, 3))), min_size=2))
def test_the_state_distinguishes_contents_after_any_changes(
    tmp_path_factory: pytest.TempPathFactory, folders: list[dict[str, tuple[str, int]]]
) -> None:
    """A folder that is changed and ingested repeatedly; each content has a name, a text and a time.

    The state changes if and only if names or contents change. The exception is content that cannot be recognised as
    new: of the same size with the same time.
    """
    root = tmp_path_factory.mktemp("any")
    study = Study(root)
    last: dict[str, tuple[str, int]] | None = None
    taken: str | None = None
    for folder in folders:
        for path in [path for path in study.archive.rglob("*") if path.is_file()]:
            path.unlink()
        for name, (content, time) in folder.items():
            study.write(name, content, time)
        unseen = last is not None and any(
            name in last and last[name] != file and (len(last[name][0]), last[name][1]) == (len(file[0]), file[1])
            for name, file in folder.items()
        )
        if last is not None and not unseen:
            same = {name: content for name, (content, _) in folder.items()} == {
                name: content for name, (content, _) in last.items()
            }
            assert (study.state == taken) == same
        if not unseen:
            last, taken = folder, study.ingest()
