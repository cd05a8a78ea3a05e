"""Sources: which photograph each image was made from.

Images of one photograph are no independent examples, so a split that is to be fair must know them. They are found as
one finds the parts of a panorama: SIFT features (Lowe, "Distinctive image features from scale-invariant keypoints",
IJCV 60, 2004) are looked up in one approximate index over the features of all photographs (randomised k-d trees, Muja
and Lowe, VISAPP 2009); the photographs with most neighbours are then fitted by an affine transform (RANSAC, Fischler
and Bolles, CACM 24, 1981), and its inliers counted. Mirrored duplicates are found by mirroring the
descriptors.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wbcsr import imaging
from wbcsr.dataset.archive import Archive, open_archive
from wbcsr.dataset.labels import read_labels
from wbcsr.errors import InputError
from wbcsr.files import IMAGE_SUFFIXES, read_csv, read_users_table, write_csv
from wbcsr.names import clean, clean_path, warn_of_alike
from wbcsr.progress import side_by_side
from wbcsr.text import counted

log = logging.getLogger(__name__)

SOURCE_COLUMNS = ["image", "source", "inliers", "runner_up_inliers"]
# The photograph that an image was fitted to, and the fit: photograph x = xx · image x + xy · image y + x0, y likewise.
FRAME_COLUMNS = ["photograph", *(f"photograph_{part}" for part in ("xx", "xy", "x0", "yx", "yy", "y0"))]

# 150 did for the study's images; small ones have fewer. OpenCV's own contrast, 0.04, finds a third as many.
FEATURES = 250
CONTRAST = 0.02
# For all of 400 of the study's images the best photograph was among these; the others tell how clear its lead is.
NEIGHBOURS = 4
CANDIDATES = 4
# Lowe's ratio test: the nearest descriptor must be so much nearer than the next one.
RATIO = 0.8
# OpenCV's SIFT finds features in an enlarged image, and names places that are so many pixels too far right and down.
BIAS = 0.25
# Pixels, of images that are a few hundred wide.
TOLERANCE = 3.0
# Singular values of a fit: an augmented duplicate is rotated, sheared and a little zoomed;
# chance fits collapse or blow up.
PLAUSIBLE = (0.8, 1.25)
# Inliers that join two photographs. Of the study's, all pairs with 9 or more overlap, and chance fits have 5 at most;
# a false join costs little, a missed one puts duplicates of one cell on both sides of a split.
OVERLAP = 8
# A source must have so many times the inliers of any other one.
LEAD = 2

# Methods by which users name the sources, and what many of them write for one that is not known.
_NAMED_BY_USERS = ("pattern", "table", "groups")
_UNKNOWN = {"na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "unknown", "missing", "-", "--", "?", "."}

Points = npt.NDArray[np.float32]
Descriptors = npt.NDArray[np.float32]
Listed = tuple[Path, str, Path]


class Features(NamedTuple):
    """What an image is recognised by: `points` (n, 2) in pixels x, y, and their SIFT `descriptors` (n, 128).

    The centre of the first pixel is (0, 0). `original_size` is the (width, height) before the image was resized.
    """

    points: Points
    descriptors: Descriptors
    original_size: tuple[int, int]


class Fit(NamedTuple):
    """An image laid over another one, which is number `target` of its index.

    `matrix` (2, 3) float64 takes pixels of the image to the target's; `inliers` of the target's points are met.
    """

    target: int
    inliers: int
    matrix: npt.NDArray[np.float64]


def features(pixels: np.ndarray, size: tuple[int, int]) -> Features:
    """The strongest features of an image (see `imaging`) after it was brought to `size` (width, height)."""
    grey = cv2.cvtColor(imaging.to_rgb8(pixels), cv2.COLOR_RGB2GRAY)
    original_size = (grey.shape[1], grey.shape[0])
    if grey.shape != (size[1], size[0]):
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    keypoints, descriptors = cv2.SIFT.create(FEATURES, contrastThreshold=CONTRAST).detectAndCompute(grey, None)
    if descriptors is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32), original_size)
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32) - np.float32(BIAS)
    return Features(points, np.asarray(descriptors, np.float32), original_size)


def mirrored(descriptors: Descriptors) -> Descriptors:
    """What SIFT would say of the mirrored image: rows of the 4×4 cells and the 8 directions change places."""
    cells = descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8) % 8]
    return np.ascontiguousarray(cells.reshape(-1, 128))


class Index:
    """Images (their `features`) that others can be looked up among; built and asked alike, it answers alike."""

    def __init__(self, features: Sequence[Features]) -> None:
        self.features = features
        self._owner = np.repeat(np.arange(len(features)), [len(each.points) for each in features])
        cv2.setRNGSeed(0)  # the trees split at random
        self._trees = cv2.flann.Index()
        if len(self._owner):
            self._trees.build(np.vstack([each.descriptors for each in features]), {"algorithm": 1, "trees": 4})

    def fits(self, image: Features, apart_from: int | None = None) -> list[Fit]:
        """Plausible fits of an image to its likeliest targets, the best first; several threads may ask.

        `apart_from` is the number of a target that is left out.
        """
        if not len(self._owner) or not len(image.points):
            return []
        views = (image, image._replace(descriptors=mirrored(image.descriptors)))
        votes = np.array([self._votes(view.descriptors) for view in views])
        if apart_from is not None:
            votes[:, apart_from] = 0
        ranked = np.argsort(-votes, axis=None, kind="stable")[:CANDIDATES]
        found = []
        for view, target in zip(*np.unravel_index(ranked, votes.shape), strict=True):
            fit = _fit(views[view], self.features[target], flipped=bool(view))
            if votes[view, target] and fit is not None:
                found.append(Fit(int(target), *fit))
        return sorted(found, key=lambda fit: (-fit.inliers, fit.target))

    def _votes(self, descriptors: Descriptors) -> npt.NDArray[np.int64]:
        """How many of the descriptors' nearest neighbours each target has."""
        neighbours = min(NEIGHBOURS, len(self._owner))
        nearest, _ = self._trees.knnSearch(descriptors, neighbours, params={"checks": 16})
        return np.bincount(self._owner[nearest.ravel()], minlength=len(self.features))


