"""Take the data set in: find its images in an archive, verify each one, and copy them with their hashes."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.config import UNPUBLISHED, extra_tests_of, partitions_of
from wbcsr.dataset.archive import Archive, is_lfs_pointer, open_archive
from wbcsr.dataset.folder import UNPRINTABLE, printable
from wbcsr.dataset.labels import read_labels
from wbcsr.errors import InputError
from wbcsr.files import IMAGE_SUFFIXES, read_users_table, sha256, write_bytes, write_csv
from wbcsr.progress import side_by_side
from wbcsr.text import counted

log = logging.getLogger(__name__)

Folder = tuple[str, str]  # partition, class

IMAGE_COLUMNS = ["image", "partition", "class", "width", "height", "sha256"]
REJECTED_COLUMNS = ["image", "reason"]
MANIFEST_COLUMNS = ["image", "file", "width", "height", "sha256", "input_sha256"]

# File systems hold 255 bytes; what is left is for the endings that later files of the same name get.
MAX_NAME_BYTES = 200
# Images of 16 bits that use less of their range than this come from a camera of fewer bits, and look black.
_LEAST_CONTRAST = 1 / 4
# Writing waits for the disk, not for a core: eight threads took a sixth of one thread's time.
_WRITERS = 8
# Of folders that hold no image of a class, so many are named.
PLACES_NAMED = 10


@dataclass(frozen=True)
class _Verified:
    """A file that was decoded whole: the upright image's size, the hash of the file written for it, and of itself."""

    width: int
    height: int
    sha256: str
    own_sha256: str
    levels: _Levels | None


@dataclass(frozen=True)
class _Levels:
    """Values of the colours in an image of 16 bits, and how many pixels dataset.range cuts off.

    `low` and `high` are the values that all but 0.1 % of the colours lie between: single bright pixels do not count.
    """

    least: int
    greatest: int
    low: int
    high: int
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
    """Copy the images of `dataset` (the configuration's section) out of `archive` and describe them.

    Images are the files `<anything>/<partition>/<class>/<file>`, at any depth, of the configured partitions and
    classes; where `partitions` is None, the files `<anything>/<class>/<file>`; and with the CSV file `labels`, those
    that it names (see `read_labels`). All other files of the archive are ignored. A file in a class's folder is kept,
    rejected with a reason, or left out: by the CSV file `listed`, where one is given, whose column image names those to
    be taken, then by `limit_per_class` (the first files in sorted order are taken, and as many more as were rejected).
    Only files that were taken are compared for byte-identical duplicates:

    - A file whose bytes also lie in another class is rejected with all its duplicates, because its label is not known.
    - Duplicates within a class are kept, but counted in the log: their label is known, and the study took every file
      of its archive (which has no byte-identical duplicates).

    Writes the images' bytes unchanged to `<originals>/<partition>/<class>/<file>`, where a file that is there with
    the same SHA-256 stays as it is and an image that no longer belongs is removed. With `range` (levels of black and
    white), images of 16 bits are written anew with these levels as 0 and 65535, so that every later stage reads the
    same pixels and knows nothing of it; all hashes are of the files as written. Writes `images_csv` and `rejected_csv`
    (`IMAGE_COLUMNS`, `REJECTED_COLUMNS`); and, last, the manifest of each (partition, class), whose `file` is
    relative to `<originals>/<partition>/<class>`. Sizes are in pixels, of the image turned upright. Rows are sorted
    by partition (train first), class as configured, and file name. Nothing is changed before all files are verified.

    Returns the numbers of files kept, rejected, left_out, copies (byte-identical, in the same class) and ignored; and
    elsewhere: how many of those ignored are in which outermost folder that holds no other ones, or the name of the
    file; at most `PLACES_NAMED` of them, the largest first. Where images have 16 bits, their number as deep, their
    least_level and greatest_level, and the number of pixels that `range` cuts off. Where git wrote the zip file, its
    commit.
    InputError where the archive is refused (see `open_archive`), damaged or not of the commit of `git`, lacks a
    partition or class (a class of an extra test may be lacking, which the log says), holds an image twice or under
    names that differ in case only, or has no usable image of a class to train on; and where `listed` is empty, names an
    image twice or one that is not there, or none of a class; and where `labels` is wrong, or names a file that is not
    there or is there more than once.
    """
    partitions = partitions_of(dataset)
    folders: list[Folder] = [(partition, name) for partition in partitions.values() for name in dataset["classes"]]
    extra = set(extra_tests_of(partitions).values())
    with open_archive(archive, dataset["limits"], dataset["links"], dataset["classes"]) as contents:
        commit, git = contents.commit, dataset["git"]
        if git and commit != git["commit"]:
            raise InputError(f"{archive}: is not of the commit {git['commit']} of dataset.git; delete it and run again")
        if labels is None:
            found, rejected, used = _find(contents, folders, dataset["partitions"] is not None, extra)
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
        _copy(contents, found, images, originals, dataset["range"])
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


