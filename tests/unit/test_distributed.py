"""Several processes that train one model, tried with two on the CPU (gloo).

Most tests give them a small network whose normalisation does not look beyond one image, so that two processes must do
what one does; torch has no batch norm on a CPU that looks at both processes' images. torchrun then runs this file in
place of `wbcsr.classify.distributed`, see the end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from two_colours import CLASSES, CPU, Bench, Small, build_small, make_bench
from wbcsr.classify import classifiers, distributed, ranks
from wbcsr.classify.ranks import Ranks
from wbcsr.classify.train import TrainJob, TrainSummary, train
from wbcsr.errors import InputError

# Of thirteen images the batches have 5, 5 and 3: two and three for each process, then the three for both.
MISTAKE = "a file: is wrong; mend it"
SHARED = {"batch_size": 5, "gpus": 2, "epochs": 60}


def run_small(job: TrainJob) -> TrainSummary:
    """`distributed.run` of the small network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "PROGRAM", [__file__])
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), os.pathsep)
        return distributed.run(job, device_type="cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from make_bench(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def together(bench: Bench) -> TrainJob:
    """The job of a training of the small network in two processes, done without interruption."""
    job = bench.job("together", **SHARED)
    summary = run_small(job)
    assert (summary.devices, summary.training_images, summary.resumed_epochs) == (2, 13, 0)
    return job


def history(job: TrainJob) -> pd.DataFrame:
    return pd.read_csv(job.history).drop(columns="seconds")


def test_running_statistics_are_not_exchanged_in_any_version_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exchange has another name in torch 2.11; to give an unknown one would end every training on several GPUs."""
    given: dict[str, Any] = {}

    def record(model: Any, device_ids: Any = None, *, broadcast_buffers: bool = True) -> Any:
        given["broadcast_buffers"] = broadcast_buffers
        return model

    monkeypatch.setattr(ranks, "DistributedDataParallel", record)
    Ranks(CPU, 0, 2).average_gradients(torch.nn.Linear(1, 1))
    assert given == {"broadcast_buffers": False}


@pytest.mark.parametrize("count", [1, 2, 3, 16])
@pytest.mark.parametrize("images", [2, 3, 5, 31, 32, 33, 64])
def test_the_parts_make_the_batch(images: int, count: int) -> None:
    """Every image is counted once, none is normalised alone, and the mean over the parts is that of the batch."""
    losses = torch.rand(images, generator=torch.Generator().manual_seed(images), dtype=torch.float64)
    parts = [Ranks(CPU, rank, count).part(images) for rank in range(count)]
    assert [number for part in parts if part.counted for number in range(images)[part.where]] == list(range(images))
    assert all(len(losses[part.where]) >= 2 for part in parts)
    mean = sum(part.weight * losses[part.where].mean() for part in parts) / count
    assert mean.item() == pytest.approx(losses.mean().item())


def test_two_processes_do_what_one_does(bench: Bench, together: TrainJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, augmentation, gradients, scores: all but the last digits, since sums are made in another order."""
    monkeypatch.setattr(classifiers, "build", build_small)
    alone = bench.job("alone", **SHARED)
    train(alone, Ranks(CPU))
    expected, found = load_file(alone.model), load_file(together.model)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(history(alone), history(together), rtol=1e-5)
    assert history(alone)["train_loss"].iloc[-1] < 0.9 * history(alone)["train_loss"].iloc[0]


def children(process: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


@pytest.fixture
def nothing_left() -> Callable[[], bool]:
    """Whether this process has no running child but those that it had before the test, as other tests' services."""
    before = children(os.getpid())
    return lambda: not any(is_running(child) for child in children(os.getpid()) - before)


def is_running(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def start(bench: Bench, name: str) -> subprocess.Popen:
    code = (
        "from pathlib import Path; from test_distributed import SHARED, run_small; from two_colours import Bench\n"
        f"bench = Bench(Path({str(bench.folder)!r}), [Path({str(bench.arrays[0])!r})], "
        f"[Path({str(bench.indexes[0])!r})])\n"
        f"run_small(bench.job({name!r}, **SHARED))"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parent)


def stop_when(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent: not looked at")
def test_stopped_killed_and_resumed_gives_the_same_bytes(
    bench: Bench, together: TrainJob, nothing_left: Callable[[], bool]
) -> None:
    """Whatever ends the training, its processes end with it; and going on equals the training left alone."""
    job = bench.job("ended", **SHARED)
    Thread(target=stop_when, args=[job.checkpoint.exists], daemon=True).start()
    with pytest.raises(SystemExit, match=str(128 + signal.SIGTERM)):
        run_small(job)
    assert nothing_left()

    stopped = job.checkpoint.stat().st_mtime_ns
    with start(bench, "ended") as process:
        while job.checkpoint.stat().st_mtime_ns == stopped:
            assert process.poll() is None, "ended before it wrote a checkpoint"
            time.sleep(0.005)
        started = children(process.pid)
        process.kill()
    assert len(started) == 2
    deadline = time.monotonic() + 10
    while any(is_running(child) for child in started):
        assert time.monotonic() < deadline, "a process outlived the training"
        time.sleep(0.01)

    assert not job.model.exists()
    summary = run_small(job)
    assert 2 <= summary.resumed_epochs < SHARED["epochs"]
    assert job.model.read_bytes() == together.model.read_bytes()
    pd.testing.assert_frame_equal(history(job), history(together), rtol=0)


def test_what_one_process_meets_ends_all_with_one_line(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    nothing_left: Callable[[], bool],
) -> None:
    monkeypatch.setenv("WBCSR_TEST_MISTAKE", MISTAKE)
    with pytest.raises(InputError, match=f"^{MISTAKE}$"):
        run_small(bench.job("mistaken", **SHARED))
    assert not bench.model("mistaken").exists()
    assert nothing_left()
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    assert "Error" not in printed


@pytest.mark.parametrize(
    ("status", "report", "says"),
    [
        (
            1,
            {
                "message": "ValueError: no",
                "extraInfo": {"py_callstack": "Traceback …\nValueError: no\n", "timestamp": 0},
            },
            "process 1 of the training failed (exit status 1): Traceback …\nValueError: no",
        ),
        (-9, None, "process 1 of the training failed (exit status -9): Signal 9 (SIGKILL) received by PID 7"),
    ],
    ids=["exception", "killed"],
)
def test_a_defect_is_shown_whole(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, report: dict[str, Any], says: str
) -> None:
    """torchrun's part is played here; its own account of a failure is real."""
    file = tmp_path / "error.json"
    if report:
        file.write_text(json.dumps({"message": report}))

    def fail(arguments: Any) -> None:
        raise ChildFailedError("training", {1: ProcessFailure(local_rank=1, pid=7, exitcode=status, error_file=file)})

    monkeypatch.setattr(distributed, "torchrun", fail)
    with pytest.raises(RuntimeError, match=f"^{re.escape(says)}$"):
        run_small(bench.job("failed", **SHARED))


def test_the_real_network_in_two_processes(bench: Bench, tmp_path: Path) -> None:
    job = bench.job("real", gpus=2, epochs=1)
    summary = distributed.run(job, str(tmp_path / "job.log"), device_type="cpu")
    model, description = classifiers.load(job.model)
    assert description.classes == tuple(CLASSES)
    assert summary.model_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (tmp_path / "job.log").read_text().count("epoch 1 of 1") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: that its absence is noticed was not looked at")
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gpus": 2}, r"train.gpus is 2, but this job sees no GPUs; set it to 1 or give the job more$"),
        ({"gpus": 3, "batch_size": 5, "device_type": "cpu"}, r"train.batch_size 5 leaves .*; raise it to 6"),
    ],
)
def test_what_cannot_be_shared_is_an_error_at_once(bench: Bench, changes: dict[str, Any], says: str) -> None:
    device_type = changes.pop("device_type", "cuda")
    with pytest.raises(InputError, match=says):
        distributed.run(bench.job("never", **changes), device_type=device_type)


class Mistaken(Small):
    """Meets a mistake in the second process, in the middle of a step that the first one waits for."""

    def forward(self, images: Tensor) -> Tensor:
        if os.environ["RANK"] == "1" and self.training:
            raise InputError(os.environ["WBCSR_TEST_MISTAKE"])
        return super().forward(images)


if __name__ == "__main__":
    network = Mistaken if "WBCSR_TEST_MISTAKE" in os.environ else Small
    classifiers.build = partial(build_small, network=network)  # type: ignore[assignment]
    distributed.main()
