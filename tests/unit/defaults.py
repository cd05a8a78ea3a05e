"""Complete settings: the defaults, with some sections changed."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from wbcsr.config.schema import complete

SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"
LABELS: dict[str, Any] = complete({"dataset": {"labels": "labels.csv"}}, SCHEMA)["dataset"]["labels"]
LIMITS: dict[str, int] = complete({}, SCHEMA)["dataset"]["limits"]


@cache
def _completed(sections: str) -> dict[str, Any]:
    return complete(json.loads(sections), SCHEMA)


def config_of(**sections: Any) -> dict[str, Any]:
    """The complete configuration with these sections."""
    return _completed(json.dumps(sections))
