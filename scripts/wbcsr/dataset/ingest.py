"""Ingest the data set: find its images in an archive, verify each one, and copy them with their hashes."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.config import UNPUBLISHED, extra_tests_of, partitions_of
from wbcsr.dataset.archive import Archive, is_lfs_pointer, open_archive
from wbcsr.dataset.boxes import Boxes
from wbcsr.dataset.classes import Classes
from wbcsr.dataset.folder import UNPRINTABLE, printable
from wbcsr.dataset.labels import read_labels
from wbcsr.errors import InputError
from wbcsr.files import IMAGE_SUFFIXES, read_users_table, sha256, without_suffix, write_bytes, write_csv
from wbcsr.imaging import formats
from wbcsr.names import clean_path
from wbcsr.progress import side_by_side
from wbcsr.text import counted

log = logging.getLogger(__name__)

Folder = tuple[str, str]  # partition, class

IMAGE_COLUMNS = ["image", "partition", "class", "width", "height", "sha256"]
REJECTED_COLUMNS = ["image", "reason"]
MANIFEST_COLUMNS = ["image", "file", "width", "height", "sha256", "input_sha256"]

# File systems allow 255 bytes; the rest is for the suffixes of later files with the same name.
MAX_NAME_BYTES = 200
# 16-bit images that use a smaller fraction of their range come from a camera with fewer bits, and look black.
_LEAST_CONTRAST = 1 / 4
# Writing waits for the disk, not for a core: eight threads took a sixth of one thread's time.
_WRITERS = 8
# At most this many folders without images of a class are listed.
PLACES_NAMED = 10
_ARCHIVE_SUFFIXES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True, slots=True)
class _Verified:
    """A decoded file: size of the upright image, hash of the file to write, and hash of the file itself."""

    width: int
    height: int
    sha256: str
    own_sha256: str
    levels: _Levels | None


@dataclass(frozen=True)
class _Levels:
    """Values of the colours in an image of more than 8 bits, and the number of pixels that dataset.range clips.

    All but 0.1 % of the values are between `low` and `high`, so that single bright pixels have no effect.
    """

    least: float
    greatest: float
    low: float
    high: float
    pixels: int
    cut: int


def ingest(
    archive: Path,
    dataset: dict[str, Any],
    images_csv: Path,
    rejected_csv: Path,
    originals: Path,
    manifests: dict[Folder, Path],
    threads: int = 2,
    listed: Path | None = None,
    labels: Path | None = None,
) -> dict[str, Any]:
    """Copy the images of `dataset` (section of the configuration) from `archive` and describe them.

    Images are the files `<anything>/<partition>/<class>/<file>`, at any depth, of the configured partitions and
    classes; if `partitions` is None, the files `<anything>/<class>/<file>`; with the CSV file `labels`, the files that
    it lists (see `read_labels`; its rows of other classes are rejected). `members` gives the folders of each class (see
    `Classes`); if there are several, an image is named `<folder>_<file>`. With `boxes`, the archive is that of `Boxes`.
    Images in a folder that belongs to no class, beside the folders of classes, are rejected by their path. All other
    files of the archive are ignored. A file in a class's folder is kept, rejected with a reason, or left out. Files are
    left out if they are not in the column image of the CSV file `listed` (if given), and if they exceed
    `limit_per_class` (the first files in sorted order are used; rejected files are replaced by the next ones). Only the
    remaining files are compared for byte-identical duplicates:

    - A file whose bytes also occur in another class is rejected with all its duplicates, because its label is not
    known.
    - Duplicates within a class are kept, but counted in the log: their label is known, and the study used every file of
    its archive (which has no byte-identical duplicates).

    Writes the images' bytes unchanged to `<originals>/<partition>/<class>/<file>`. An existing file with the same
    SHA-256 is not written again, and images that no longer belong there are removed. With `range` (levels of black and
    white), images of more than 8 bits are rewritten with these levels as 0 and 65535, and with `first_page` the first
    page is written of files that have several, so that all later stages read the same pixels without knowing about
    these keys; all hashes are those of the written files. Also writes `images_csv` and
    `rejected_csv` (`IMAGE_COLUMNS`, `REJECTED_COLUMNS`) and, last, the manifest of each (partition, class), whose
    `file` is relative to `<originals>/<partition>/<class>`. Sizes are those of the upright image in pixels. Rows are
    sorted by partition (train first), class as configured, and file name. Nothing is changed before all files are
    verified.

    Returns the numbers of files kept, rejected, left_out, copies (byte-identical, in the same class) and ignored; and
    elsewhere, the number of ignored files by outermost folder that contains no used file (or by file name), at most
    `PLACES_NAMED`, the largest first. For images of more than 8 bits also their number as deep, their least_level and
    greatest_level, and the number of pixels that `range` clips. If git wrote the zip file, also its commit.

    Raises InputError if the archive is rejected (see `open_archive`), damaged or not of the commit of `git`, lacks a
    partition or class (an extra test may lack classes), contains an image twice or under names that differ only in
    case, or has no usable training image of a class; if `listed` is empty, lists an image twice, lists one that does
    not exist, or lists none of a class; and if `labels` is wrong, or lists a file that does not exist or is not unique.
    """
    partitions = partitions_of(dataset)
    folders: list[Folder] = [(partition, name) for partition in partitions.values() for name in dataset["classes"]]
    extra = set(extra_tests_of(partitions).values())
    classes = Classes(dataset)
    with ExitStack() as opened:
        contents = opened.enter_context(open_archive(archive, dataset["limits"], dataset["links"], list(classes.names)))
        if dataset.get("boxes"):
            contents = Boxes(contents, dataset["first_page"])
        commit, git = contents.commit, dataset["git"]
        if git and commit != git["commit"]:
            raise InputError(f"{archive}: is not of the commit {git['commit']} of dataset.git; delete it and run again")
        _check_not_nested(contents, in_folders=labels is None)
        if labels is None:
            found, rejected, used = _find(contents, folders, classes, dataset, extra)
        else:
            found, rejected, used = _find_labelled(contents, labels, dataset)
        there = set(found)
        elsewhere = _elsewhere(contents.entries, used)
        if listed is not None:
            wanted = _listed(listed, there | rejected.keys(), contents, dataset["classes"])
            found = {image: entry for image, entry in found.items() if image in wanted}
            rejected = {image: reason for image, reason in rejected.items() if image in wanted}
        verified = _verify(contents, found, folders, dataset, rejected, threads)
        _check_folders_filled(contents, verified, rejected, folders, partitions["train"])
        _name_absent(verified, dataset["classes"], extra)
        order = sorted(verified, key=lambda image: (folders.index(_folder(image)), image))
        images = pd.DataFrame(
            [(image, *_folder(image), *_columns(verified[image])) for image in order], columns=IMAGE_COLUMNS
        )
        _copy(contents, found, images, originals, dataset)
    remove_others(originals, {originals / image for image in images["image"]})
    write_csv(images_csv, images)
    write_csv(rejected_csv, pd.DataFrame(sorted(rejected.items()), columns=REJECTED_COLUMNS))
    for (partition, name), path in manifests.items():
        rows = images[(images["partition"] == partition) & (images["class"] == name)]
        rows = rows.assign(file=rows["image"].map(_name), input_sha256=rows["sha256"])
        write_csv(path, rows[MANIFEST_COLUMNS])
    summary = {
        "kept": len(images),
        "rejected": len(rejected),
        "left_out": len(there - set(verified) - set(rejected)),
        "copies": int(images.duplicated(["class", "sha256"]).sum()),
        "ignored": elsewhere.total(),
        "elsewhere": dict(elsewhere.most_common(PLACES_NAMED)),
        **({"commit": commit} if commit else {}),
    }
    _report(summary, len(elsewhere), images)
    return summary | _report_levels([each.levels for each in verified.values() if each.levels], dataset["range"])


def _check_not_nested(contents: Archive, in_folders: bool) -> None:
    """Raise InputError if there are archives in the archive, but no images (if `in_folders`, none in a folder)."""
    inner = sorted(entry for entry in contents.entries if entry.lower().endswith(_ARCHIVE_SUFFIXES))
    places = (entry for entry in contents.entries if "/" in entry or not in_folders)
    if inner and not any(entry.lower().endswith(IMAGE_SUFFIXES) for entry in places):
        where = " in a folder" if in_folders else ""
        listed = ", ".join([*map(repr, inner[:5]), *["…"][: len(inner) > 5]])
        raise InputError(
            f"{contents.path}: has no image{where}, but {counted(len(inner), 'archive')} ({listed}), which the "
            "workflow does not open; unpack them into a folder and set dataset.archive to it"
        )


def _columns(verified: _Verified) -> tuple[int, int, str]:
    return verified.width, verified.height, verified.sha256


def _elsewhere(entries: Iterable[str], used: set[str]) -> Counter[str]:
    """Count unused entries by the outermost folder without a used entry (`masks/`), or by their own name."""
    ours = {"/".join(parts[:depth]) for parts in (entry.split("/") for entry in used) for depth in range(1, len(parts))}
    places: Counter[str] = Counter()
    for entry in entries:
        if entry not in used:
            parts = entry.split("/")
            folders = ("/".join(parts[:depth]) for depth in range(1, len(parts)))
            outermost = next((f"{folder}/" for folder in folders if folder not in ours), entry)
            places[printable(outermost)] += 1
    return places


def _name(image: str) -> str:
    return image.rpartition("/")[2]


def _folder(image: str) -> Folder:
    partition, name, _ = image.split("/")
    return partition, name


Found = tuple[dict[str, str], dict[str, str], set[str]]


def _find(
    contents: Archive, folders: list[Folder], classes: Classes, dataset: dict[str, Any], extra: set[str]
) -> Found:
    """Return image → entry, rejected file → reason, and the entries of both; `extra` partitions may lack classes."""
    published = dataset["partitions"] is not None
    found: dict[str, str] = {}
    rejected: dict[str, str] = {}
    present: set[Folder] = set()
    used: set[str] = set()
    parents: set[str] = set()
    outside: list[str] = []
    for entry in contents.entries:
        folder, depth = _place(contents, entry, folders, classes, published)
        if folder is None:
            outside.append(entry)
            continue
        parts = entry.split("/")
        below = parts[depth:]
        parents.add("/".join(parts[: depth - 1]) or ".")
        used.add(entry)
        present.add(folder)
        # Files of a class's folders may have the same names.
        first = f"{parts[depth - 1]}_{below[0]}" if classes.is_merged(folder[1]) else below[0]
        image = "/".join([*folder, first, *below[1:]])
        reason = _reason_to_reject(below)
        if reason is not None:
            rejected[printable(image)] = reason
        elif image in found:
            raise InputError(
                f"{contents.path}: {image} occurs twice, as {found[image]!r} and {entry!r}; "
                "set dataset.archive to the right folder, or give each file's class in a table (dataset.labels)"
            )
        else:
            found[image] = entry
    needed = [folder for folder in folders if folder[0] not in extra]
    # Of a partition that is not there, each class is missed.
    needed += [folder for folder in folders if folder[0] in extra - {partition for partition, _ in present}]
    _check_folders_present(contents, needed, classes, present, published)
    _check_case(contents.path, found)
    unclassed = _without_class(outside, parents, dataset.get("photographs"))
    rejected |= {
        printable(entry): f"lies in the folder {name!r}, which dataset.classes lacks"
        for entry, name in unclassed.items()
    }
    used |= unclassed.keys()
    if unclassed:
        counts = Counter(unclassed.values())
        named = ", ".join(f"{name!r} ({number})" for name, number in counts.most_common(PLACES_NAMED))
        log.info("left out: %s in folders that dataset.classes lacks (%s)", counted(len(unclassed), "image"), named)
    if len(parents) > 1 and not published:
        log.warning(
            "%s: the classes are found in %s (%s); if these are partitions, list them in dataset.partitions",
            contents.path,
            counted(len(parents), "folder"),
            ", ".join([*map(printable, sorted(parents)[:5]), *["…"][: len(parents) > 5]]),
        )
    return found, rejected, used


def _without_class(outside: Iterable[str], parents: Collection[str], photographs: str | None) -> dict[str, str]:
    """Return each image `outside` the classes' folders → its folder, if this folder is beside those of classes.

    `parents` are the folders that contain folders of classes. Images in the folder of `photographs` are left out.
    """
    found = {}
    for entry in outside:
        *above, name = entry.split("/")
        depth = next((at for at in reversed(range(len(above))) if ("/".join(above[:at]) or ".") in parents), None)
        is_photograph = photographs and f"/{clean_path(photographs.strip('/'))}/" in f"/{entry}"
        if depth is not None and name.lower().endswith(IMAGE_SUFFIXES) and name[0] != "." and not is_photograph:
            found[entry] = above[depth]
    return found


def _place(
    contents: Archive, entry: str, folders: Collection[Folder], classes: Classes, published: bool
) -> tuple[Folder | None, int]:
    """Return the innermost of `folders` that contains a file, or None, and the number of path components up to it.

    Raises InputError if there are no partitions and the file is in folders of two classes, for example if a patient's
    folder has the name of a class.
    """
    parts = entry.split("/")
    depth = 2 if published else 1
    names = [
        (parts[at] if published else UNPUBLISHED, classes.of(parts[at + depth - 1])) for at in range(len(parts) - depth)
    ]
    places = {(part, name): at + depth for at, (part, name) in enumerate(names) if name and (part, name) in folders}
    if len(places) > 1 and not published:
        (_, one), (_, other), *_ = places
        raise InputError(
            f"{contents.path}: {entry!r} is in the folders of two classes, {one!r} and {other!r}; set dataset.archive "
            "to the folder with the classes, or give each file's class in a table (dataset.labels)"
        )
    return next(reversed(places.items()), (None, 0))


def _find_labelled(contents: Archive, labels: Path, dataset: dict[str, Any]) -> Found:
    """Like `_find`, for the files that the CSV file `labels` identifies by the end of their path."""
    table = read_labels(labels, dataset)
    depth = 1 + max(file.count("/") for file in table["file"])
    # The end of a path → its files; also without the ending of the name. One look-up is faster than comparing all.
    by_path, by_stem = _by_end(contents.entries, str, depth), _by_end(contents.entries, without_suffix, depth)
    found: dict[str, str] = {}
    rejected: dict[str, str] = {}
    used: set[str] = set()
    missing = []
    for image, file, _, left_out in table.itertuples(index=False):
        by_name = by_path.get(file, [])
        alike = by_name or by_stem.get(file, [])
        # A file that is listed with its whole path is not compared by the end of its path.
        entries = [entry for entry in alike if file in (entry, without_suffix(entry))] or alike
        if left_out:
            if len(entries) == 1:
                used.add(entries[0])
                rejected[printable(file)] = left_out
            continue
        if len(entries) > 1:
            raise InputError(
                f"{labels}: {file!r} matches more than one file of {contents.path}: {entries[0]!r} and "
                f"{entries[1]!r}; give a longer part of the path, or the ending of the name (dataset.labels)"
            )
        if not entries:
            missing.append(file)
            continue
        if entries[0] in used:
            raise InputError(f"{labels}: has two rows for {entries[0]!r}; keep one of them (dataset.labels)")
        used.add(entries[0])
        if not by_name:
            image += entries[0][len(without_suffix(entries[0])) :]
        reason = _reason_to_reject([_name(image)])
        if image in found:
            raise InputError(
                f"{labels}: {found[image]!r} and {entries[0]!r} would both become {image}; rename one of them"
            )
        if reason is None:
            found[image] = entries[0]
        else:
            rejected[printable(image)] = reason
    if missing:
        raise InputError(
            f"{labels}: lists {counted(len(missing), 'file')} (first: {missing[0]!r}) not in "
            f"{contents.path}; correct or remove those rows (dataset.labels){contents.doubt}"
        )
    _check_case(labels, found)
    return found, rejected, used


def _by_end(entries: Iterable[str], name: Callable[[str], str], depth: int) -> dict[str, list[str]]:
    """Return the last 1 to `depth` components of each entry's `name` → the entries."""
    found: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        parts = name(entry).split("/")[-depth:]
        for start in range(len(parts)):
            found["/".join(parts[start:])].append(entry)
    return found


