"""A pytest plugin for mutation testing: the fastest tests run first, because the first failure ends the run."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    stats = Path("mutmut-stats.json")
    seconds = json.loads(stats.read_text())["duration_by_test"] if stats.is_file() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0))
    # statsmodels collects garbage at each correction, also among all imported objects.
    gc.freeze()
