"""Sources: which photograph each image was made from.

Images made from the same photograph are not independent, so a fair split must know the photographs. They are found
like the parts of a panorama. SIFT features (Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 60,
2004) are matched with an approximate index of the features of all photographs (randomised k-d trees, Muja and Lowe,
VISAPP 2009). An affine transform is then fitted to each of the photographs with most matches (RANSAC, Fischler and
Bolles, CACM 24, 1981), and its inliers are counted. Mirrored duplicates are found by mirroring the descriptors.
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
from wbcsr.files import IMAGE_SUFFIXES, read_csv, read_users_table, without_suffix, write_csv
from wbcsr.names import clean, clean_path, warn_of_alike
from wbcsr.progress import side_by_side
from wbcsr.text import counted

log = logging.getLogger(__name__)

SOURCE_COLUMNS = ["image", "source", "inliers", "runner_up_inliers"]
# The photograph that an image was fitted to, and the fit: photograph x = xx · image x + xy · image y + x0, y likewise.
FRAME_COLUMNS = ["photograph", *(f"photograph_{part}" for part in ("xx", "xy", "x0", "yx", "yy", "y0"))]

# 150 are enough for the study's images; small images have fewer. OpenCV's default contrast, 0.04, finds a third.
FEATURES = 250
CONTRAST = 0.02
# For all of 400 images of the study, the best photograph was among these; the others show how clear its lead is.
NEIGHBOURS = 4
CANDIDATES = 4
# Lowe's ratio test: maximum ratio of the distances to the nearest and to the second nearest descriptor.
RATIO = 0.8
# OpenCV's SIFT finds features in an enlarged image, and its coordinates are this many pixels too large.
BIAS = 0.25
# In pixels, for images that are a few hundred pixels wide.
TOLERANCE = 3.0
# Range of the singular values of a fit: an augmented duplicate is rotated, sheared and slightly scaled; accidental
# fits have extreme values.
PLAUSIBLE = (0.8, 1.25)
# Inliers that join two photographs. In the study, all pairs with 9 or more overlap, and accidental fits have at most
# 5. A false join costs little; a missed one puts duplicates of one cell on both sides of a split.
OVERLAP = 8
# The best source must have at least this many times the inliers of any other source.
LEAD = 2

# Methods in which users name the sources, and common names for an unknown source.
_NAMED_BY_USERS = ("pattern", "table", "groups")
_UNKNOWN = {"na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "unknown", "missing", "-", "--", "?", "."}

Points = npt.NDArray[np.float32]
Descriptors = npt.NDArray[np.float32]
Listed = tuple[Path, str, Path]


class Features(NamedTuple):
    """The features of an image: `points` (n, 2) in pixels x, y, and their SIFT `descriptors` (n, 128).

    The centre of the first pixel is (0, 0). `original_size` is the (width, height) before the image was resized.
    """

    points: Points
    descriptors: Descriptors
    original_size: tuple[int, int]


class Fit(NamedTuple):
    """The fit of an image to image number `target` of an index.

    `matrix` (2, 3) float64 maps pixels of the image to pixels of the target; `inliers` is the number of the target's
    points that are matched.
    """

    target: int
    inliers: int
    matrix: npt.NDArray[np.float64]


def features(pixels: np.ndarray, size: tuple[int, int]) -> Features:
    """Return the strongest features of an image (see `imaging`) after resizing it to `size` (width, height)."""
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
    """Return the descriptors of the mirrored image: the rows of 4×4 cells and the 8 directions change places."""
    cells = descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8) % 8]
    return np.ascontiguousarray(cells.reshape(-1, 128))


class Index:
    """An index of images (their `features`) for the search of others; the same input gives the same results."""

    def __init__(self, features: Sequence[Features]) -> None:
        self.features = features
        self._owner = np.repeat(np.arange(len(features)), [len(each.points) for each in features])
        cv2.setRNGSeed(0)  # the trees are randomised
        self._trees = cv2.flann.Index()
        if len(self._owner):
            self._trees.build(np.vstack([each.descriptors for each in features]), {"algorithm": 1, "trees": 4})

    def fits(self, image: Features, apart_from: int | None = None) -> list[Fit]:
        """Return plausible fits of an image to its most likely targets, the best first; thread-safe.

        Target number `apart_from` is left out.
        """
        if not len(self._owner) or not len(image.points):
            return []
        views = (image, image._replace(descriptors=mirrored(image.descriptors)))
        # Only targets with votes are counted, so that the time does not grow with the number of targets.
        voted = [(view, *vote) for view in (0, 1) for vote in self._votes(views[view].descriptors)]
        ranked = sorted((each for each in voted if each[1] != apart_from), key=lambda each: -each[2])
        found = []
        for view, target, _ in ranked[:CANDIDATES]:
            fit = _fit(views[view], self.features[target], flipped=bool(view))
            if fit is not None:
                found.append(Fit(target, *fit))
        return sorted(found, key=lambda fit: (-fit.inliers, fit.target))

    def _votes(self, descriptors: Descriptors) -> list[tuple[int, int]]:
        """Return targets, in ascending order, and how many of the descriptors' nearest neighbours belong to each."""
        neighbours = min(NEIGHBOURS, len(self._owner))
        nearest, _ = self._trees.knnSearch(descriptors, neighbours, params={"checks": 16})
        targets, votes = np.unique(self._owner[nearest.ravel()], return_counts=True)
        return list(zip(targets.tolist(), votes.tolist(), strict=True))


