"""List the files of a folder: follows links only where this is allowed, and leaves out this workflow's results."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from wbcsr.config import OWN_FOLDERS
from wbcsr.errors import InputError
from wbcsr.files import IMAGE_SUFFIXES

# The file that identifies another study's working folder.
_MARK = os.path.join("results", "dataset", "images.csv")
_FETCH = "fetch it (`git annex get` or `dvc pull`)"

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


def printable(name: str) -> str:
    """Replace characters that are not printable or not valid UTF-8 by escapes; different names stay different."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), name)


def is_read(name: str) -> bool:
    """Whether a file of this name may be read: an image or boxes, not hidden, or labels.csv, the photographs' table."""
    leaf = name.rpartition("/")[2]
    return leaf == "labels.csv" or (leaf.lower().endswith((*IMAGE_SUFFIXES, ".xml")) and not leaf.startswith("."))


class Folder:
    """The files below the folder `path`; symbolic links may point to anything below it or below `links`.

    Hidden folders are left out, and so are the folders that this workflow writes (`OWN_FOLDERS`), both in the working
    folder and in that of another study.
    """

    def __init__(self, path: Path, links: str | Path | None) -> None:
        self.path = path
        self.links = links
        self.root = os.path.realpath(path)
        self._allowed = [self.root, *([os.path.realpath(links)] if links else [])]
        self._working = os.path.realpath(os.curdir)

    def files(self, most: int) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the path of each file inside the folder, with forward slashes, and its stat (of a link: the target's).

        Raises InputError if a folder cannot be read, if there are more than `most` files and folders, or if a link
        points outside the allowed folders, in a circle, or to a missing target. Links to files that are never read
        (`is_read`) are not followed.
        """
        # Folders to list: the path inside, the real path, and the real paths of all folders above.
        waiting = [("", self.root, frozenset([self.root]))]
        number = 0
        while waiting:
            inside, real, above = waiting.pop()
            below = []
            for entry in self._listed(inside, real):
                number += 1
                if number > most:
                    raise InputError(
                        f"{self.path}: has more than {most:,} files and folders; if this is intended, raise "
                        "dataset.limits.files, or choose a subfolder"
                    )
                name = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    target = entry.path
                elif entry.is_symlink() and os.path.isdir(entry.path):
                    target = self.target(name)
                    if target in above:
                        raise self._error(name, f"is a link to {target!r}, which contains it; remove it")
                else:
                    yield name, self._stat(name, entry)
                    continue
                below.append((f"{name}/", target, above | {target}))
            waiting += reversed(below)

    def target(self, name: str) -> str:
        """Return the real path of a file or folder after following links. Raises InputError if it is not allowed."""
        path = os.path.join(self.root, name)
        try:
            real = os.path.realpath(path, strict=True)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._error(name, "is a link that leads back to itself; remove it") from error
            if error.errno == errno.ENOENT and os.path.islink(path):
                raise self._error(
                    name, f"is a link to {os.readlink(path)!r}, whose content is not here; {_FETCH}, or remove the link"
                ) from error
            raise _unreadable(path, error) from error
        if not any(Path(real).is_relative_to(allowed) for allowed in self._allowed):
            outside = f"this folder and {self.links} (dataset.links)" if self.links else "this folder"
            raise self._error(
                name,
                f"is a link to {real!r}, outside {outside}; copy the file or folder there, or set dataset.links to the "
                "folder that the links point to",
            )
        return real

    def _listed(self, inside: str, real: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(real) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(os.path.join(self.path, inside), error) from error
        ours = OWN_FOLDERS if real == self._working or os.path.isfile(os.path.join(real, _MARK)) else ()
        return [entry for entry in listed if entry.name not in ours and not _is_hidden_folder(entry)]

    def _stat(self, name: str, entry: os.DirEntry[str]) -> os.stat_result:
        link = entry.is_symlink()
        # A broken link without a file extension may be meant as the folder of a class.
        follow = is_read(name) or ("." not in entry.name and not os.path.exists(entry.path))
        try:
            found = os.stat(self.target(name)) if link and follow else entry.stat(follow_symlinks=False)
        except OSError as error:
            raise _unreadable(entry.path, error) from error
        if is_read(name) and not stat.S_ISREG(found.st_mode):
            raise self._error(name, "is a device or another special file; remove it")
        return found

    def _error(self, name: str, problem: str) -> InputError:
        # A name from outside may contain anything; repr keeps the message on one line.
        return InputError(f"{self.path}: entry {name!r} {problem}")


def _is_hidden_folder(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") and os.path.isdir(entry.path)


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be read ({error.strerror}); correct its permissions, or run again if it is being changed"
    )
