"""Nouns with their numbers in messages, logs and the report."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pandas as pd
import pytest

from wbcsr.dataset.sources import find_sources
from wbcsr.files import write_csv
from wbcsr.report import numbers
from wbcsr.text import counted


@pytest.mark.parametrize(
    ("number", "nouns", "text", "in_words"),
    [
        (0, ("image",), "0 images", "no images"),
        (1, ("image",), "1 image", "one image"),
        (2, ("class", "classes"), "2 classes", "two classes"),
        (1989, ("image",), "1,989 images", "1,989 images"),
    ],
)
def test_nouns_agree_with_their_numbers(number: int, nouns: tuple[str, ...], text: str, in_words: str) -> None:
    assert counted(number, *nouns) == text
    assert numbers.counted(number, *nouns) == in_words


def test_a_log_uses_the_singular_for_one_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = pd.DataFrame({"image": ["ALL/A/p_1.png", "ALL/B/p_2.png"], "class": ["A", "B"], "width": 8, "height": 6})
    write_csv(tmp_path / "images.csv", images.assign(sha256=["0", "1"]))
    caplog.set_level(logging.INFO)
    settings = {"method": "pattern", "pattern": "^(.)_"}
    find_sources(tmp_path / "images.csv", [], tmp_path, settings, {"photographs": None}, tmp_path / "sources.csv")
    assert "found 1 source for 2 of 2 images" in caplog.text
    assert not re.search(r"\b1 \w+s\b", caplog.text)