def _fit(image: Features, target: Features, flipped: bool) -> tuple[int, npt.NDArray[np.float64]] | None:
    """Return inliers and matrix of an affine fit between matching features, or None if there is no plausible fit."""
    if len(target.points) < 2:
        return None
    distances, nearest = cv2.batchDistance(image.descriptors, target.descriptors, cv2.CV_32F, K=2)
    clear = distances[:, 0] < RATIO * distances[:, 1]
    if clear.sum() < 3:
        return None
    there = target.points[nearest[clear, 0]]
    # OpenCV seeds this RANSAC again for each call.
    matrix, inliers = cv2.estimateAffine2D(image.points[clear], there, ransacReprojThreshold=TOLERANCE)
    # If the points lie on one line, a fit may contain NaN.
    if matrix is None or not np.isfinite(matrix).all() or (np.linalg.det(matrix[:, :2]) < 0) != flipped:
        return None
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if not PLAUSIBLE[0] <= scales[1] <= scales[0] <= PLAUSIBLE[1]:
        return None
    # Several features that match the same point count once.
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
    """Return the field of view of each image, as the number of its first image; images that fit show the same field.

    `fits` are those of each image to the others. A fit with at least `min_inliers` joins two images, also indirectly
    through further images.
    """
    links = list(fits)
    pairs = [(image, fit.target) for image, found in enumerate(links) for fit in found if fit.inliers >= min_inliers]
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    edges = coo_array((np.ones(len(pairs), bool), (rows, columns)), shape=(len(links),) * 2)
    label = connected_components(edges, directed=False)[1]
    _, first, number = np.unique(label, return_index=True, return_inverse=True)
    return [int(image) for image in first[number]]


