"""Training of one model in several processes, tested with two processes on the CPU (gloo).

Most tests use a small network whose normalisation uses only one image, so two processes must give the result of one;
torch has no synchronised batch norm on a CPU. torchrun then runs this file instead of `wbcsr.training.distributed`; see
its end.
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
from wbcsr.classify import classifiers
from wbcsr.classify.train import TrainJob, TrainSummary, train
from wbcsr.errors import InputError
from wbcsr.training import distributed, ranks
from wbcsr.training.ranks import Ranks

MISTAKE = "a file: is wrong; correct it"
# Thirteen images make batches of 5, 5 and 3: each process takes two or three of the five, and both take all three.
SHARED = {"batch_size": 5, "gpus": 2, "epochs": 60}


def run_small(job: TrainJob) -> TrainSummary:
    """`distributed.run` with the small network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "PROGRAM", [__file__])
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), os.pathsep)
        return distributed.run(train, job, device_type="cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    yield from make_bench(tmp_path_factory.mktemp("colours"))


def history(job: TrainJob) -> pd.DataFrame:
    return pd.read_csv(job.history).drop(columns="seconds")


def test_running_statistics_are_not_exchanged_in_any_version_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument has another name in torch 2.11; an unknown argument would end every training on several GPUs."""
    given: dict[str, Any] = {}

    def record(model: Any, device_ids: Any = None, *, broadcast_buffers: bool = True) -> Any:
        given["broadcast_buffers"] = broadcast_buffers
        return model

    monkeypatch.setattr(ranks, "DistributedDataParallel", record)
    Ranks(CPU, 0, 2).average_gradients(torch.nn.Linear(1, 1))
    assert given == {"broadcast_buffers": False}


@pytest.mark.parametrize("count", [1, 2, 3, 16])
@pytest.mark.parametrize("images", [2, 3, 5, 31, 32, 33, 64])
def test_the_parts_of_the_processes_make_up_the_batch(images: int, count: int) -> None:
    """Every image counts once, no part has a single image, and the mean over the parts equals that over the batch."""
    losses = torch.rand(images, generator=torch.Generator().manual_seed(images), dtype=torch.float64)
    parts = [Ranks(CPU, rank, count).part(images) for rank in range(count)]
    assert [number for part in parts if part.counted for number in range(images)[part.where]] == list(range(images))
    assert all(len(losses[part.where]) >= 2 for part in parts)
    mean = sum(part.weight * losses[part.where].mean() for part in parts) / count
    assert mean.item() == pytest.approx(losses.mean().item())


def children(process: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


@pytest.fixture
def nothing_left() -> Callable[[], bool]:
    """Whether this process has only the child processes from before the test, such as services of other tests."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="not tested: only Linux ends a process with its parent")
def test_two_processes_train_the_same_model_as_one_even_if_they_are_stopped_and_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, nothing_left: Callable[[], bool]
) -> None:
    """Whatever ends the training, its processes end too, and the next run resumes it.

    Order, augmentation, gradients and scores agree, except for the last digits, because sums have another order.
    """
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
    assert (summary.devices, summary.training_images) == (2, 13)

    monkeypatch.setattr(classifiers, "build", build_small)
    alone = bench.job("alone", **SHARED)
    train(alone, Ranks(CPU))
    expected, found = load_file(alone.model), load_file(job.model)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(history(alone), history(job), rtol=1e-5)
    assert history(alone)["train_loss"].iloc[-1] < 0.9 * history(alone)["train_loss"].iloc[0]


def test_an_error_in_one_process_ends_all_with_one_line(
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
    ("status", "report", "message"),
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
def test_a_defect_is_shown_with_its_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, report: dict[str, Any], message: str
) -> None:
    """The test replaces torchrun, but torchrun's report of the failure has its real form."""
    file = tmp_path / "error.json"
    if report:
        file.write_text(json.dumps({"message": report}))

    def fail(arguments: Any) -> None:
        raise ChildFailedError("training", {1: ProcessFailure(local_rank=1, pid=7, exitcode=status, error_file=file)})

    monkeypatch.setattr(distributed, "torchrun", fail)
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}$"):
        run_small(bench.job("failed", **SHARED))


def test_the_real_network_in_two_processes(bench: Bench, tmp_path: Path) -> None:
    job = bench.job("real", classifier="efficientnet_lite0", gpus=2, epochs=1)
    summary = distributed.run(train, job, log_file=str(tmp_path / "job.log"), device_type="cpu")
    model, description = classifiers.load(job.model)
    assert description.classes == tuple(CLASSES)
    assert summary.model_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (tmp_path / "job.log").read_text().count("epoch 1 of 1") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error without a GPU was not tested: this machine has one")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 2}, r"train.gpus is 2, but this job sees no GPUs; set it to 1 "),
        ({"gpus": 3, "batch_size": 5, "device_type": "cpu"}, r"train.batch_size 5 leaves .*; raise it to at least 6"),
    ],
)
def test_settings_that_cannot_be_distributed_are_an_error(bench: Bench, changes: dict[str, Any], message: str) -> None:
    device_type = changes.pop("device_type", "cuda")
    with pytest.raises(InputError, match=message):
        distributed.run(train, bench.job("never", **changes), device_type=device_type)


class Mistaken(Small):
    """Raises an error in the second process, in the middle of a step for which the first process waits."""

    def forward(self, images: Tensor) -> Tensor:
        if os.environ["RANK"] == "1" and self.training:
            raise InputError(os.environ["WBCSR_TEST_MISTAKE"])
        return super().forward(images)


if __name__ == "__main__":
    network = Mistaken if "WBCSR_TEST_MISTAKE" in os.environ else Small
    classifiers.build = partial(build_small, network=network)  # type: ignore[assignment]
    distributed.main()
