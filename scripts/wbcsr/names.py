"""Names of files, classes and groups as people type them and spreadsheets save them."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable

log = logging.getLogger(__name__)

# Zero-width characters that Unicode does not count as white space: soft hyphen, direction marks, zero-width spaces and
# joiners, byte-order mark.
_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
_BLANKS = re.compile(rf"[\s{_INVISIBLE}]+")
_AROUND = re.compile(rf"\A[\s{_INVISIBLE}]+|[\s{_INVISIBLE}]+\Z")


def clean(text: str) -> str:
    """`text` without surrounding blanks and in Unicode's composed form (NFC).

    Blanks are all white space of Unicode, such as the no-break space, and zero-width characters. macOS stores file
    names in decomposed form (NFD).
    """
    return _AROUND.sub("", unicodedata.normalize("NFC", text))


def clean_path(path: str) -> str:
    """A path with each of its parts cleaned; a part that consists of blanks only is kept."""
    return "/".join(clean(name) or name for name in path.split("/"))


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of different names that probably mean the same thing.

    They differ only in letter case, blanks, full-width characters or leading zeros (`p7`, `p007`), or are an integer
    and its decimal form (`1`, `1.0`).
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault(_look(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _look(name: str) -> str:
    folded = _BLANKS.sub("", unicodedata.normalize("NFKC", name)).casefold()
    return re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"\A(\d+)[.,]0+\Z", r"\1", folded))


def warn_of_alike(names: Iterable[str], where: str, remedy: str) -> None:
    """Warn once about the names in `where` that probably mean the same; each still counts as a separate name."""
    groups = alike(names)
    if groups:
        shown = "; ".join(", ".join(map(repr, group)) for group in groups[:3]) + ("; …" if len(groups) > 3 else "")
        log.warning(
            "%s: these differ only by letter case, blanks, leading zeros or a final .0, and count as different: %s; %s",
            where,
            shown,
            remedy,
        )
