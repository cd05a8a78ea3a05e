"""Archives: listing, reading, and everything that is rejected."""

from __future__ import annotations

import gzip
import struct
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import imagecodecs
import pytest

from bad_zips import BAD_TARS, BAD_ZIPS, COMPRESSED, GOOD, GOOD_TAR, in_headers, misnamed, zipped
from defaults import LIMITS
from wbcsr.dataset import archive as archives
from wbcsr.dataset.archive import open_archive
from wbcsr.dataset.ingest import ingest
from wbcsr.errors import InputError


def unpacked(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize(("make", "words"), BAD_ZIPS.values(), ids=BAD_ZIPS.keys())
def test_a_bad_zip_is_rejected_with_one_line(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "archive.zip"
    make(path)
    with pytest.raises(InputError) as caught:
        open_archive(path, LIMITS)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(path))
    assert "\n" not in message


@pytest.mark.parametrize(("suffix", "content", "words"), BAD_TARS.values(), ids=BAD_TARS.keys())
def test_a_bad_tar_file_is_rejected_with_one_line(tmp_path: Path, suffix: str, content: bytes, words: str) -> None:
    path = tmp_path / f"archive{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_archive(path, LIMITS)
    message = str(caught.value)
    assert words in message
    assert message.startswith(str(path))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"files": 2}, r"has at least 3 entries, more .* raise dataset\.limits\.files"),
        ({"total_gb": 0}, r"unpacks to at least [\d,]+ bytes, more .* raise dataset\.limits\.total_gb"),
        ({"file_mb": 0}, r"'data/TRAIN/A/1.jpg' unpacks to 3 bytes, more .* raise dataset\.limits\.file_mb"),
    ],
)
def test_limits_of_a_compressed_tar_file(tmp_path: Path, limits: dict[str, int], words: str) -> None:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(gzip.compress(GOOD_TAR))
    with pytest.raises(InputError, match=words):
        open_archive(path, {**LIMITS, **limits})


def test_a_tar_file_that_does_not_fit_on_the_disk_gives_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(gzip.compress(GOOD_TAR))
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb+", buffering=0))  # noqa: SIM115
    with pytest.raises(InputError, match=r"archive\.tar\.gz: cannot be unpacked into .*No space left.*TMPDIR"):
        open_archive(path, LIMITS)


def test_zstandard_is_read_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "archive.tar.zst"
    path.write_bytes(imagecodecs.zstd_encode(GOOD_TAR))
    if sys.version_info >= (3, 14) or (find_spec("backports") and find_spec("backports.zstd")):
        with open_archive(path, LIMITS) as archive:
            assert {name: archive.read(name) for name in archive.entries} == GOOD
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"archive\.tar\.zst: is compressed with Zstandard, .*backports\.zstd"):
        open_archive(path, LIMITS)


class Decompressor:
    """Stands for that of Python 3.14 where it is missing."""

    def decompress(self, packed: bytes, most: int) -> bytes:
        return bytes(imagecodecs.zstd_decode(packed))[:most]