def _check_case(path: Path, found: dict[str, str]) -> None:
    folded: dict[str, str] = {}
    for image in sorted(found):
        other = folded.setdefault(image.casefold(), image)
        if other != image:
            raise InputError(f"{path}: {other} and {image} differ only in case; rename one of them")


def _listed(path: Path, there: set[str], contents: Archive, classes: list[str]) -> set[str]:
    """Return the images listed in the CSV file `path`, all of which must be in `there`."""
    remedy = "correct it (dataset.images)"
    images = read_users_table(path, ["image"], remedy)["image"]
    twice = images[images.duplicated()]
    if len(twice):
        raise InputError(f"{path}: lists {twice.iloc[0]} twice; {remedy}")
    strange = [image for image in images if image not in there]
    if strange:
        raise InputError(
            f"{path}: lists {len(strange)} of {counted(len(images), 'image')} (first: {strange[0]}) that "
            f"{contents.path} does not have in the configured partitions and classes; {remedy}"
        )
    missing = sorted(set(classes) - {_folder(image)[1] for image in images})
    if missing:
        raise InputError(f"{path}: lists no image of class {missing[0]!r}; {remedy}, or remove it from dataset.classes")
    return set(images)


def _reason_to_reject(below: list[str]) -> str | None:
    """Return the reason why a file at this path below its class's folder cannot be an image, or None."""
    name = below[-1]
    # A leading dot marks hidden files, among them the ._<name>.jpeg that macOS adds to zips.
    if name.startswith("."):
        return "not an image"
    if not name.lower().endswith(IMAGE_SUFFIXES):
        return formats.by_ending(name) or "not an image by the ending of its name"
    if len(below) > 1:
        return "lies in a folder below its class's folder; move it up"
    if UNPRINTABLE.search(name):
        return "has a control character, a backslash or an invalid character in its name; rename it"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has a name of more than {MAX_NAME_BYTES} bytes; rename it"
    return None


