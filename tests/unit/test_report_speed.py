"""The report shows benchmark measurements with the name of the machine, and nothing if nothing was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from wbcsr.benchmark.machine import Machine
from wbcsr.benchmark.packing import ENLARGED, ORIGINAL, OURS, SUITE, TORCHVISION
from wbcsr.errors import InputError
from wbcsr.files import write_json
from wbcsr.report.benchmark import section
from wbcsr.report.page import speed

MACHINE = Machine("Zuse Z3, 1 of 1 cores", "python 3.11", "2026-01-02")


@pytest.fixture
def measured(tmp_path: Path) -> list[Path]:
    """A packing benchmark in which one method failed."""
    seconds = {"repeats": 3, "median_seconds": 0.5, "min_seconds": 0.4, "max_seconds": 0.6}
    rows = [
        {"system": system, "variant": variant, "input_size": 224, "threads": 1}
        | ({"note": "failed: OSError: gone"} if (system, variant) == failing else {"images": 64, **seconds})
        | {"images_per_second": None if (system, variant) == failing else 128.0}
        for failing in [(TORCHVISION, ENLARGED)]
        for system in (OURS, TORCHVISION)
        for variant in (ORIGINAL, ENLARGED)
    ]
    write_json(tmp_path / "packing.provenance.json", SUITE.write(rows, MACHINE, tmp_path))
    return [tmp_path / f"packing.{suffix}" for suffix in ("csv", "svg", "provenance.json")]


def test_a_benchmark_has_a_table_and_a_figure(measured: list[Path]) -> None:
    (shown,) = section(measured)
    table = shown["table"]
    assert "Zuse Z3, 1 of 1 cores" in table.caption
    assert "2026-01-02" in table.caption
    assert table.cells["system"].tolist() == [OURS, OURS, TORCHVISION, TORCHVISION]
    assert table.cells["images_per_second"].tolist() == ["128", "128", "128", ""]
    assert table.cells["note"].tolist() == ["", "", "", "failed: OSError: gone"]
    assert shown["picture"]["source"].startswith("data:image/svg+xml;base64,")


def test_the_page_has_the_section_only_if_something_was_measured(measured: list[Path]) -> None:
    assert speed([]) == []
    assert [shown["table"].name for shown in speed(measured)] == ["packing"]


def test_a_missing_machine_name_gives_one_line(measured: list[Path]) -> None:
    write_json(measured[2], {})
    with pytest.raises(InputError, match=r"packing\.provenance\.json: names no machine; .* --force -- .*packing\.csv"):
        section(measured)
