"""The benchmark on a GPU: events instead of a clock, memory, and every backend that is installed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from small_networks import inference, write_weights
from wbcsr import imaging
from wbcsr.benchmark.engines import benchmark_engines, precisions
from wbcsr.benchmark.memory import PeakMemory
from wbcsr.benchmark.timing import CudaEvents, measure
from wbcsr.engines.backends import BACKENDS
from wbcsr.files import sha256, write_csv
from wbcsr.upscale.shard import MANIFEST_COLUMNS

CLASSES = ["a", "b"]


@pytest.mark.gpu(verifies="that the events of a GPU tell the time of its work, and not of its launch")
def test_events_agree_with_the_clock() -> None:
    matrix = torch.rand(4096, 4096, device="cuda")

    def work() -> None:
        product = matrix
        for _ in range(50):
            product = product @ matrix

    work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    assert seconds / 2 < measure(work, 1, CudaEvents()).median_seconds < seconds * 2


@pytest.mark.gpu(verifies="that the peak of a GPU's memory is told, and counted anew from each restart")
def test_peak_memory() -> None:
    device = torch.device("cuda")
    kept = torch.empty(64 * 2**20, dtype=torch.uint8, device=device)
    memory = PeakMemory(device)
    memory.restart()
    del kept
    torch.empty(256 * 2**20, dtype=torch.uint8, device=device)
    assert memory.mib() == pytest.approx(256, abs=80)
    memory.restart()
    assert memory.mib() == pytest.approx(0, abs=80)


@pytest.mark.gpu(verifies="that every installed backend is measured alone, from files to files, and to labels")
def test_every_backend_is_measured(tmp_path: Path) -> None:
    generator, rows = np.random.default_rng(0), []
    for number in range(5):  # no whole number of batches
        path = tmp_path / f"{number}.png"
        path.write_bytes(imaging.encode_png(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)))
        rows.append([f"TRAIN/a/{path.name}", path.name, 64, 48, sha256(path), sha256(path)])
    write_csv(tmp_path / "manifest.csv", pd.DataFrame(rows, columns=MANIFEST_COLUMNS))
    csv = tmp_path / "engines.csv"
    benchmark_engines(
        [write_weights(tmp_path / "sr.safetensors")],
        [tmp_path / "manifest.csv"],
        CLASSES,
        "resnet50",
        64,
        inference(batch_size=2, optimization_level=0),
        {"backends": list(BACKENDS), "seconds": 0.1, "images": "auto", "crop": "auto"},
        2,
        csv,
        tmp_path / "engines.md",
    )
    table = pd.read_csv(csv)
    device = torch.device("cuda")
    missing = {name: backend.unavailable(device) for name, backend in BACKENDS.items()}
    for name, reason in missing.items():
        part = table[table["backend"] == name]
        if reason:
            assert (part["note"] == f"cannot run here: {reason}").all()
            continue
        assert (part["note"].dropna().str.startswith("random weights")).all()
        assert (part[["images_per_second", "peak_memory_mib"]] > 0).all(axis=None)
        assert set(part["precision"]) == set(precisions(device))
        assert len(part) == 4 * len(precisions(device))
        assert part["build_seconds"].notna().all() == BACKENDS[name].compiles
    assert torch.cuda.get_device_name() in (tmp_path / "engines.md").read_text()