def _check_folders_present(
    contents: Archive, folders: list[Folder], classes: Classes, present: set[Folder], published: bool
) -> None:
    parents = {entry.rpartition("/")[0] for entry in contents.entries}
    names = {name for path in parents for name in path.split("/") if name}
    nested = {pair for path in parents for pair in pairwise(path.split("/"))}
    for partition, name in folders:
        if (partition, name) in present:
            continue
        described, first = classes.described(name), classes.members[name][0]
        if not published:
            raise InputError(
                f"{contents.path}: has no folder {described} with files (dataset.classes); {_nearest(first, names)}"
                f"{contents.doubt}"
            )
        if partition not in names:
            raise InputError(
                f"{contents.path}: has no folder {partition!r} with files (dataset.partitions); "
                f"{_nearest(partition, names)}{contents.doubt}"
            )
        there = {below for above, below in nested if above == partition}
        raise InputError(
            f"{contents.path}: has no folder {described} with files in {partition!r} (dataset.classes); "
            f"{_nearest(first, there)}{contents.doubt}"
        )
    # A class may have files without all of its folders.
    for name in classes.names:
        if name not in names:
            raise InputError(
                f"{contents.path}: has no folder {name!r} with files (dataset.classes); {_nearest(name, names)}"
                f"{contents.doubt}"
            )


