"""Archives that must be rejected: how to make each, and its message; and tar files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

GOOD = {"data/TRAIN/A/1.jpg": b"one", "data/TRAIN/A/2.jpg": b"two" * 1000, "note.txt": b""}


def zipped(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
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
    """An entry whose local header declares a UTF-8 name, although the name is not UTF-8."""
    in_headers(path, 6, 8, b"\0\x08")
    raw = bytearray(path.read_bytes())
    raw[30:31] = b"\xc7"
    path.write_bytes(raw)


def cut(path: Path, share: float) -> None:
    raw = zipped(path, GOOD).read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])


BAD_ZIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "parent": (lambda path: zipped(path, {"TRAIN/../../evil.jpg": b"x"}), "'TRAIN/../../evil.jpg' points outside"),
    "parent, backslashes": (lambda path: zipped(path, {"..\\evil.jpg": b"x"}), "points outside"),
    "parent folder": (lambda path: zipped(path, {"../": b""}), "'../' points outside"),
    "absolute": (lambda path: zipped(path, {"/etc/evil.jpg": b"x"}), "'/etc/evil.jpg' has an absolute path"),
    "drive": (lambda path: zipped(path, {"C:\\evil.jpg": b"x"}), "has an absolute path"),
    "share": (lambda path: zipped(path, {"\\\\host\\evil.jpg": b"x"}), "has an absolute path"),
    "backslash": (lambda path: zipped(path, {"TRAIN\\A\\1.jpg": b"x"}), "has a backslash"),
    "link": (lambda path: with_mode(path, stat.S_IFLNK | 0o777), "'TRAIN/A/odd.jpg' is a link"),
    "device": (lambda path: with_mode(path, stat.S_IFBLK | 0o600), "'TRAIN/A/odd.jpg' is a device"),
    "pipe": (lambda path: with_mode(path, stat.S_IFIFO | 0o600), "'TRAIN/A/odd.jpg' is a device"),
    "encrypted": (lambda path: in_headers(path, 6, 8, b"\x01"), "'TRAIN/A/1.jpg' is encrypted"),
    "strongly encrypted": (lambda path: in_headers(path, 6, 8, b"\x41"), "'TRAIN/A/1.jpg' is encrypted"),
    "twice": (twice, "'TRAIN/A/1.jpg' occurs twice"),
    "twice, written differently": (
        lambda path: zipped(path, {"TRAIN/A/1.jpg": b"a", "./TRAIN//A/1.jpg": b"b"}),
        "'./TRAIN//A/1.jpg' occurs twice",
    ),
    "bomb by ratio": (lambda path: zipped(path, {"TRAIN/A/1.jpg": bytes(2_000_000)}), "'TRAIN/A/1.jpg' grows"),
    "bomb by size": (lambda path: in_headers(path, 22, 24, struct.pack("<I", 200_000_001)), "unpacks to 200,000,001"),
    "Deflate64": (lambda path: in_headers(path, 8, 10, b"\x09\0"), "unusual method (Deflate64)"),
    "PPMd": (lambda path: in_headers(path, 8, 10, b"\x62\0"), "unusual method (PPMd)"),
    "RAR": (lambda path: path.write_bytes(b"Rar!\x1a\x07\x01\0" + bytes(50)), "is a RAR archive, which is not read"),
    "7z": (lambda path: path.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(50)), "is a 7z archive, which is not read"),
    "no zip": (lambda path: path.write_bytes(b"<html>Sign in</html>"), "is not a zip file"),
    "empty": (lambda path: path.write_bytes(b""), "is not a zip file"),
    "truncated in the middle": (lambda path: cut(path, 0.5), "is not a zip file, or is incomplete"),
    "truncated at the end": (lambda path: cut(path, 0.98), "is not a zip file, or is incomplete"),
}


def tarred(files: dict[str, bytes] | list[tarfile.TarInfo]) -> bytes:
    """A tar file of these files, or of empty entries."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as packed:
        if isinstance(files, list):
            for entry in files:
                packed.addfile(entry)
            return target.getvalue()
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes, ".tar.gz": gzip.compress, ".TGZ": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress,
}  # fmt: skip
GOOD_TAR = tarred(GOOD)
BIG = tarred({"TRAIN/A/1.jpg": bytes(2_000_000)})
BAD_TARS: dict[str, tuple[str, bytes, str]] = {
    "parent": (".tar", tarred({"TRAIN/../../evil.jpg": b"x"}), "'TRAIN/../../evil.jpg' points outside"),
    "absolute": (".tar", tarred({"/etc/evil.jpg": b"x"}), "'/etc/evil.jpg' has an absolute path"),
    "backslash": (".tar", tarred({"TRAIN\\A\\1.jpg": b"x"}), "has a backslash"),
    "link": (".tar", tarred([entry("TRAIN/A/1.jpg", tarfile.SYMTYPE, "/etc/passwd")]), "'TRAIN/A/1.jpg' is a link"),
    "hard link": (".tar", tarred([entry("TRAIN/A/1.jpg", tarfile.LNKTYPE, "/etc/passwd")]), "is a link"),
    "device": (".tar", tarred([entry("TRAIN/A/1.jpg", tarfile.BLKTYPE)]), "is a device"),
    "pipe": (".tar", tarred([entry("TRAIN/A/1.jpg", tarfile.FIFOTYPE)]), "is a device"),
    "twice": (".tar", tarred([entry("A/1.jpg"), entry("./A//1.jpg")]), "'./A//1.jpg' occurs twice"),
    "web page": (".tar.gz", b"<html>Sign in</html>", "is not a tar file"),
    "empty": (".tar", b"", "is not a tar file"),
    "without its end": (".tar", GOOD_TAR[:2048], "is incomplete"),
    "truncated in a file": (".tar", GOOD_TAR[: len(GOOD_TAR) // 4], "is incomplete"),
    "truncated gzip": (".tar.gz", gzip.compress(GOOD_TAR)[:-9], "is incomplete"),
    "damaged bzip2": (".tar.bz2", bz2.compress(GOOD_TAR)[:40] + b"damaged" * 20, "is incomplete"),
    "truncated xz": (".tar.xz", lzma.compress(GOOD_TAR)[:-9], "is incomplete"),
    "bomb by ratio": (".tar.gz", gzip.compress(BIG), "when unpacked, more than the limit of 200"),
    "no further gzip": (".tar.gz", gzip.compress(gzip.compress(GOOD_TAR)), "is not a tar file"),
}
