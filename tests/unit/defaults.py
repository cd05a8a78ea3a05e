"""Settings as a configuration has them that gives none."""

from __future__ import annotations

from pathlib import Path

from wbcsr.config import complete

LIMITS: dict[str, int] = complete({}, Path(__file__).parents[2] / "config" / "schema.yaml")["dataset"]["limits"]