def _nearest(missing: str, names: Iterable[str]) -> str:
    """Return a remedy: the nearest of `names`, or a list of the existing ones."""
    by_folded = {name.casefold(): name for name in sorted(names)}
    near = difflib.get_close_matches(missing.casefold(), by_folded)
    if near:
        return f"the nearest is {by_folded[near[0]]!r}"
    listed = [repr(name) for name in list(by_folded.values())[:10]]
    return f"found {', '.join(listed) or 'no folder'}" + (" and more" if len(by_folded) > 10 else "")


def _verify(
    contents: Archive,
    found: dict[str, str],
    folders: list[Folder],
    dataset: dict[str, Any],
    rejected: dict[str, str],
    threads: int,
) -> dict[str, _Verified]:
    """Decode the images to use; images that fail, or whose label is not known, are added to `rejected`."""
    limit = dataset["limit_per_class"]
    waiting: dict[Folder, list[str]] = {folder: [] for folder in folders}
    for image in sorted(found):
        waiting[_folder(image)].append(image)
    verified: dict[str, _Verified] = {}
    copies: dict[str, list[str]] = defaultdict(list)
    while True:
        kept = Counter(map(_folder, verified))
        batch = []
        for folder, images in waiting.items():
            wanted = len(images) if limit is None else limit - kept[folder]
            batch += images[:wanted]
            waiting[folder] = images[wanted:]
        if not batch:
            return verified

        def check(image: str) -> _Verified | str:
            return _decode(contents.read(found[image]), image, dataset)

        for image, outcome in zip(batch, side_by_side(check, batch, threads, "verify"), strict=True):
            if isinstance(outcome, str):
                rejected[image] = outcome
            else:
                verified[image] = outcome
                copies[outcome.own_sha256].append(image)
        for alike in copies.values():
            # Each image is compared with one of each class; a data set may have many equal files.
            firsts: dict[str, str] = {}
            for image in alike:
                firsts.setdefault(_folder(image)[1], image)
            for image in alike if len(firsts) > 1 else []:
                other = next(first for name, first in firsts.items() if name != _folder(image)[1])
                if image in verified:
                    del verified[image]
                    rejected[image] = f"has the same bytes as {other}, which is of another class"


