"""Files are written completely or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from wbcsr.errors import InputError
from wbcsr.files import read_csv, read_json, remove_leftovers, replacing, sha256, write_csv, write_text


def test_after_a_failure_only_the_old_file_exists(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("cannot write mode F as PNG"), "cannot write mode F as PNG"),
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device: '{}'"),
        (OSError(errno.ENOSPC, "No space left on device", "/other"), "[Errno 28] No space left on device: '/other'"),
        (None, "[Errno 2] No such file or directory: '{}'"),
    ],
    ids=["without a number", "without a name", "of another file", "of the temporary file"],
)
def test_a_system_error_has_its_own_text_and_the_name_of_the_file(
    error: OSError | None, text: str, tmp_path: Path
) -> None:
    def fail() -> None:
        with replacing(tmp_path / "image.png") as temporary:
            if error:
                temporary.write_text("half")
                raise error
            # Nothing was written, so there is nothing to rename.

    with pytest.raises(OSError, match=r".") as raised:
        fail()
    assert str(raised.value) == text.format(tmp_path / "image.png")
    assert ".part" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_class_names_that_look_like_missing_values_are_kept(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["TRAIN/NA/1.png", "007"], "class": ["NA", "null"], "width": [3, 4]})
    write_csv(tmp_path / "images.csv", table)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "images.csv", ["image", "class"]), table, check_dtype=False)


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", 'image\n"open\n', "image,class\n1,2,3,4\n5,6\n7,8,9\n", "image\x00"]
)
def test_a_damaged_csv_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "images.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"images\.csv.*run once with --force -- ") as caught:
        read_csv(path, ["image", "class", "more"])
    assert "\n" not in str(caught.value)


def test_a_damaged_json_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{")
    with pytest.raises(InputError, match=r"engine\.json"):
        read_json(tmp_path / "engine.json")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_unfinished_files_of_another_host_are_kept_for_a_day(tmp_path: Path) -> None:
    young, old = (tmp_path / f".{name}.1@elsewhere.part.png" for name in ("young", "old"))
    for path, age in ((young, 3_600), (old, 90_000)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [young]


def test_unfinished_files_of_killed_processes_are_removed_and_those_of_running_ones_kept(tmp_path: Path) -> None:
    script = (
        "import sys; from wbcsr.files import replacing; cm = replacing(sys.argv[1]); cm.__enter__().write_text('x'); "
    )
    subprocess.run(
        [sys.executable, "-c", script + "import os; os.kill(os.getpid(), 9)", str(tmp_path / "a.b.png")],
        check=False,
    )
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "mine.png") as temporary:
        temporary.write_text("x")
        remove_leftovers(tmp_path)
        assert list(tmp_path.iterdir()) == [temporary]
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
