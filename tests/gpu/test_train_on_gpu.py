"""Training on one GPU and on two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from two_colours import CLASSES, Bench, build_small, make_bench
from wbcsr.classify import batches, classifiers, train
from wbcsr.classify.batches import Resident, Streamed
from wbcsr.classify.pack import ImageSet, select
from wbcsr.training import distributed


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Enough images for steps of two images per GPU and a smaller last batch."""
    yield from make_bench(tmp_path_factory.mktemp("colours"), train_images=38)


@pytest.fixture
def images(bench: Bench) -> ImageSet:
    return select(bench.arrays, bench.indexes, bench.folder / "split.csv", CLASSES, {"train"})


@pytest.mark.gpu(verifies="that batches gathered in a GPU's memory equal those streamed to it")
def test_batches_in_gpu_memory_equal_streamed_batches(images: ImageSet) -> None:
    device = torch.device("cuda")
    order = np.random.default_rng(0).permutation(len(images))
    parts = [order[:16], order[16:32], order[32:]]
    pairs = zip(Streamed(images, device).read(parts), Resident(images, device).read(parts), strict=True)
    for number, (streamed, resident) in enumerate(pairs):
        expected = images.gather(parts[number])
        for one, other, array in zip(streamed, resident, expected, strict=True):
            assert one.device.type == other.device.type == "cuda"
            np.testing.assert_array_equal(one.cpu().numpy(), array)
            np.testing.assert_array_equal(other.cpu().numpy(), array)


@pytest.mark.gpu(verifies="that the choice between a GPU's memory and streaming does not change a model")
def test_training_does_not_depend_on_where_the_images_are_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.train("resident", batch_size=16, compile=False).images_are == Resident.place
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    assert bench.train("streamed", batch_size=16, compile=False).images_are == Streamed.place
    assert bench.model("resident").read_bytes() == bench.model("streamed").read_bytes()


@pytest.mark.gpu(verifies="that training on a GPU, compiled or not, learns and is reproducible")
@pytest.mark.parametrize("compiled", [False, True])
def test_the_same_seed_gives_the_same_model_file(bench: Bench, compiled: bool) -> None:
    for name in ("once", "twice"):
        torch.compiler.reset()
        summary = bench.train(f"{name}{compiled}", batch_size=16, epochs=6, precision="auto", compile=compiled)
        assert (summary.compiled, summary.device) == (compiled, "cuda")
    assert bench.model(f"once{compiled}").read_bytes() == bench.model(f"twice{compiled}").read_bytes()
    assert bench.history(f"once{compiled}")["validation_accuracy"].max() > 0.9


@pytest.mark.gpu(verifies="that compiling the training step on a GPU does not change its result")
def test_a_compiled_step_equals_an_uncompiled_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "build", build_small)
    assert bench.train("compiled", batch_size=16, compile=True).compiled
    assert not bench.train("plain", batch_size=16, compile=False).compiled
    expected, found = (load_file(bench.model(name)) for name in ("plain", "compiled"))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu(verifies="that no training step waits for the GPU")
def test_a_step_does_not_wait_for_the_gpu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second step to the end of the epoch, every synchronisation with the GPU is an error."""
    step, done = train.Training._step, []

    def watched(*arguments: Any, **options: Any) -> Any:
        result = step(*arguments, **options)
        done.append(result)
        torch.cuda.set_sync_debug_mode("error" if len(done) < 10 else "default")
        return result

    monkeypatch.setattr(train.Training, "_step", watched)
    try:
        bench.train("watched", batch_size=4, epochs=1, compile=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(done) == 10


@pytest.mark.gpu(verifies="that two GPUs (NCCL, synchronised batch norm) train the same model as one")
def test_training_on_two_gpus_equals_training_on_one(bench: Bench, tmp_path: Path) -> None:
    """With the real network, the scores of the first epoch agree; after that, rounding errors have grown too much."""
    if torch.cuda.device_count() < 2:
        pytest.skip("not verified: that two GPUs train the same model as one; there is only one GPU")
    changes = {"batch_size": 16, "compile": False, "epochs": 1, "learning_rate": 1e-5}
    alone, together = bench.job("alone", **changes), bench.job("together", gpus=2, **changes)
    train.train(alone)
    summary = distributed.run(train.train, together, log_file=str(tmp_path / "job.log"))
    assert (summary.devices, summary.device) == (2, "cuda:0")
    histories = [pd.read_csv(job.history).drop(columns="seconds") for job in (alone, together)]
    pd.testing.assert_frame_equal(*histories, rtol=1e-2)
    expected, found = classifiers.load(alone.model)[0].state_dict(), classifiers.load(together.model)[0].state_dict()
    for name in ("bn1.running_mean", "bn1.running_var"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-2, atol=1e-2)