def _decode(content: bytes, image: str, dataset: dict[str, Any]) -> _Verified | str:
    """Decode and describe an image, or return the reason why it cannot be used."""
    levels = dataset["range"]
    if is_lfs_pointer(content):
        return "is a pointer of Git LFS, not the image itself; run `git lfs pull` in the repository"
    try:
        pixels = imaging.decode(content, image, floats=levels is not None, first_page=dataset["first_page"])
    except InputError as error:
        return str(error).removeprefix(f"{image}: ")
    height, width = pixels.shape[:2]
    kept, own = (hashlib.sha256(each).hexdigest() for each in (_new_bytes(content, pixels, image, dataset), content))
    return _Verified(width, height, kept, own, _levels(pixels, levels) if pixels.dtype != np.uint8 else None)


def _new_bytes(content: bytes, pixels: np.ndarray, image: str, dataset: dict[str, Any]) -> bytes:
    """Return the bytes to write for an image: its own, or new ones if dataset.range or dataset.first_page applies."""
    stretched = imaging.stretch(pixels, dataset["range"])
    if stretched is pixels and not (dataset["first_page"] and imaging.has_pages(content)):
        return content
    return imaging.encode(stretched, image)


def _levels(pixels: np.ndarray, levels: tuple[float, float] | None) -> _Levels:
    colours = np.atleast_3d(pixels)[:, :, :3]
    black, white = levels or (0, 65535)
    cut = ((colours < black) | (colours > white)).any(axis=2)
    low, high = np.percentile(colours, (0.05, 99.95), method="nearest")
    return _Levels(colours.min().item(), colours.max().item(), low.item(), high.item(), cut.size, int(cut.sum()))