def _columns(verified: _Verified) -> tuple[int, int, str]:
    return verified.width, verified.height, verified.sha256


def _elsewhere(entries: Iterable[str], used: set[str]) -> Counter[str]:
    """How many entries were not used, by the outermost folder (`masks/`) without a used one, or by their own names."""
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


def _find(contents: Archive, folders: list[Folder], published: bool, extra: set[str]) -> Found:
    """Image → entry, rejected file → reason, and the entries of both; `extra` partitions may lack classes."""
    found: dict[str, str] = {}
    rejected: dict[str, str] = {}
    present: set[Folder] = set()
    used: set[str] = set()
    parents: set[str] = set()
    for entry in contents.entries:
        folder, depth = _place(contents, entry, folders, published)
        if folder is None:
            continue
        parts = entry.split("/")
        below = parts[depth:]
        parents.add("/".join(parts[: depth - 1]) or ".")
        used.add(entry)
        present.add(folder)
        image = "/".join([*folder, *below])
        reason = _reason_to_reject(below)
        if reason is not None:
            rejected[printable(image)] = reason
        elif image in found:
            raise InputError(
                f"{contents.path}: {image} occurs twice, as {found[image]!r} and {entry!r}; "
                "unpack the archive and name the one folder that is meant as dataset.archive"
            )
        else:
            found[image] = entry
    needed = [folder for folder in folders if folder[0] not in extra]
    # Of a partition that is not there, each class is missed.
    needed += [folder for folder in folders if folder[0] in extra - {partition for partition, _ in present}]
    _check_folders_present(contents, needed, present, published)
    _check_case(contents.path, found)
    if len(parents) > 1 and not published:
        log.warning(
            "%s: the classes are taken from %s (%s); if these are partitions, name them in dataset.partitions",
            contents.path,
            counted(len(parents), "folder"),
            ", ".join([*map(printable, sorted(parents)[:5]), *["…"][: len(parents) > 5]]),
        )
    return found, rejected, used


def _place(contents: Archive, entry: str, folders: Collection[Folder], published: bool) -> tuple[Folder | None, int]:
    """The innermost of the `folders` that a file lies in, or None, and how many names of its path lead there.

    InputError where it lies in folders of two classes without partitions: one of them may be a patient's.
    """
    parts = entry.split("/")
    depth = 2 if published else 1
    names = [(parts[at], parts[at + 1]) if published else (UNPUBLISHED, parts[at]) for at in range(len(parts) - depth)]
    places = {name: at + depth for at, name in enumerate(names) if name in folders}
    if len(places) > 1 and not published:
        (_, one), (_, other), *_ = places
        raise InputError(
            f"{contents.path}: {entry!r} lies in the folders of two classes, {one!r} and {other!r}; name the folder "
            "with the classes as dataset.archive, or say each file's class in a table (dataset.labels)"
        )
    return next(reversed(places.items()), (None, 0))


