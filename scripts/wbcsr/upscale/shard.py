"""Upscale the images of one shard: decode, upscale and encode in parallel, and resume after an interruption.

A ledger next to the manifest gets one line for each completely written image, and is kept. If a shard is run again,
finished or not, it keeps an image if the ledger lists it for the same original and the same upscaler, and if what is
stored of it has the recorded SHA-256 (see `store`). The manifest of an earlier run is not used: Snakemake deletes it
before a job, so that a failed job leaves no manifest that looks current. The list of a shard is divided into batches
before finished images are skipped. An image is therefore always in the same batch, and its pixels do not depend on
where a run was interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from wbcsr import imaging
from wbcsr.errors import InputError
from wbcsr.files import png_names, read_csv, read_json, remove_leftovers
from wbcsr.progress import ahead, image_progress, in_pool
from wbcsr.text import counted
from wbcsr.upscale.store import ALL, MANIFEST_COLUMNS, Entry, Ledger, Store, Storing

log = logging.getLogger(__name__)

# Batches that wait to be upscaled or encoded: enough to keep the network busy, few enough to limit memory.
WAITING = 4


class Upscaler(Protocol):
    """Upscales images of one shape and dtype; the results have the same dtype and `scale` times the height and width.

    Images are (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16. `start` may return before the results are
    ready; the function that it returns waits for them. `batch_size` is the number of images per call, `ahead` the
    number of further batches that may be started before a result is fetched. `identity` contains everything that the
    pixels depend on.
    """

    @property
    def batch_size(self) -> int: ...

    @property
    def ahead(self) -> int: ...

    @property
    def identity(self) -> str: ...

    def start(self, images: list[np.ndarray]) -> Callable[[], list[np.ndarray]]: ...


def shard_rows(originals: pd.DataFrame, shard: int, shards: int) -> pd.DataFrame:
    """Return the rows of a class's manifest that belong to shard `shard` (1 to `shards`), with their new file names.

    Shards are contiguous, and their sizes differ by at most one image.
    """
    named = originals.assign(target=png_names(originals["file"]))
    first, last = (len(named) * end // shards for end in (shard - 1, shard))
    return named.iloc[first:last]


def spread(manifests: Sequence[Path]) -> pd.DataFrame:
    """Return the rows of all manifests, with `folder`; the first n rows, for any n, are spread over all manifests."""
    tables = [read_csv(path, MANIFEST_COLUMNS).assign(folder=path.parent) for path in manifests]
    rows = pd.concat([table.assign(place=np.arange(len(table)) / max(len(table), 1)) for table in tables])
    return rows.sort_values(["place", "image"], kind="stable").drop(columns="place")


def upscale_shard(
    source: Path,
    manifest: Path,
    shard: int,
    shards: int,
    upscaler: Upscaler,
    threads: int,
    storing: Storing = ALL,
) -> dict[str, Any]:
    """Upscale one shard of the images in the manifest `source`, and store `storing` in the folder of `manifest`.

    Returns `upscaling` for the provenance: number of images, how many were kept from an earlier run, and images/s. If
    an earlier run made all of them, the cost that it recorded is returned too, because it still applies. Raises
    InputError if an image is missing or differs from the one in `source`.
    """
    remove_leftovers(manifest.parent)
    rows = shard_rows(read_csv(source, MANIFEST_COLUMNS), shard, shards)
    ledger = Ledger(manifest, upscaler.identity)
    earlier = _earlier_run(manifest, upscaler.identity)
    batches = _batches(rows, upscaler.batch_size)
    # Two pools: encoding takes far longer, and in one pool, batches to decode would wait behind it.
    decoders, encoders = (ThreadPoolExecutor(max(2, threads)) for _ in range(2))
    with Store(manifest, rows, storing) as store, ledger, decoders, encoders:
        kept = in_pool(encoders, store.keep, ledger.entries(), WAITING * threads)
        done = {entry.image: entry for entry in kept if entry}
        waiting = [batch for batch in batches if any(row.image not in done for row in batch)]
        if done:
            log.info("%d of %s are kept from an earlier run", len(done), counted(len(rows), "image"))
        started = time.perf_counter()
        with image_progress(len(rows), manifest.parent.name, len(done)) as progress:
            # The stages run in parallel, each on a later batch than the next stage.
            decoding = ((batch, decoders.submit(_decode, batch, source)) for batch in waiting)
            running = ((batch, _start_by_kind(upscaler, images.result())) for batch, images in ahead(decoding, WAITING))
            encoding = (
                [
                    encoders.submit(_write, row, result, store, ledger, progress)
                    for row, result in zip(batch, finish(), strict=True)
                    if row.image not in done
                ]
                for batch, finish in ahead(running, upscaler.ahead)
            )
            for files in ahead(encoding, WAITING):
                for file in files:
                    entry = file.result()
                    done[entry.image] = entry
        seconds = time.perf_counter() - started
        store.finish(done)
        ledger.replace([done[image] for image in rows["image"]])
    upscaled_images = sum(map(len, waiting))
    if upscaled_images:
        rate = upscaled_images / seconds
        log.info(
            "%s in %.1f s, %.4g images/s; at this rate, a shard of 5 to 10 minutes has %d to %d images",
            counted(upscaled_images, "image"), seconds, rate, math.ceil(300 * rate), math.ceil(600 * rate),
        )  # fmt: skip
    if earlier and not waiting and earlier["upscaling"]["images"] == len(rows):
        return {key: earlier[key] for key in ("upscaling", "cost", "machine", "threads") if key in earlier}
    return {
        "upscaling": {
            "enlarger": upscaler.identity,
            "images": len(rows),
            "images_kept": len(rows) - upscaled_images,
            "images_per_second": round(upscaled_images / seconds, 4) if upscaled_images else None,
        }
    }


def _earlier_run(manifest: Path, identity: str) -> dict[str, Any] | None:
    """Return the provenance of the last finished run of this shard, if it used the same upscaler."""
    provenance = manifest.with_suffix(".provenance.json")
    if not provenance.is_file():
        return None
    try:
        record = read_json(provenance)
        return record if record["upscaling"]["enlarger"] == identity else None
    except (InputError, KeyError, TypeError) as error:
        log.warning("%s: cannot be used (%r); the cost of kept images is not known", provenance, error)
        return None


def _batches(rows: pd.DataFrame, size: int) -> list[list[Any]]:
    """Divide `rows` into batches of images of one shape, at most `size` each, in the order of the list by shape."""
    batches = []
    for _, alike in rows.groupby(["height", "width"], sort=False):
        tuples = list(alike.itertuples(index=False))
        batches += [tuples[start : start + size] for start in range(0, len(tuples), size)]
    return batches


def _decode(batch: list[Any], source: Path) -> list[np.ndarray]:
    return [imaging.read_listed(source.with_name(row.file), row.sha256, source) for row in batch]


def _start_by_kind(upscaler: Upscaler, images: list[np.ndarray]) -> Callable[[], list[np.ndarray]]:
    """Start to upscale images of one shape, separately for each kind (grey, RGB, RGBA, 8 or 16 bit)."""
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for index, image in enumerate(images):
        kinds.setdefault((image.shape[2:], image.dtype.name), []).append(index)
    started = [(indices, upscaler.start([images[index] for index in indices])) for indices in kinds.values()]

    def finish() -> list[np.ndarray]:
        results = {index: result for indices, end in started for index, result in zip(indices, end(), strict=True)}
        return [results[index] for index in range(len(images))]

    return finish


def _write(row: Any, pixels: np.ndarray, store: Store, ledger: Ledger, progress: tqdm) -> Entry:
    entry = store.put(row, pixels)
    ledger.add(entry)
    with progress.get_lock():
        progress.update()
    return entry