def _check_folders_filled(
    contents: Archive, verified: dict[str, _Verified], rejected: dict[str, str], folders: list[Folder], train: str
) -> None:
    filled = set(map(_folder, verified))
    for partition, name in folders:
        refused = [item for item in rejected.items() if item[0].startswith(f"{partition}/{name}/")]
        # A folder with neither kept nor rejected images has no image in the CSV file `listed`.
        if (partition, name) in filled or not refused:
            continue
        image, reason = refused[0]
        problem = f"{contents.path}: no file in {partition}/{name} can be used, the first one ({image}): {reason}"
        if partition == train:
            raise InputError(
                f"{problem}; a class needs training images: repair the files, or remove it from dataset.classes"
            )
        log.warning(problem)


def _name_absent(verified: Iterable[str], classes: list[str], extra: Iterable[str]) -> None:
    there = set(map(_folder, verified))
    for partition in sorted(extra):
        absent = [name for name in classes if (partition, name) not in there]
        if absent:
            log.warning(
                "extra test %s: has no image of %s; it is tested on the other classes", partition, ", ".join(absent)
            )


def _copy(
    contents: Archive,
    found: dict[str, str],
    images: pd.DataFrame,
    originals: Path,
    dataset: dict[str, Any],
) -> None:
    def copy(row: tuple[str, str]) -> None:
        image, expected = row
        target = originals / image
        if target.is_file() and sha256(target) == expected:
            return
        content = contents.read(found[image])
        if dataset["range"] or dataset["first_page"]:
            pixels = imaging.decode(content, image, floats=True, first_page=dataset["first_page"])
            content = _new_bytes(content, pixels, image, dataset)
        if hashlib.sha256(content).hexdigest() != expected:
            raise InputError(f"{contents.path}: {found[image]!r} changed while it was read; run again")
        write_bytes(target, content)

    rows = list(zip(images["image"], images["sha256"], strict=True))
    for _ in side_by_side(copy, rows, _WRITERS, "copy"):
        pass


