"""Progress of a job: a bar on a terminal, or lines in the log."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

SECONDS_BETWEEN_LINES = 15.0
# Items per thread that wait for it.
_WAITING = 16
_LINE = "{desc}: {n_fmt} of {total_fmt} images, {rate_fmt}, {remaining} left"


class _LogLines:
    """A file object for tqdm that writes its lines to the log."""

    def write(self, text: str) -> None:
        if text.strip():
            log.info(text.strip())

    def flush(self) -> None:
        """The log has nothing to flush."""


def image_progress(total: int, description: str, done: int = 0) -> tqdm:
    """Progress over `total` images, of which `done` are already finished, with images/s and the remaining time."""
    if sys.stderr.isatty():
        return tqdm(total=total, initial=done, desc=description, unit="image", dynamic_ncols=True)
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit="image",
        file=_LogLines(),
        delay=SECONDS_BETWEEN_LINES,
        mininterval=SECONDS_BETWEEN_LINES,
        bar_format=_LINE,
    )


def side_by_side(
    call: Callable[[Item], Result], items: Sequence[Item], threads: int, description: str
) -> Iterator[Result]:
    """The results of `call` for each item, in order, with progress."""
    with ThreadPoolExecutor(threads) as pool, image_progress(len(items), description) as progress:
        for result in in_pool(pool, call, items, _WAITING * threads):
            progress.update()
            yield result


def in_pool(
    pool: ThreadPoolExecutor, call: Callable[[Item], Result], items: Iterable[Item], waiting: int
) -> Iterator[Result]:
    """Like `pool.map`, but at most `waiting` items wait, so that memory does not grow with their number."""
    for future in ahead((pool.submit(call, item) for item in items), waiting):
        yield future.result()


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """Yield the items of a lazy iterable; `depth` further items are already computed when one is yielded."""
    made: deque[Item] = deque()
    for item in items:
        made.append(item)
        if len(made) > depth:
            yield made.popleft()
    yield from made