def _fit(image: Features, target: Features, flipped: bool) -> tuple[int, npt.NDArray[np.float64]] | None:
    """Inliers and matrix of an affine fit between matching features, or None where there is none that is plausible."""
    if len(target.points) < 2:
        return None
    distances, nearest = cv2.batchDistance(image.descriptors, target.descriptors, cv2.CV_32F, K=2)
    clear = distances[:, 0] < RATIO * distances[:, 1]
    if clear.sum() < 3:
        return None
    there = target.points[nearest[clear, 0]]
    # OpenCV seeds this RANSAC anew for each call.
    matrix, inliers = cv2.estimateAffine2D(image.points[clear], there, ransacReprojThreshold=TOLERANCE)
    # Where points lie on one line, a fit may be of NaN.
    if matrix is None or not np.isfinite(matrix).all() or (np.linalg.det(matrix[:, :2]) < 0) != flipped:
        return None
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if not PLAUSIBLE[0] <= scales[1] <= scales[0] <= PLAUSIBLE[1]:
        return None
    # Many features that fall on one point say no more than one.
    return len(np.unique(there[inliers.ravel() > 0], axis=0)), np.asarray(matrix, np.float64)


def frame(fit: Fit, image: Features, target: Features, size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The matrix (2, 3) that takes pixels of an image to its target's, both as they were before they had `size`."""

    def resized(features: Features) -> npt.NDArray[np.float64]:
        """Pixels of the original to those of the resized image; pixels are squares whose centres have whole numbers."""
        scale = np.divide(size, features.original_size)
        return np.array([[scale[0], 0, (scale[0] - 1) / 2], [0, scale[1], (scale[1] - 1) / 2], [0, 0, 1]])

    whole = np.linalg.inv(resized(target)) @ np.vstack([fit.matrix, [0, 0, 1]]) @ resized(image)
    return np.asarray(whole[:2])


def fields(fits: Iterable[Sequence[Fit]], min_inliers: int) -> list[int]:
    """The field of each image, named by the first image in it: images that fit one another show one field.

    `fits` are those of each image to the others; one fit of `min_inliers` joins two images, and what is joined to
    a third through them as well.
    """
    links = list(fits)
    pairs = [(image, fit.target) for image, found in enumerate(links) for fit in found if fit.inliers >= min_inliers]
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    edges = coo_array((np.ones(len(pairs), bool), (rows, columns)), shape=(len(links),) * 2)
    label = connected_components(edges, directed=False)[1]
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    return [int(image) for image in first[number]]


def best_field(fits: Iterable[Fit], field: Sequence[int], min_inliers: int) -> tuple[int | None, int, int]:
    """The field that an image shows, or None where that is not sure; and the inliers of the best and the next field.

    Sure is what has `min_inliers` and `LEAD` times the inliers of the next field.
    """
    most: dict[int, int] = {}
    for fit in fits:
        most[field[fit.target]] = max(fit.inliers, most.get(field[fit.target], 0))
    (best, inliers), (_, next_inliers) = [*sorted(most.items(), key=lambda item: -item[1]), (-1, 0), (-1, 0)][:2]
    sure = inliers >= max(min_inliers, LEAD * next_inliers)
    return best if sure else None, inliers, next_inliers


def find_sources(
    images_csv: Path,
    manifests: Sequence[Path],
    archive: Path,
    settings: dict[str, Any],
    dataset: dict[str, Any],
    sources_csv: Path,
    threads: int = 2,
    labels: Path | None = None,
) -> dict[str, Any]:
    """Write `sources_csv` (`SOURCE_COLUMNS`, `FRAME_COLUMNS`), a row for each image of `images_csv` in its order.

    `settings` and `dataset` are the configuration's sections, whose `photographs` is the folder of the archive that
    holds them, `labels` the CSV file that `dataset.labels` names, `manifests` those of the original images, whose files
    lie beside them. `source` is empty where none was found; it is never guessed. By `settings["method"]`:

    - photographs: each image is fitted to the photographs, shrunk to the most common size of the images. `source` is
      the photograph's path in its folder. Photographs that overlap show the same cells, so those that fit one another
      are one source, named by the first of them. `FRAME_COLUMNS` name the photograph with the most inliers, which may
      be another one of the source, and the fit. They are empty if no source is found, and with all other methods.
    - images: each image is fitted to the others; those that are joined are one source, named by the first of them.
      An image that fits no other one has none. Holds all images' features: about 250 kB an image, and the index.
    - pattern: the one group of the regular expression `settings["pattern"]`, searched in the file's name.
    - table: the column `source` of the CSV file `settings["table"]`, which has a row for each image.
    - groups: the column `group` of `labels`.
    - each: each image is a source of its own, as its user says.
    - none: no source is known.
    - auto: photographs where such a folder is named, else none.

    Images of the same bytes are of one source, whatever the method finds or is told.

    Inliers are empty where nothing was fitted. Of 400 of the study's images, drawn by lot, each has 31 or more with
    its best photograph, and 5 at most with any that does not overlap it; where its own is withheld, 3 at most. Of 128
    drawn images of 160×120, each has 14 or more with its own photograph and 5 at most with another.

    Returns the method, and how many images, images with a source, and sources there are.
    InputError where photographs, table or pattern do not fit the images, or a file is not the one that was taken in.
    """
    cv2.setNumThreads(1)  # many images at once, not many threads on one
    method, photographs = settings["method"], dataset["photographs"]
    if method == "auto":
        method = "photographs" if photographs else "none"
        log.info("sources.method auto: %s, since dataset.photographs is %s", method, photographs or "not set")
    images = read_csv(images_csv, ["image", "width", "height", "sha256"])
    fitted = {
        "photographs": lambda: _by_photographs(images, manifests, archive, dataset, settings, threads),
        "images": lambda: _by_images(images, manifests, settings, threads),
        "pattern": lambda: _by_pattern(images, settings["pattern"]),
        "table": lambda: _by_table(images, Path(settings["table"])),
        "groups": lambda: _by_groups(images, labels, dataset),
        "each": lambda: [Found(image) for image in images["image"]],
        "none": lambda: [Found("")] * len(images),
    }[method]()
    sources = pd.DataFrame(
        [(each.source, each.inliers, each.runner_up_inliers, each.photograph, *each.frame) for each in fitted],
        columns=[*SOURCE_COLUMNS[1:], *FRAME_COLUMNS],
    ).astype(dict.fromkeys(SOURCE_COLUMNS[2:], "Int64"))
    sources.insert(0, "image", images["image"])
    if method in _NAMED_BY_USERS:
        _warn_of_names(sources["source"], f"sources.method {method}")
    sources["source"] = _with_copies_joined(sources["source"], images["sha256"])
    write_csv(sources_csv, sources)
    named = sources.loc[sources["source"] != "", "source"]
    found, there = counted(named.nunique(), "source"), counted(len(images), "image")
    log.info("found %s for %d of %s", found, len(named), there)
    if 0 < len(named) < len(images):
        first = sources.loc[sources["source"] == "", "image"].iloc[0]
        log.warning(
            "no source is known of %s (first: %s); the split by_source leaves them out",
            counted(len(images) - len(named), "image"),
            first,
        )
    return {"method": method, "images": len(images), "found": len(named), "sources": int(named.nunique())}


class Found(NamedTuple):
    """An image's source, and the other `SOURCE_COLUMNS` and `FRAME_COLUMNS`; `frame` is the fit's six numbers."""

    source: str
    inliers: int | None = None
    runner_up_inliers: int | None = None
    photograph: str = ""
    frame: tuple[float | None, ...] = (None,) * 6


def _warn_of_names(sources: pd.Series, where: str) -> None:
    """Warn of names that may be of one source, and of such as stand for an unknown one in many tables."""
    warn_of_alike(sources, where, "write those alike that are one source")
    unknown = sources[sources.str.casefold().isin(_UNKNOWN)].value_counts()
    if len(unknown):
        log.warning(
            "%s: taken for names, and each for one source: %s; leave it empty where the source is not known",
            where,
            ", ".join(f"{name!r} ({counted(number, 'image')})" for name, number in unknown.items()),
        )


def _with_copies_joined(sources: pd.Series, hashes: pd.Series) -> pd.Series:
    """The sources, where images of the same bytes are of one: all that they join bear the name of the first of them."""
    known = sources != ""
    if not known.any():
        return sources
    bytes_of, names_of = pd.factorize(hashes)[0], pd.factorize(sources)[0]
    most = len(sources)
    edges = coo_array((np.ones(known.sum(), bool), (bytes_of[known], most + names_of[known])), shape=(2 * most,) * 2)
    joined = pd.Series(connected_components(edges, directed=False)[1][bytes_of], sources.index)
    told = joined.map(sources[known].groupby(joined[known]).first()).fillna("")
    changed = int((told != sources).sum())
    if changed:
        joined_names = "; ".join(_joined_names(sources, told))
        log.warning(
            "sources with byte-identical images were merged into one, which renames that of %s: %s",
            counted(changed, "image"),
            joined_names,
        )
    return told


def _joined_names(before: pd.Series, after: pd.Series) -> list[str]:
    """The names of sources that became one, of the first three of them."""
    changed = after[after != before].unique()
    names = (before[(after == name) & (before != "")].unique() for name in changed)
    shown = [" and ".join(map(repr, each[:5])) for each in names if len(each) > 1]
    return shown[:3] + ["…"] * (len(shown) > 3)


def photograph_fields(
    contents: Archive, dataset: dict[str, Any], size: tuple[int, int], threads: int
) -> tuple[list[str], Index, list[int]]:
    """The archive's photographs: their names in sorted order, the index of their features, and the field of each.

    They are shrunk to `size` (width, height). One that cannot be read is left out, with a warning.
    """
    entries = photograph_entries(contents, str(dataset["photographs"]))

    def photograph(entry: str) -> Features | None:
        try:
            pixels = imaging.decode(contents.read(entry), entry)
            return features(imaging.stretch(pixels, dataset["range"]), size)
        except InputError as error:
            log.warning("%s: %s; images of this photograph stay without a source", contents.path, error)
            return None

    read = list(side_by_side(photograph, list(entries.values()), threads, "photographs"))
    names = [name for name, each in zip(entries, read, strict=True) if each is not None]
    index = Index([each for each in read if each is not None])
    links = side_by_side(
        lambda number: index.fits(index.features[number], apart_from=number),
        range(len(names)),
        threads,
        "compare photographs",
    )
    return names, index, fields(links, OVERLAP)


def _by_photographs(
    images: pd.DataFrame,
    manifests: Sequence[Path],
    archive: Path,
    dataset: dict[str, Any],
    settings: dict[str, Any],
    threads: int,
) -> list[Found]:
    size, files = common_size(images), _files(images, manifests)
    with open_archive(archive, dataset["limits"], dataset["links"]) as contents:
        names, index, field = photograph_fields(contents, dataset, size, threads)
    shown = counted(len(set(field)), "field that does not overlap", "fields that do not overlap")
    log.info("%s: %s", counted(len(names), "photograph"), shown)

    def find(listed: Listed) -> Found:
        image = features(imaging.read_listed(*listed), size)
        fits = index.fits(image)
        best, inliers, next_inliers = best_field(fits, field, settings["min_inliers"])
        if best is None:
            return Found("", inliers, next_inliers)
        matrix = frame(fits[0], image, index.features[fits[0].target], size)
        return Found(names[best], inliers, next_inliers, names[fits[0].target], tuple(matrix.ravel().round(6).tolist()))

    return list(side_by_side(find, files, threads, "find sources"))


def _by_images(images: pd.DataFrame, manifests: Sequence[Path], settings: dict[str, Any], threads: int) -> list[Found]:
    size, files = common_size(images), _files(images, manifests)
    index = Index(
        list(side_by_side(lambda image: features(imaging.read_listed(*image), size), files, threads, "find features"))
    )
    links = list(
        side_by_side(
            lambda number: index.fits(index.features[number], apart_from=number),
            range(len(files)),
            threads,
            "compare images",
        )
    )
    # Who fits is fitted: an image is found through another one's fit as well as through its own.
    both = [list(found) for found in links]
    for number, found in enumerate(links):
        for fit in found:
            both[fit.target].append(fit._replace(target=number))
    field = fields(both, settings["min_inliers"])
    rows: list[Found] = []
    for found in both:
        best, inliers, next_inliers = best_field(found, field, settings["min_inliers"])
        rows.append(Found("" if best is None else images["image"][best], inliers, next_inliers))
    return rows


def _by_pattern(images: pd.DataFrame, pattern: str) -> list[Found]:
    found = [re.search(pattern, image.rpartition("/")[2]) for image in images["image"]]
    if not any(found):
        raise InputError(
            f"configuration: sources.pattern {pattern!r} matches no file name (the first is "
            f"{images['image'][0].rpartition('/')[2]!r}); correct it"
        )
    return [Found(clean(match[1] or "") if match else "") for match in found]


def _by_table(images: pd.DataFrame, path: Path) -> list[Found]:
    table = read_users_table(path, ["image", "source"], "correct it (sources.table)")
    twice = table.loc[table["image"].duplicated(), "image"]
    if len(twice):
        raise InputError(f"{path}: has {twice.iloc[0]} twice; leave one row of it (sources.table)")
    source_of = dict(zip(table["image"], table["source"], strict=True))
    missing = [image for image in images["image"] if image not in source_of]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {counted(len(images), 'image')} have no row (first: {missing[0]}); add a row "
            "for each, with an empty source where it is not known (sources.table)"
        )
    return [Found(source_of[image]) for image in images["image"]]