def remove_others(originals: Path, files: set[Path]) -> None:
    """Remove the images `<originals>/<partition>/<class>/<file>` that are not in `files`."""
    for file in originals.glob("*/*/*"):
        if file.suffix.lower() in IMAGE_SUFFIXES and file not in files:
            file.unlink()


def _report(summary: dict[str, Any], places: int, images: pd.DataFrame) -> None:
    named = [f"{place} ({number})" if place.endswith("/") else place for place, number in summary["elsewhere"].items()]
    more = f" and {places - len(named)} more places" if places > len(named) else ""
    log.info(
        "%s kept, %s rejected, %d left out (dataset.images, limit_per_class), %s outside the classes' folders ignored",
        counted(summary["kept"], "image"),
        counted(summary["rejected"], "file"),
        summary["left_out"],
        counted(summary["ignored"], "file"),
    )
    if named:
        log.info("ignored: %s%s", ", ".join(named), more)
    if summary["copies"]:
        groups = images.groupby(["class", "sha256"])["partition"].nunique()
        log.warning(
            "all kept: %s with the same bytes as another one of the class, %s in more than one partition",
            counted(summary["copies"], "image"),
            counted(int((groups > 1).sum()), "image"),
        )


def _report_levels(deep: list[_Levels], levels: tuple[float, float] | None) -> dict[str, float]:
    """Warn if the images of more than 8 bits look black, or if dataset.range clips values; returns what to record."""
    if not deep:
        if levels:
            log.warning("dataset.range is set, but has no effect because no image has more than 8 bits")
        return {}
    least, greatest = min(each.least for each in deep), max(each.greatest for each in deep)
    black, white = levels or (0, 65535)
    # Based on the median, because single images may be damaged.
    if np.median([each.high - each.low for each in deep]) < _LEAST_CONTRAST * (white - black):
        low = np.percentile([each.low for each in deep], 5, method="nearest").item()
        high = np.percentile([each.high for each in deep], 95, method="nearest").item()
        # Cameras have 8, 10, 12 or 14 bits. If zero is white, the values of such a camera end at 65535 instead.
        camera = all(isinstance(each.high, int) for each in deep)
        bits = next((bits for bits in (8, 10, 12, 14) if camera and high < 2**bits), 16)
        remedy = [0, 2**bits - 1] if bits < 16 else [low, high]
        log.warning(
            "the %d images of more than 8 bits contain almost only values from %g to %g%s and have almost no contrast; "
            "set dataset.range: %s",
            len(deep), low, high, f", as of a camera of {bits} bits" if bits < 16 else "", remedy,
        )  # fmt: skip
    cut = sum(each.cut for each in deep)
    if cut:
        log.warning(
            "dataset.range %s clips %d of %d pixels, in %d of %d images of more than 8 bits, whose values are %g to %g",
            list(levels or ()), cut, sum(each.pixels for each in deep), sum(each.cut > 0 for each in deep), len(deep),
            least, greatest,
        )  # fmt: skip
    return {"deep": len(deep), "least_level": least, "greatest_level": greatest, "cut_pixels": cut}
