"""What a history of training says, for whoever keeps a model or draws its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def best_epoch(history: Sequence[Mapping[Any, Any]]) -> int:
    """The epoch (from 1) of the highest validation accuracy; of several, that of the lowest loss; then the first."""
    best = min(history, key=lambda row: (-row["validation_accuracy"], row["validation_loss"], row["epoch"]))
    return int(best["epoch"])
