"""Archives: what is listed and read, and everything that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bad_zips import BAD_ZIPS, GOOD, in_headers, misnamed, zipped
from defaults import LIMITS
from wbcsr.dataset.archive import open_archive
from wbcsr.errors import InputError


def unpacked(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


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


def test_where_links_of_a_folder_may_lead_is_looked_at_again_when_they_are_read(tmp_path: Path) -> None:
    """Listed, the link leads into the folder named for links; then it comes to lead elsewhere."""
    unpacked(tmp_path, {"store/1.jpg": b"one", "secret.jpg": b"secret"})
    inside = unpacked(tmp_path / "data", GOOD)
    link = inside / "1.jpg"
    link.symlink_to(tmp_path / "store" / "1.jpg")
    with open_archive(inside, LIMITS, tmp_path / "store") as archive:
        assert archive.read("1.jpg") == b"one"
        link.unlink()
        link.symlink_to(tmp_path / "secret.jpg")
        with pytest.raises(InputError, match=r"1\.jpg' is a link to '.*secret\.jpg', outside"):
            archive.read("1.jpg")


def test_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    unpacked(tmp_path / "data", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with open_archive(tmp_path / "link", LIMITS) as archive:
        assert archive.entries.keys() == GOOD.keys()


def test_limits_of_a_folder(tmp_path: Path) -> None:
    inside = unpacked(tmp_path / "data", {**GOOD, "data/TRAIN/A/3.jpg": bytes(1_000_001)})
    limits = {**LIMITS, "file_mb": 1}
    with open_archive(inside, limits) as archive, pytest.raises(InputError, match=r"3\.jpg' has 1,000,001 bytes, more"):
        archive.read("data/TRAIN/A/3.jpg")
    with pytest.raises(InputError, match=r"has more than 2 files and folders; .*name a folder further in"):
        open_archive(inside, {**LIMITS, "files": 2})
