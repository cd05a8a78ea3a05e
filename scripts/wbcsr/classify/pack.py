"""Pack all images at the classifier's input size into one array, and read them in batches.

The array is written under a hidden name, with a ledger of its complete rows (`wbcsr.upscale.store`), and renamed at the
end. A job that was interrupted therefore goes on where it was: it keeps a row if the ledger lists it for the same input
file and if the row has the recorded SHA-256.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from wbcsr import imaging
from wbcsr.claim import require_claim
from wbcsr.errors import InputError, how_to_regenerate
from wbcsr.files import read_csv, write_csv
from wbcsr.progress import image_progress, in_pool
from wbcsr.text import counted
from wbcsr.upscale.store import Entry, Ledger, Rows, open_rows, read_row

log = logging.getLogger(__name__)

# Images per thread that are kept in memory before they are written and listed in the ledger.
_BLOCK = 64
_PACK_AGAIN = "run the rule pack_images again"


@dataclass(frozen=True)
class PackSummary:
    """What `pack` did: images, how many were kept from an interrupted run, and images/s (None if all were kept)."""

    images: int
    images_kept: int
    images_per_second: float | None


def pack(
    manifests: Sequence[Path], images_csv: Path, input_size: int, array_path: Path, index_path: Path, threads: int
) -> PackSummary:
    """Write all images of a variant at the classifier's input size.

    `manifests` (image, file, width, height, sha256, input_sha256; `file` is relative to the manifest) must list each
    image of `images_csv` exactly once. If a manifest has rows (`wbcsr.upscale.store`), they are copied; otherwise its
    files are read and resized by `imaging.to_square`, without keeping the aspect ratio, as Keras's `target_size` did in
    the study. Both give the same bytes. Writes `array_path`, a .npy file (images, input_size, input_size, 3) uint8 RGB
    that `numpy.load` can memory-map, and `index_path` with its rows (image, partition, class, sha256: the hash of the
    row's bytes) in the order of `images_csv`. If it is interrupted, the next call goes on where it was. The pixels are
    not kept in memory.

    Raises InputError if an image is missing, not in `images_csv`, listed twice, made from another input, or differs
    from its manifest.
    """
    index, sources = _match(manifests, images_csv)
    shape = (len(index), input_size, input_size, 3)
    opened = cache(open_rows)

    def load(source: _Source) -> bytes:
        if source.packed_sha256:
            rows = opened(source.manifest)
            return read_row(rows, source.place, source.packed_sha256, input_size, source.manifest).tobytes()
        pixels = imaging.read_listed(source.manifest.parent / source.file, source.sha256, source.manifest)
        return imaging.to_square(pixels, input_size).tobytes()

    names = list(index["image"])
    place_of = {image: place for place, image in enumerate(names)}
    unfinished = array_path.with_name(f".{array_path.name}")
    rows, ledger = Rows(unfinished, np.dtype(np.uint8), shape), Ledger(array_path, f"{input_size}px")

    def keep(entry: Entry) -> Entry | None:
        place = place_of.get(entry.image)
        if place is None or sources[place].digest != entry.input_sha256:
            return None
        return entry if rows.sha256(place) == entry.packed_sha256 else None

    def make(place: int) -> tuple[Entry, bytes]:
        source, row = sources[place], load(sources[place])
        digest = hashlib.sha256(row).hexdigest()
        return Entry(names[place], "", input_size, input_size, "", source.digest, digest), row

    block = _BLOCK * threads
    with rows, ledger, ThreadPoolExecutor(threads) as pool:
        kept = in_pool(pool, keep, ledger.entries(), block)
        digests = {entry.image: entry.packed_sha256 for entry in kept if entry}
        waiting = [place for image, place in place_of.items() if image not in digests]
        images_kept = len(digests)
        if images_kept:
            log.info("%d of %s are kept from an interrupted run", images_kept, counted(len(index), "image"))
        started = time.perf_counter()
        with image_progress(len(index), "packing", images_kept) as progress:
            for start in range(0, len(waiting), block):
                made = list(pool.map(make, waiting[start : start + block]))
                require_claim()
                for entry, row in made:
                    rows.write(place_of[entry.image], row)
                    digests[entry.image] = entry.packed_sha256
                ledger.add(*[entry for entry, _ in made])
                progress.update(len(made))
        rows.sync()
    speed = len(waiting) / (time.perf_counter() - started)
    write_csv(index_path, index.assign(sha256=index["image"].map(digests)))
    require_claim()
    os.replace(unfinished, array_path)
    ledger.path.unlink()
    log.info("packed %s at %d×%d, %.1f images/s", counted(len(waiting), "image"), input_size, input_size, speed)
    return PackSummary(len(index), images_kept, speed if waiting else None)


@dataclass(frozen=True)
class ImageSet:
    """Some images of one or more packed arrays, which are memory-mapped.

    Image i is `arrays[array_of[i]][row_of[i]]`; its class number is `labels[i]` and its name `names[i]`.
    """

    arrays: tuple[np.ndarray, ...]
    array_of: np.ndarray
    row_of: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def gather(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the images at `positions`, (n, side, side, 3) uint8, and their class numbers, (n,) int64."""
        images = np.empty((len(positions), *self.arrays[0].shape[1:]), np.uint8)
        for number, array in enumerate(self.arrays):
            here = self.array_of[positions] == number
            images[here] = array[self.row_of[positions[here]]]
        return images, self.labels[positions]

    def batches(self, order: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the images of `order` in batches of `size`, as `read` does."""
        yield from self.read([order[start : start + size] for start in range(0, len(order), size)])

    def read(self, parts: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield `gather` of each array of positions; a thread reads the next batch while the current one is used."""
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self.gather, parts[0])
            for part in parts[1:]:
                batch = ahead.result()
                ahead = reader.submit(self.gather, part)
                yield batch
            yield ahead.result()


def select(
    arrays: Sequence[Path], indexes: Sequence[Path], split: Path, classes: Sequence[str], subsets: set[str]
) -> ImageSet:
    """Return the images of `subsets` from one or more packed variants, in the order of variants and of their indexes.

    Raises InputError if an array and its index have different lengths, the arrays have different image sizes, the split
    (image, subset) and an index do not list the same images, an image has a class that is not in `classes`, or no image
    is left.
    """
    subset_of = read_csv(split, ["image", "subset"]).set_index("image")["subset"]
    number_of = {name: number for number, name in enumerate(classes)}
    opened = tuple(_open_array(path) for path in arrays)
    tables = []
    for number, (array, array_path, index_path) in enumerate(zip(opened, arrays, indexes, strict=True)):
        index = read_csv(index_path, ["image", "partition", "class", "sha256"])
        if array.shape[0] != len(index):
            counts = f"{counted(array.shape[0], 'image')}, but {index_path} names {len(index)}"
            raise InputError(f"{array_path}: holds {counts}; {_PACK_AGAIN}")
        if array.shape[1:] != opened[0].shape[1:]:
            raise InputError(f"{array_path}: its images differ in size from those of {arrays[0]}; {_PACK_AGAIN}")
        unknown = index.loc[~index["class"].isin(number_of)]
        if len(unknown):
            image, name = unknown[["image", "class"]].iloc[0]
            raise InputError(f"{index_path}: {image} is of class {name}, not in dataset.classes; {_PACK_AGAIN}")
        odd = sorted(set(index["image"]) ^ set(subset_of.index)) + list(subset_of.index[subset_of.index.duplicated()])
        if odd:
            raise InputError(
                f"{split}: must list each image of {index_path} exactly once (first difference: {odd[0]}); "
                "run the rule split_dataset again"
            )
        index["row"] = np.arange(len(index))
        index["array"] = number
        tables.append(index.loc[index["image"].map(subset_of).isin(subsets)])
    chosen = pd.concat(tables)
    if chosen.empty:
        raise InputError(f"{split}: has no {' or '.join(sorted(subsets))} images; use more images or another split")
    return ImageSet(
        arrays=opened,
        array_of=chosen["array"].to_numpy(np.int64, copy=True),
        row_of=chosen["row"].to_numpy(np.int64, copy=True),
        labels=chosen["class"].map(number_of).to_numpy(np.int64, copy=True),
        names=tuple(chosen["image"]),
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """An image of a variant: its manifest, its line there, and what the line says; see `wbcsr.upscale.store.Entry`."""

    manifest: Path
    place: int
    file: str
    sha256: str
    packed_sha256: str

    @property
    def digest(self) -> str:
        """The hash of what the row is made from: a record, or a file."""
        return self.packed_sha256 or self.sha256


def _match(manifests: Sequence[Path], images_csv: Path) -> tuple[pd.DataFrame, list[_Source]]:
    """Return image, partition and class in the order of `images_csv`, and the source of each row."""
    images = read_csv(images_csv, ["image", "partition", "class", "sha256"])
    listed: dict[str, _Source] = {}
    made_from = dict(zip(images["image"], images["sha256"], strict=True))
    for manifest in manifests:
        table = read_csv(manifest, ["image", "file", "sha256", "input_sha256"]).astype(str)
        table["packed_sha256"] = table.get("packed_sha256", "")
        for place, (image, file, digest, made, packed) in enumerate(
            table[["image", "file", "sha256", "input_sha256", "packed_sha256"]].itertuples(index=False)
        ):
            if image not in made_from:
                raise InputError(
                    f"{manifest}: lists {image}, which is not in {images_csv}; {how_to_regenerate(manifest)}"
                )
            if image in listed:
                raise InputError(
                    f"{manifest}: lists {image}, which {listed[image].manifest} also lists; "
                    f"{how_to_regenerate(manifest)}"
                )
            if made != made_from[image]:
                raise InputError(
                    f"{manifest}: {image} was made from a file that differs from the one in {images_csv}; "
                    f"{how_to_regenerate(manifest)}"
                )
            listed[image] = _Source(manifest, place, file, digest, packed)
    missing = [image for image in images["image"] if image not in listed]
    if missing:
        raise InputError(
            f"{images_csv}: {len(missing)} of its images are in no manifest (first: {missing[0]}); "
            "delete the manifests of its class and run again"
        )
    if images.empty:
        raise InputError(f"{images_csv}: names no image; check dataset.archive and dataset.classes")
    return images[["image", "partition", "class"]], [listed[image] for image in images["image"]]


def _open_array(path: Path) -> np.ndarray:
    """Memory-map a packed array, (n, side, side, 3) uint8."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is not a complete .npy file ({error}); {_PACK_AGAIN}") from error
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[1] != array.shape[2] or array.shape[3] != 3:
        raise InputError(f"{path}: holds {array.dtype} {array.shape} instead of square RGB images; {_PACK_AGAIN}")
    return array