def _find_labelled(contents: Archive, labels: Path, dataset: dict[str, Any]) -> Found:
    """As `_find`, of the files that the CSV file `labels` names by the end of their path."""
    ends: dict[str, list[str]] = defaultdict(list)
    for entry in contents.entries:
        ends[entry.rpartition("/")[2]].append(entry)
    found: dict[str, str] = {}
    rejected: dict[str, str] = {}
    used: set[str] = set()
    missing = []
    for image, file, _ in read_labels(labels, dataset).itertuples(index=False):
        alike = [entry for entry in ends[file.rpartition("/")[2]] if f"/{entry}".endswith(f"/{file}")]
        # The whole path means no other file that happens to end alike.
        entries = [file] if file in alike else alike
        if len(entries) > 1:
            raise InputError(
                f"{labels}: {file!r} matches more than one file of {contents.path}: {entries[0]!r} and "
                f"{entries[1]!r}; give a longer part of the path (dataset.labels)"
            )
        if not entries:
            missing.append(file)
            continue
        if entries[0] in used:
            raise InputError(f"{labels}: names {entries[0]!r} in two rows; leave one of them (dataset.labels)")
        used.add(entries[0])
        reason = _reason_to_reject([_name(image)])
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


def _check_case(path: Path, found: dict[str, str]) -> None:
    folded: dict[str, str] = {}
    for image in sorted(found):
        other = folded.setdefault(image.casefold(), image)
        if other != image:
            raise InputError(f"{path}: {other} and {image} differ in case only; rename one of them")


def _listed(path: Path, there: set[str], contents: Archive, classes: list[str]) -> set[str]:
    """The images that the CSV file `path` names, all of which must be `there`."""
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
        raise InputError(f"{path}: lists no image of class {missing[0]!r}; {remedy}, or take it from dataset.classes")
    return set(images)


def _reason_to_reject(below: list[str]) -> str | None:
    """Why a file at this path below its class's folder cannot be an image of the data set."""
    name = below[-1]
    # A leading dot marks hidden files, among them the ._<name>.jpeg that macOS adds to zips.
    if name.startswith(".") or not name.lower().endswith(IMAGE_SUFFIXES):
        return "not an image"
    if len(below) > 1:
        return "lies in a folder below its class's folder; move it up"
    if UNPRINTABLE.search(name):
        return "has a control character, a backslash or an invalid character in its name; rename it"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"has a name of more than {MAX_NAME_BYTES} bytes; rename it"
    return None


def _check_folders_present(contents: Archive, folders: list[Folder], present: set[Folder], published: bool) -> None:
    parents = {entry.rpartition("/")[0] for entry in contents.entries}
    names = {name for path in parents for name in path.split("/") if name}
    nested = {pair for path in parents for pair in pairwise(path.split("/"))}
    for partition, name in folders:
        if (partition, name) in present:
            continue
        if not published:
            raise InputError(
                f"{contents.path}: has no folder {name!r} with files (dataset.classes); {_known(name, names)}"
                f"{contents.doubt}"
            )
        if partition not in names:
            raise InputError(
                f"{contents.path}: has no folder {partition!r} with files (dataset.partitions); "
                f"{_known(partition, names)}{contents.doubt}"
            )
        there = {below for above, below in nested if above == partition}
        raise InputError(
            f"{contents.path}: has no folder {name!r} with files in {partition!r} (dataset.classes); "
            f"{_known(name, there)}{contents.doubt}"
        )


def _known(missing: str, names: Iterable[str]) -> str:
    """The nearest of `names`, or what there is instead of it."""
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
    """Decode the images to be taken; those that fail, or whose label is not known, go to `rejected`."""
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
            return _decode(contents.read(found[image]), image, dataset["range"])

        for image, outcome in zip(batch, side_by_side(check, batch, threads, "verify"), strict=True):
            if isinstance(outcome, str):
                rejected[image] = outcome
            else:
                verified[image] = outcome
                copies[outcome.own_sha256].append(image)
        for alike in copies.values():
            for image in alike:
                other = next((other for other in alike if _folder(other)[1] != _folder(image)[1]), None)
                if other is not None and image in verified:
                    del verified[image]
                    rejected[image] = f"has the same bytes as {other}, which is of another class"


def _decode(content: bytes, image: str, levels: tuple[int, int] | None) -> _Verified | str:
    """What there is to know of an image, or why it cannot be used."""
    if is_lfs_pointer(content):
        return "is a pointer of Git LFS, not the image itself; run `git lfs pull` in the repository"
    try:
        pixels = imaging.decode(content, image)
    except InputError as error:
        return str(error).removeprefix(f"{image}: ")
    height, width = pixels.shape[:2]
    kept, own = (hashlib.sha256(each).hexdigest() for each in (_as_kept(content, pixels, image, levels), content))
    return _Verified(width, height, kept, own, _levels(pixels, levels) if pixels.dtype == np.uint16 else None)


