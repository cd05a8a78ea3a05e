"""The best epoch of a training history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def best_epoch(history: Sequence[Mapping[Any, Any]]) -> int:
    """Return the epoch (from 1) with the highest validation accuracy; ties: lowest loss, then first epoch."""
    best = min(history, key=lambda row: (-row["validation_accuracy"], row["validation_loss"], row["epoch"]))
    return int(best["epoch"])
