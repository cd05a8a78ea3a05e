"""Archives: what is listed and read, and everything that is refused."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from defaults import LIMITS
from wbcsr.dataset.archive import open_archive
from wbcsr.errors import InputError

GOOD = {"data/TRAIN/A/1.jpg": b"one", "data/TRAIN/A/2.jpg": b"two" * 1000, "note.txt": b""}


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return path


def unpacked(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def with_mode(path: Path, mode: int) -> None:
    entry = zipfile.ZipInfo("TRAIN/A/odd.jpg")
    entry.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(entry, b"/etc/passwd")


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("TRAIN/A/1.jpg", b"a")
        with pytest.warns(UserWarning, match="Duplicate name"):
            packed.writestr("TRAIN/A/1.jpg", b"b")


def in_headers(path: Path, offset_local: int, offset_central: int, value: bytes) -> None:
    """Overwrite one field of the only entry, in its local header and in the central directory."""
    zipped(path, {"TRAIN/A/1.jpg": b"content"}, zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    for at in (offset_local, central + offset_central):
        raw[at : at + len(value)] = value
    path.write_bytes(raw)


def misnamed(path: Path) -> None:
    """An entry whose local header says that its name is UTF-8, and it is none."""
    in_headers(path, 6, 8, b"\0\x08")
    raw = bytearray(path.read_bytes())
    raw[30:31] = b"\xc7"
    path.write_bytes(raw)


def cut(path: Path, share: float) -> None:
    raw = zipped(path, GOOD).read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])


BAD_ZIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "parent": (lambda path: zipped(path, {"TRAIN/../../evil.jpg": b"x"}), "'TRAIN/../../evil.jpg' leads out of"),
    "parent, backslashes": (lambda path: zipped(path, {"..\\evil.jpg": b"x"}), "leads out of"),
    "parent folder": (lambda path: zipped(path, {"../": b""}), "'../' leads out of"),
    "absolute": (lambda path: zipped(path, {"/etc/evil.jpg": b"x"}), "'/etc/evil.jpg' has an absolute path"),
    "drive": (lambda path: zipped(path, {"C:\\evil.jpg": b"x"}), "has an absolute path"),
    "share": (lambda path: zipped(path, {"\\\\host\\evil.jpg": b"x"}), "has an absolute path"),
    "backslash": (lambda path: zipped(path, {"TRAIN\\A\\1.jpg": b"x"}), "has a backslash"),
    "link": (lambda path: with_mode(path, stat.S_IFLNK | 0o777), "'TRAIN/A/odd.jpg' is a link"),
    "device": (lambda path: with_mode(path, stat.S_IFBLK | 0o600), "'TRAIN/A/odd.jpg' is a device"),
    "pipe": (lambda path: with_mode(path, stat.S_IFIFO | 0o600), "'TRAIN/A/odd.jpg' is a device"),
    "encrypted": (lambda path: in_headers(path, 6, 8, b"\x01"), "'TRAIN/A/1.jpg' is encrypted"),
    "strongly encrypted": (lambda path: in_headers(path, 6, 8, b"\x41"), "'TRAIN/A/1.jpg' is encrypted"),
    "twice": (twice, "'TRAIN/A/1.jpg' comes twice"),
    "twice, written differently": (
        lambda path: zipped(path, {"TRAIN/A/1.jpg": b"a", "./TRAIN//A/1.jpg": b"b"}),
        "'./TRAIN//A/1.jpg' comes twice",
    ),
    "bomb by ratio": (lambda path: zipped(path, {"TRAIN/A/1.jpg": bytes(2_000_000)}), "'TRAIN/A/1.jpg' grows"),
    "bomb by size": (lambda path: in_headers(path, 22, 24, struct.pack("<I", 200_000_001)), "unpacks to 200,000,001"),
    "bzip2": (lambda path: zipped(path, {"TRAIN/A/1.jpg": b"x"}, zipfile.ZIP_BZIP2), "unusual method"),
    "no zip": (lambda path: path.write_bytes(b"<html>Sign in</html>"), "is no zip file"),
    "empty": (lambda path: path.write_bytes(b""), "is no zip file"),
    "cut in the middle": (lambda path: cut(path, 0.5), "is no zip file or only a part"),
    "cut at the end": (lambda path: cut(path, 0.98), "is no zip file or only a part"),
}


@pytest.mark.parametrize(("make", "words"), BAD_ZIPS.values(), ids=BAD_ZIPS.keys())
def test_bad_zip_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "archive.zip"
    make(path)
    with pytest.raises(InputError) as caught:
        open_archive(path, LIMITS)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(path))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"files": 2}, r"has 3 entries, more than the limit of 2; .* raise dataset\.limits\.files"),
        ({"total_gb": 0}, r"unpacks to 3,003 bytes, more .* raise dataset\.limits\.total_gb"),
        ({"file_mb": 0}, r"'data/TRAIN/A/1.jpg' unpacks to 3 bytes, more .* raise dataset\.limits\.file_mb"),
    ],
)
def test_limits_of_a_whole_zip(tmp_path: Path, limits: dict[str, int], words: str) -> None:
    path = zipped(tmp_path / "archive.zip", GOOD)
    with open_archive(path, LIMITS) as archive:
        assert len(archive.entries) == 3
    with pytest.raises(InputError, match=words):
        open_archive(path, {**LIMITS, **limits})


def test_what_grows_much_is_taken_where_its_user_says_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "archive.zip", {"white.bmp": bytes(2_000_000)})
    with open_archive(path, {**LIMITS, "ratio": 1032}) as archive:
        assert len(archive.read("white.bmp")) == 2_000_000


def test_small_files_may_shrink_much(tmp_path: Path) -> None:
    with open_archive(zipped(tmp_path / "archive.zip", {"white.bmp": bytes(900_000)}), LIMITS) as archive:
        assert archive.read("white.bmp") == bytes(900_000)


@pytest.mark.parametrize("make", [zipped, unpacked])
def test_lists_and_reads_the_same_from_zip_and_folder(tmp_path: Path, make: Callable[..., Path]) -> None:
    with open_archive(make(tmp_path / "archive", GOOD), LIMITS) as archive:
        assert archive.entries == {name: len(content) for name, content in GOOD.items()}
        assert {name: archive.read(name) for name in archive.entries} == GOOD


def test_folder_entries_of_a_zip_are_not_listed(tmp_path: Path) -> None:
    with open_archive(
        zipped(tmp_path / "a.zip", {"TRAIN/": b"", "TRAIN/A/": b"", "TRAIN/A/1.jpg": b"x"}), LIMITS
    ) as archive:
        assert archive.entries == {"TRAIN/A/1.jpg": 1}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: in_headers(path, 14, 16, b"\0\0\0\0"), id="wrong checksum"),
        pytest.param(lambda path: in_headers(path, 22, 24, b"\x02\0\0\0"), id="more data than it says"),
        pytest.param(lambda path: in_headers(path, 22, 24, b"\xff\0\0\0"), id="less data than it says"),
        pytest.param(lambda path: in_headers(path, 8, 10, b"\x08\0"), id="cannot be unpacked"),
        pytest.param(lambda path: misnamed(path), id="a name that is no UTF-8"),
    ],
)
def test_damage_is_found_when_an_entry_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "archive.zip"
    make(path)
    with (
        open_archive(path, LIMITS) as archive,
        pytest.raises(InputError, match=r"'TRAIN/A/1.jpg' is (damaged|shorter)"),
    ):
        archive.read("TRAIN/A/1.jpg")


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.zip: there is no such zip file or folder; .*dataset\.archive"):
        open_archive(tmp_path / "data.zip", LIMITS)


def test_folder_links_stay_inside(tmp_path: Path) -> None:
    inside = unpacked(tmp_path / "data", GOOD)
    (inside / "again.jpg").symlink_to(inside / "data/TRAIN/A/1.jpg")
    with open_archive(inside, LIMITS) as archive:
        assert archive.read("again.jpg") == b"one"


def test_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    unpacked(tmp_path / "data", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with open_archive(tmp_path / "link", LIMITS) as archive:
        assert archive.entries.keys() == GOOD.keys()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda odd: odd.symlink_to("/etc/passwd"), "is a link out of the folder", id="link out"),
        pytest.param(lambda odd: odd.symlink_to("../../secret"), "is a link out of the folder", id="relative link out"),
        pytest.param(lambda odd: odd.symlink_to("/etc"), "is a link to a folder", id="folder out"),
        pytest.param(lambda odd: odd.symlink_to("."), "is a link to a folder", id="round and round"),
        pytest.param(lambda odd: odd.symlink_to("gone"), "is a broken link", id="broken link"),
        pytest.param(os.mkfifo, "is a broken link, a device", id="pipe"),
    ],
)
def test_bad_folder_is_refused(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    inside = unpacked(tmp_path / "data", GOOD)
    spoil(inside / "data" / "odd.jpg")
    with pytest.raises(InputError, match=f"entry 'data/odd.jpg' {words}"):
        open_archive(inside, LIMITS)


def test_limits_of_a_folder(tmp_path: Path) -> None:
    inside = unpacked(tmp_path / "data", {**GOOD, "data/TRAIN/A/3.jpg": bytes(1_000_001)})
    limits = {**LIMITS, "file_mb": 1}
    with open_archive(inside, limits) as archive, pytest.raises(InputError, match=r"3\.jpg' has 1,000,001 bytes, more"):
        archive.read("data/TRAIN/A/3.jpg")
    with pytest.raises(InputError, match=r"has 4 files, more than the limit of 2; .*name a folder further in"):
        open_archive(inside, {**LIMITS, "files": 2})
