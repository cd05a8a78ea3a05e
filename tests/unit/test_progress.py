"""Pools: results in order, with few items waiting."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from wbcsr.progress import in_pool


def test_a_pool_takes_no_more_items_than_may_wait() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = in_pool(pool, lambda number: number**2, items(), 5)
        for number, result in enumerate(results):
            assert result == number**2
            assert len(taken) <= number + 6
    assert taken == list(range(50))