def _as_kept(content: bytes, pixels: np.ndarray, image: str, levels: tuple[int, int] | None) -> bytes:
    """The bytes to write of an image: its own, or those of the stretched image where dataset.range applies to it."""
    if levels is None or pixels.dtype == np.uint8:
        return content
    return imaging.encode(imaging.stretch(pixels, levels), image)


def _levels(pixels: np.ndarray, levels: tuple[int, int] | None) -> _Levels:
    colours = np.atleast_3d(pixels)[:, :, :3]
    black, white = levels or (0, 65535)
    cut = ((colours < black) | (colours > white)).any(axis=2)
    low, high = np.percentile(colours, (0.05, 99.95), method="nearest")
    return _Levels(int(colours.min()), int(colours.max()), int(low), int(high), cut.size, int(cut.sum()))


def _check_folders_filled(
    contents: Archive, verified: dict[str, _Verified], rejected: dict[str, str], folders: list[Folder], train: str
) -> None:
    filled = set(map(_folder, verified))
    for partition, name in folders:
        refused = [item for item in rejected.items() if item[0].startswith(f"{partition}/{name}/")]
        # Of a folder without either, no image is listed.
        if (partition, name) in filled or not refused:
            continue
        image, reason = refused[0]
        problem = f"{contents.path}: no file in {partition}/{name} can be used, the first one ({image}): {reason}"
        if partition == train:
            raise InputError(
                f"{problem}; a class without images cannot be trained: repair it, or remove it from dataset.classes"
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
    levels: tuple[int, int] | None,
) -> None:
    def copy(row: tuple[str, str]) -> None:
        image, expected = row
        target = originals / image
        if target.is_file() and sha256(target) == expected:
            return
        content = contents.read(found[image])
        if levels:
            content = _as_kept(content, imaging.decode(content, image), image, levels)
        if hashlib.sha256(content).hexdigest() != expected:
            raise InputError(f"{contents.path}: {found[image]!r} changed while it was read; run again")
        write_bytes(target, content)

    rows = list(zip(images["image"], images["sha256"], strict=True))
    for _ in side_by_side(copy, rows, _WRITERS, "copy"):
        pass


def remove_others(originals: Path, files: set[Path]) -> None:
    """Remove the images `<originals>/<partition>/<class>/<file>` that are not among `files`."""
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


def _report_levels(deep: list[_Levels], levels: tuple[int, int] | None) -> dict[str, int]:
    """Warn where all images of 16 bits look black, or where dataset.range cuts off values; return what is recorded."""
    if not deep:
        if levels:
            log.warning("dataset.range is set, but no image has 16 bits, so it changes nothing")
        return {}
    least, greatest = min(each.least for each in deep), max(each.greatest for each in deep)
    black, white = levels or (0, 65535)
    # Of most images, since one among them may be damaged.
    if np.median([each.high - each.low for each in deep]) < _LEAST_CONTRAST * (white - black):
        low = int(np.percentile([each.low for each in deep], 5, method="nearest"))
        high = int(np.percentile([each.high for each in deep], 95, method="nearest"))
        # Cameras have 8, 10, 12 or 14 bits. Where zero is white, the values of one end at 65535 instead.
        bits = next(bits for bits in (8, 10, 12, 14, 16) if high < 2**bits)
        remedy = [0, 2**bits - 1] if bits < 16 else [low, high]
        log.warning(
            "the %d 16-bit images contain almost only values from %d to %d%s and have almost no contrast; set "
            "dataset.range: %s",
            len(deep), low, high, f", as of a camera of {bits} bits" if bits < 16 else "", remedy,
        )  # fmt: skip
    cut = sum(each.cut for each in deep)
    if cut:
        log.warning(
            "dataset.range %s cuts off values of %d of %d pixels, in %d of %d images of 16 bits, with values %d to %d",
            list(levels or ()), cut, sum(each.pixels for each in deep), sum(each.cut > 0 for each in deep), len(deep),
            least, greatest,
        )  # fmt: skip
    return {"deep": len(deep), "least_level": least, "greatest_level": greatest, "cut_pixels": cut}
