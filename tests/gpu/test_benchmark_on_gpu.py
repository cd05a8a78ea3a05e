"""The benchmark on a GPU: timing by CUDA events, and the classifier with every installed backend."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from small_networks import inference
from wbcsr.benchmark.classifying import benchmark_classifying
from wbcsr.benchmark.clocks import CudaEvents
from wbcsr.benchmark.machine import precisions
from wbcsr.classify import classifiers
from wbcsr.engines.backends import BACKENDS


@pytest.mark.gpu(verifies="that CUDA events measure the time of the work and not of its launch")
def test_cuda_event_times_agree_with_the_clock() -> None:
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
    clock = CudaEvents()
    start = clock.mark()
    work()
    assert seconds / 2 < clock.seconds(start, clock.mark()) < seconds * 2


@pytest.mark.gpu(verifies="that the classifier is measured with every installed backend and precision")
def test_every_backend_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(classifiers.ENGINE_BATCH, "cuda", 4)
    settings = {"backends": list(BACKENDS), "precisions": ["fp32", "fp16", "bf16"], "seconds": 0.1, "repeats": 3}
    benchmark_classifying("resnet50", 2, 64, inference(optimization_level=0), settings, 2, tmp_path)
    table = pd.read_csv(tmp_path / "classifying.csv")
    device = torch.device("cuda")
    for name, backend in BACKENDS.items():
        part = table[table["backend"] == name]
        reason = backend.unavailable(device)
        if reason or name in ("winograd", "triton"):  # they run no ResNet-50
            assert part["note"].str.startswith("cannot run here: ").all()
            continue
        assert set(part["precision"]) == set(precisions(device, name))
        assert (part["images_per_second"] > 0).all(), list(part["note"])
    assert torch.cuda.get_device_name() in (tmp_path / "classifying.md").read_text()