def test_zstandard_in_a_zip_is_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = archives.zstandard() or SimpleNamespace(ZstdDecompressor=Decompressor, ZstdError=imagecodecs.ZstdError)
    monkeypatch.setattr(archives, "zstandard", lambda: module)
    content = bytes(range(256)) * 9
    packed = imagecodecs.zstd_encode(content)
    cases = {
        (packed, len(content)): None,
        (packed, 99): "is shorter|is damaged",
        (packed[:-9] + bytes(9), 2304): "is dam",
    }
    for (stored, size), words in cases.items():
        path = zipped(tmp_path / "archive.zip", {"TRAIN/A/1.jpg": stored}, zipfile.ZIP_STORED)
        raw = bytearray(path.read_bytes())
        central = raw.index(b"PK\x01\x02")
        raw[central + 10 : central + 12] = struct.pack("<H", 93)
        raw[central + 16 : central + 28] = struct.pack("<III", zlib.crc32(content), len(stored), size)
        path.write_bytes(raw)
        with open_archive(path, LIMITS) as archive:
            if not words:
                assert archive.read("TRAIN/A/1.jpg") == content
                continue
            with pytest.raises(InputError, match=rf"'TRAIN/A/1\.jpg' {words}"):
                archive.read("TRAIN/A/1.jpg")
    monkeypatch.setattr(archives, "zstandard", lambda: None)
    with pytest.raises(InputError, match=r"unusual method \(Zstandard\)"):
        open_archive(path, LIMITS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_zip_files_are_read_within_bounds(tmp_path: Path, method: int) -> None:
    """An entry that unpacks to more than it declares is rejected, and no more than that is unpacked."""
    path = zipped(tmp_path / "archive.zip", {**GOOD, "data/noise": bytes(range(256)) * 9}, method)
    with open_archive(path, LIMITS) as archive:
        assert {name: archive.read(name) for name in GOOD} == GOOD
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 4)  # the second file's central header
    for field, value in ((24, 2999), (16, 7)):  # its size, its checksum
        damaged = raw.copy()
        damaged[place + field : place + field + 4] = struct.pack("<I", value)
        path.write_bytes(damaged)
        with open_archive(path, LIMITS) as archive, pytest.raises(InputError, match=r"2\.jpg' is (damaged|shorter)"):
            archive.read("data/TRAIN/A/2.jpg")


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


def test_a_high_compression_ratio_is_accepted_if_the_limit_allows_it(tmp_path: Path) -> None:
    path = zipped(tmp_path / "archive.zip", {"white.bmp": bytes(2_000_000)})
    with open_archive(path, {**LIMITS, "ratio": 1032}) as archive:
        assert len(archive.read("white.bmp")) == 2_000_000


def test_small_files_may_have_a_high_compression_ratio(tmp_path: Path) -> None:
    with open_archive(zipped(tmp_path / "archive.zip", {"white.bmp": bytes(900_000)}), LIMITS) as archive:
        assert archive.read("white.bmp") == bytes(900_000)


@pytest.mark.parametrize("make", [zipped, unpacked])
def test_zip_and_folder_list_and_read_the_same(tmp_path: Path, make: Callable[..., Path]) -> None:
    with open_archive(make(tmp_path / "archive", GOOD), LIMITS) as archive:
        assert archive.entries == {name: len(content) for name, content in GOOD.items()}
        assert {name: archive.read(name) for name in archive.entries} == GOOD


@pytest.mark.parametrize(("suffix", "compress"), COMPRESSED.items(), ids=COMPRESSED.keys())
def test_a_tar_file_reads_the_same(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / f"archive{suffix}").write_bytes(compress(GOOD_TAR))
    with open_archive(tmp_path / f"archive{suffix}", LIMITS) as archive:
        assert archive.entries == {name: len(content) for name, content in GOOD.items()}
        assert {name: archive.read(name) for name in reversed(archive.entries)} == GOOD


class Named(zipfile.ZipInfo):
    """An entry whose name has an encoding that the zip does not declare."""

    encoding = "utf-8"

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode(self.encoding), self.flag_bits


def named(path: Path, names: list[str], encoding: str) -> Path:
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            entry = Named(name)
            entry.encoding = encoding
            packed.writestr(entry, name)
    return path


@pytest.mark.parametrize(("encoding", "form"), [("utf-8", "NFC"), ("utf-8", "NFD"), ("cp437", "NFC")])
def test_names_are_decoded_correctly(tmp_path: Path, encoding: str, form: str) -> None:
    """macOS stores decomposed UTF-8 and does not declare it; the format's default encoding is cp437."""
    name = unicodedata.normalize(form, "Größe/ä.png")
    with open_archive(named(tmp_path / "a.zip", [name], encoding), LIMITS) as archive:
        assert list(archive.entries) == ["Größe/ä.png"]
        assert archive.read("Größe/ä.png").decode() == name