def _by_groups(images: pd.DataFrame, labels: Path | None, dataset: dict[str, Any]) -> list[Found]:
    if labels is None:
        raise TypeError("groups are a column of the labels, and there are none")
    table = read_labels(labels, dataset, with_groups=True)
    group_of = dict(zip(table["image"], table["group"], strict=True))
    missing = [image for image in images["image"] if image not in group_of]
    if missing:
        raise InputError(
            f"{labels}: lacks {missing[0]}, which it had before; run `snakemake --forcerun ingest_dataset`"
        )
    return [Found(group_of[image]) for image in images["image"]]


def common_size(images: pd.DataFrame) -> tuple[int, int]:
    """The (width, height) that most of the images have."""
    width, height = images.value_counts(["width", "height"], sort=True).index[0]
    return int(width), int(height)


def photograph_entries(contents: Archive, folder: str) -> dict[str, str]:
    """Path of each photograph below `folder` → its entry, in sorted order."""
    inside = f"/{clean_path(folder.strip('/'))}/"
    found = {
        f"/{entry}".partition(inside)[2]: entry
        for entry in sorted(contents.entries)
        if inside in f"/{entry}" and entry.lower().endswith(IMAGE_SUFFIXES) and "/." not in f"/{entry}"
    }
    if not found:
        raise InputError(
            f"{contents.path}: has no folder {folder!r} with images in it; correct dataset.photographs, or set "
            f"sources.method to none{contents.doubt}"
        )
    return found


def _files(images: pd.DataFrame, manifests: Sequence[Path]) -> list[Listed]:
    """File, SHA-256 and manifest of each image."""
    listed: dict[str, tuple[Path, Path]] = {}
    for manifest in manifests:
        table = read_csv(manifest, ["image", "file"])
        files = [(manifest.parent / str(file), manifest) for file in table["file"]]
        listed |= dict(zip(table["image"], files, strict=True))
    missing = [image for image in images["image"] if image not in listed]
    if missing:
        raise InputError(f"{missing[0]}: is in no manifest; run `snakemake --forcerun ingest_dataset`")
    return [
        (listed[image][0], digest, listed[image][1])
        for image, digest in zip(images["image"], images["sha256"], strict=True)
    ]
