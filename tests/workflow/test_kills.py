"""A workflow that is killed again and again ends as one that was left alone."""

from __future__ import annotations

from pathlib import Path

from kills import attack


def test_killed_at_random_moments_it_ends_as_if_undisturbed(small_study: Path, tmp_path: Path) -> None:
    """A few of them; `python tests/workflow/kills.py 200 <folder>` is the long run."""
    struck, _, found = attack(6, tmp_path, small_study)
    assert found == []
    assert sum(struck.values()) >= 6