@pytest.mark.parametrize(
    ("encoding", "classes"), [("cp1252", ["Größe", "A"]), ("gbk", ["红细胞", "A"]), ("cp932", ["好酸球", "A"])]
)
def test_a_class_name_in_an_unknown_encoding_is_an_error(tmp_path: Path, encoding: str, classes: list[str]) -> None:
    path = named(tmp_path / "a.zip", [f"{name}/1.png" for name in classes], encoding)
    with pytest.raises(InputError) as caught:
        ingest(
            path,
            {
                "classes": classes,
                "partitions": None,
                "limits": LIMITS,
                "links": None,
                "limit_per_class": None,
                "git": None,
                "range": None,
                "first_page": False,
            },
            tmp_path / "images.csv",
            tmp_path / "rejected.csv",
            tmp_path / "original",
            {},
        )
    assert f"has no folder {classes[0]!r}" in str(caught.value)
    assert "they are not in UTF-8" in str(caught.value)


def test_a_letter_whose_encoding_contains_a_backslash_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has a backslash .* they are not in UTF-8"):
        open_archive(named(tmp_path / "a.zip", ["表/1.png"], "cp932"), LIMITS)


def test_blanks_around_folder_names_are_ignored(tmp_path: Path) -> None:
    files = {"TRAIN /A\u00a0/1.png": b"one", "TRAIN/B/ 2.png": b"two"}
    for make in (zipped, unpacked):
        with open_archive(make(tmp_path / make.__name__, files), LIMITS) as archive:
            assert {name: archive.read(name) for name in archive.entries} == {
                "TRAIN/A/1.png": b"one",
                "TRAIN/B/2.png": b"two",
            }


@pytest.mark.parametrize(("make", "words"), [(zipped, "occurs twice"), (unpacked, "differs from another file")])
def test_names_that_differ_only_by_a_blank_are_rejected(tmp_path: Path, make: Callable[..., Path], words: str) -> None:
    with pytest.raises(InputError, match=words):
        open_archive(make(tmp_path / "archive", {"A/1.png": b"one", "A /1.png": b"two"}), LIMITS)


def test_folder_entries_of_a_zip_are_not_listed(tmp_path: Path) -> None:
    with open_archive(
        zipped(tmp_path / "a.zip", {"TRAIN/": b"", "TRAIN/A/": b"", "TRAIN/A/1.jpg": b"x"}), LIMITS
    ) as archive:
        assert archive.entries == {"TRAIN/A/1.jpg": 1}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: in_headers(path, 14, 16, b"\0\0\0\0"), id="wrong checksum"),
        pytest.param(lambda path: in_headers(path, 22, 24, b"\x02\0\0\0"), id="more data than declared"),
        pytest.param(lambda path: in_headers(path, 22, 24, b"\xff\0\0\0"), id="less data than declared"),
        pytest.param(lambda path: in_headers(path, 8, 10, b"\x08\0"), id="cannot be unpacked"),
        pytest.param(lambda path: misnamed(path), id="a name that is not UTF-8"),
    ],
)
def test_a_damaged_entry_is_an_error_when_it_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "archive.zip"
    make(path)
    with (
        open_archive(path, LIMITS) as archive,
        pytest.raises(InputError, match=r"'TRAIN/A/1.jpg' is (damaged|shorter)"),
    ):
        archive.read("TRAIN/A/1.jpg")


def test_a_missing_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.zip: there is no such archive or folder; .*dataset\.archive"):
        open_archive(tmp_path / "data.zip", LIMITS)


def test_the_target_of_a_link_is_checked_again_when_it_is_read(tmp_path: Path) -> None:
    """When it is listed, the link points into the allowed folder; then it is changed to point elsewhere."""
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


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    unpacked(tmp_path / "data", GOOD)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with open_archive(tmp_path / "link", LIMITS) as archive:
        assert archive.entries.keys() == GOOD.keys()


def test_limits_of_a_folder(tmp_path: Path) -> None:
    inside = unpacked(tmp_path / "data", {**GOOD, "data/TRAIN/A/3.jpg": bytes(1_000_001)})
    limits = {**LIMITS, "file_mb": 1}
    with open_archive(inside, limits) as archive, pytest.raises(InputError, match=r"3\.jpg' has 1,000,001 bytes, more"):
        archive.read("data/TRAIN/A/3.jpg")
    with pytest.raises(InputError, match=r"has more than 2 files and folders; .*dataset\.limits\.files"):
        open_archive(inside, {**LIMITS, "files": 2})