def best_field(fits: Iterable[Fit], field: Sequence[int], min_inliers: int) -> tuple[int | None, int, int]:
    """Return the field that an image shows (None if uncertain), and the inliers of the best and second-best field.

    A field is certain with at least `min_inliers` inliers and at least `LEAD` times those of the second-best field.
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
    """Write `sources_csv` (`SOURCE_COLUMNS`, `FRAME_COLUMNS`): a row for each image of `images_csv` in its order.

    `settings` and `dataset` are sections of the configuration; `dataset["photographs"]` is the folder of photographs in
    the archive. `labels` is the CSV file of `dataset.labels`. `manifests` are those of the original images, which are
    in the manifests' folders. `source` is empty if no source was found; it is never guessed. Values of
    `settings["method"]`:

    - photographs: each image is fitted to the photographs, which are reduced to the most common size of the images.
    `source` is the photograph's path in its folder. Overlapping photographs show the same cells, so photographs that
    fit each other are one source, named after the first. `FRAME_COLUMNS` are the photograph with the most inliers,
    which may be another one of the same source, and the fit; they are empty without a source and with other methods.
    - images: each image is fitted to the others; joined images are one source, named after the first. An image that
    fits no other image has no source. The features of all images are kept in memory: about 250 kB per image, plus the
    index.
    - pattern: the group of the regular expression `settings["pattern"]`, searched in the file name.
    - table: the column `source` of the CSV file `settings["table"]`, which has a row for each image.
    - groups: the column `group` of `labels`.
    - each: each image is a source of its own, as the user states.
    - none: no source is known.
    - auto: photographs if their folder is configured, otherwise none.

    With every method, byte-identical images have the same source.

    Inliers are empty if nothing was fitted. Of 400 randomly chosen images of the study, each has at least 31 inliers
    with its best photograph, and at most 5 with any that does not overlap it; without its own photograph, at most 3. Of
    128 synthetic images of 160×120 pixels, each has at least 14 inliers with its own photograph and at most 5 with
    another.

    Returns the method, and the numbers of images, images with a source, and sources. Raises InputError if photographs,
    table or pattern do not fit the images, or if a file changed since it was ingested.
    """
    cv2.setNumThreads(1)  # parallel over images, not within an image
    method, photographs = settings["method"], dataset["photographs"]
    if method == "auto":
        method = "photographs" if photographs else "none"
        log.info("sources.method auto: %s, because dataset.photographs is %s", method, photographs or "not set")
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
            "no source is known for %s (first: %s); the split by_source leaves them out",
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
    """Warn of names that may mean the same source, and of names that often mean an unknown source."""
    warn_of_alike(sources, where, "use the same name for the same source")
    unknown = sources[sources.str.casefold().isin(_UNKNOWN)].value_counts()
    if len(unknown):
        log.warning(
            "%s: these values are used as names of sources: %s; leave the field empty if the source is not known",
            where,
            ", ".join(f"{name!r} ({counted(number, 'image')})" for name, number in unknown.items()),
        )


def _with_copies_joined(sources: pd.Series, hashes: pd.Series) -> pd.Series:
    """Merge sources that share byte-identical images; a merged source has the name of the first one."""
    known = sources != ""
    if not known.any():
        return sources
    bytes_of, names_of = pd.factorize(hashes)[0], pd.factorize(sources)[0]
    most = len(sources)
    edges = coo_array((np.ones(known.sum(), bool), (bytes_of[known], most + names_of[known])), shape=(2 * most,) * 2)
    joined = pd.Series(connected_components(edges, directed=False)[1][bytes_of], sources.index)
    merged = joined.map(sources[known].groupby(joined[known]).first()).fillna("")
    changed = int((merged != sources).sum())
    if changed:
        joined_names = "; ".join(_joined_names(sources, merged))
        log.warning(
            "sources with byte-identical images were merged into one, which renames that of %s: %s",
            counted(changed, "image"),
            joined_names,
        )
    return merged


def _joined_names(before: pd.Series, after: pd.Series) -> list[str]:
    """Return the names of merged sources, for at most three of them."""
    changed = after[after != before].unique()
    names = (before[(after == name) & (before != "")].unique() for name in changed)
    shown = [" and ".join(map(repr, each[:5])) for each in names if len(each) > 1]
    return shown[:3] + ["…"] * (len(shown) > 3)


def photograph_fields(
    contents: Archive, dataset: dict[str, Any], size: tuple[int, int], threads: int
) -> tuple[list[str], Index, list[int]]:
    """Return the archive's photographs: sorted names, the index of their features, and the field of each.

    Photographs are reduced to `size` (width, height). An unreadable one is left out with a warning.
    """
    entries = photograph_entries(contents, str(dataset["photographs"]))

    def photograph(entry: str) -> Features | None:
        try:
            return features(imaging.decode_as_configured(contents.read(entry), entry, dataset), size)
        except InputError as error:
            log.warning("%s: %s; images of this photograph will have no source", contents.path, error)
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
    # A fit between two images counts for both, whichever of them was fitted to the other.
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
        raise InputError(f"{path}: has {twice.iloc[0]} twice; keep one of these rows (sources.table)")
    source_of = dict(zip(table["image"], table["source"], strict=True))
    missing = [image for image in images["image"] if image not in source_of]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {counted(len(images), 'image')} have no row (first: {missing[0]}); add a row "
            "for each, with an empty source if it is not known (sources.table)"
        )
    return [Found(source_of[image]) for image in images["image"]]


def _by_groups(images: pd.DataFrame, labels: Path | None, dataset: dict[str, Any]) -> list[Found]:
    if labels is None:
        raise TypeError("the method groups needs labels")
    table = read_labels(labels, dataset, with_groups=True)
    group_of = dict(zip(table["image"], table["group"], strict=True))
    # The table may name files without their endings.
    named = [image if image in group_of else without_suffix(image) for image in images["image"]]
    missing = [image for image, name in zip(images["image"], named, strict=True) if name not in group_of]
    if missing:
        raise InputError(
            f"{labels}: lacks {missing[0]}, which it had before; run `snakemake --forcerun ingest_dataset`"
        )
    return [Found(group_of[name]) for name in named]


def common_size(images: pd.DataFrame) -> tuple[int, int]:
    """Return the most common (width, height) of the images."""
    width, height = images.value_counts(["width", "height"], sort=True).index[0]
    return int(width), int(height)


def photograph_entries(contents: Archive, folder: str) -> dict[str, str]:
    """Return, in sorted order, the path of each photograph below `folder` → its entry."""
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
    """Return file, SHA-256 and manifest of each image."""
    listed: dict[str, tuple[Path, Path]] = {}
    for manifest in manifests:
        table = read_csv(manifest, ["image", "file"])
        files = [(manifest.parent / str(file), manifest) for file in table["file"]]
        listed |= dict(zip(table["image"], files, strict=True))
    missing = [image for image in images["image"] if image not in listed]
    if missing:
        raise InputError(f"{missing[0]}: is not in any manifest; run `snakemake --forcerun ingest_dataset`")
    return [
        (listed[image][0], digest, listed[image][1])
        for image, digest in zip(images["image"], images["sha256"], strict=True)
    ]
