"""Names that people type and spreadsheets save: of files, classes and groups."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable

log = logging.getLogger(__name__)

# Characters without a width, which Unicode does not count as white space: soft hyphen, marks of direction, zero-width
# spaces and joiners, byte-order mark.
_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_BLANKS = re.compile(rf"[\s{_INVISIBLE}]+")
_AROUND = re.compile(rf"\A[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+\Z")


def clean(text: str) -> str:
    """`text` without the blanks around it, and each letter and its marks in one character (Unicode's NFC).

    Blanks are all white space of Unicode, such as the no-break space, and characters without a width. macOS writes
    letters and their marks apart (NFD).
    """
    return _AROUND.sub("", unicodedata.normalize("NFC", text))


def clean_path(path: str) -> str:
    """A path with the name of each folder, and its own, cleaned; a name of blanks alone stays."""
    return "/".join(clean(name) or name for name in path.split("/"))


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that look as if they were one.

    They differ by letter case, blanks, characters of another width, leading zeros (`p7`, `p007`) or as a whole number
    and its decimal (`1`, `1.0`) only.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(_look(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _look(name: str) -> str:
    folded = _BLANKS.sub("", unicodedata.normalize("NFKC", name)).casefold()
    return re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"\A(\d+)[.,]0+\Z", r"\1", folded))


def warn_of_alike(names: Iterable[str], where: str, remedy: str) -> None:
    """Warn once of the names found `where` that look as if they were one; each counts as a name of its own."""
    groups = alike(names)
    if groups:
        shown = "; ".join(", ".join(map(repr, group)) for group in groups[:3]) + ("; …" if len(groups) > 3 else "")
        log.warning(
            "%s: these differ only by letter case, blanks, leading zeros or a final .0, and count as different: %s; %s",
            where,
            shown,
            remedy,
        )
