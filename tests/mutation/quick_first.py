"""For pytest where a mutant is tested: the quickest tests first, for the first that fails ends it."""

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
    # statsmodels collects garbage at each correction, among all that was imported.
    gc.freeze()
