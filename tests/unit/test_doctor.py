"""The doctor: what it finds on this machine, and that nothing that fails, hangs or is missing stops it."""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from wbcsr.engines import doctor, trial
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.pytorch import Eager

INFERENCE = {"workspace_gib": None, "optimization_level": 3}

# A GPU node as no machine of the tests is one: made up.
NODE: dict[str, Any] = {
    "processor": "Zuse Z3",
    "cores": 16,
    "memory_gib": 125.5,
    "driver": "570.86.15",
    "driver_cuda": "12.8",
    "nvidia_smi": ["NVIDIA H100 80GB HBM3, Exclusive_Process, Disabled"],
    "torch": {
        "vectors": "AVX512",
        "bf16": {"AMX": True, "AVX512-BF16": False},
        "cuda": "13.0",
        "gpus": [{"name": "NVIDIA H100 80GB HBM3", "capability": "9.0", "memory_gib": 79.1, "free_gib": 78.5}],
    },
    "versions": {**dict.fromkeys(doctor.PACKAGES), "torch": "2.14.1", "torch-tensorrt-rtx": "2.14.0"},
    "compiler": None,
    "free_gib": {"working folder": 100.0, "temporary files": 0.5},
    "backends": {
        "eager": {"runs": True, "device": "cuda", "precision": "fp16", "seconds": 1.5},
        "tensorrt": {"runs": False, "reason": "the package torch-tensorrt is not installed; install envs/gpu.txt"},
    },
    "kernels": {"runs": True, "device": "cuda", "seconds": 2.5},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """This machine, examined in earnest but for inductor, which takes its time; as the JSON file holds it."""
    path = tmp_path_factory.mktemp("doctor") / "doctor.json"
    with pytest.MonkeyPatch.context() as without_inductor:
        without_inductor.setattr(doctor, "BACKENDS", ("eager", "tensorrt"))
        doctor.diagnose(INFERENCE, path)
    return json.loads(path.read_text())


def row(name: str, found: dict[str, Any]) -> str:
    """What the table says of `name`."""
    return next(line[len(name) :].strip() for line in doctor.table(found) if line.startswith(f"{name} "))


def test_it_tries_every_backend() -> None:
    assert set(doctor.BACKENDS) == set(BACKENDS)


def test_pytorch_runs_here(found: dict[str, Any]) -> None:
    assert found["backends"]["eager"]["runs"]
    assert row("Backend eager", found).startswith("runs (")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: how its lack is told was not looked at")
def test_without_a_gpu_it_says_so_and_what_that_means(found: dict[str, Any]) -> None:
    assert found["torch"]["gpus"] == []
    assert "none that PyTorch can use: " in row("GPU", found)
    assert row("Backend tensorrt", found).startswith("DOES NOT RUN: tensorrt needs an NVIDIA GPU")
    assert row("Triton kernels", found).startswith("DOES NOT RUN: they need an NVIDIA GPU; on a CPU")


def test_it_describes_the_processor(found: dict[str, Any]) -> None:
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert torch.backends.cpu.get_cpu_capability() in row("Processor", found)
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert 0 < found["memory_gib"] < 100_000
    assert all(gib >= 0 for gib in found["free_gib"].values())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Processor", "Zuse Z3, cores: 16, 125.5 GiB, AVX512, AMX, no AVX512-BF16"),
        ("GPU", "NVIDIA H100 80GB HBM3, compute capability 9.0, 79.1 GiB, 78.5 GiB free"),
        ("nvidia-smi", "NVIDIA H100 80GB HBM3, Exclusive_Process, Disabled (name, compute mode, MIG)"),
        ("CUDA", "driver 570.86.15 for CUDA up to 12.8; PyTorch was built for 13.0"),
        ("torch-tensorrt", "not installed; torch-tensorrt-rtx, which is, serves to check engines and runs none"),
        ("tensorrt", "not installed"),
        ("C++ compiler", "none; inductor needs one (Debian: g++)"),
        ("Free: temporary files", "0.5 GiB"),
        ("Backend eager", "runs (cuda fp16; ready and run once in 1.5 s)"),
        (
            "Backend tensorrt",
            "DOES NOT RUN: the package torch-tensorrt is not installed; install envs/gpu.txt",
        ),
        ("Triton kernels", "runs (cuda; ready and run once in 2.5 s)"),
    ],
)
def test_the_table_of_a_gpu_node(name: str, text: str) -> None:
    assert row(name, NODE) == text


def test_a_gpu_that_another_process_holds_is_listed() -> None:
    node = copy.deepcopy(NODE)
    node["torch"]["gpus"][0] |= {"free_gib": None, "busy": "CUDA error: all CUDA-capable devices are busy"}
    assert row("GPU", node).endswith("79.1 GiB, busy: CUDA error: all CUDA-capable devices are busy")


def test_a_torch_that_cannot_be_imported_is_told_and_the_rest_too() -> None:
    node = {**NODE, "torch": {"runs": False, "reason": "it ended with exit status 1; what it printed is in the log"}}
    assert row("GPU", node) == "none that PyTorch can use: it ended with exit status 1; what it printed is in the log"
    assert row("Processor", node) == "Zuse Z3, cores: 16, 125.5 GiB"
    assert row("Backend eager", node)


def test_nothing_on_the_path_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "try_out", lambda trial, inference, limit: {"runs": False, "reason": "not tried"})
    found = doctor.examine(INFERENCE)
    assert (found["nvidia_smi"], found["compiler"]) == ([], None)
    assert row("C++ compiler", found).startswith("none")


@pytest.mark.parametrize(
    ("code", "limit", "failure", "printed"),
    [
        ("print('done')", 60, None, "done"),
        ("print('so far'); raise SystemExit(3)", 60, "it ended with exit status 3", "so far"),
        ("import os; os.abort()", 60, "it was ended by SIGABRT", ""),
        (
            "print('begun', flush=True); import time; time.sleep(60)",
            2,
            "it took longer than 2 s and was stopped",
            "begun",
        ),
    ],
)
def test_a_trial_may_fail_crash_or_hang(code: str, limit: float, failure: str | None, printed: str) -> None:
    found = doctor.run_apart([sys.executable, "-c", code], limit)
    assert (found[0], found[1].strip()) == (failure, printed)


def test_nothing_is_left_running(tmp_path: Path) -> None:
    """What a trial started, as a compiler, is ended with it and holds up nothing."""
    sign = tmp_path / "alive"
    child = f"import time; time.sleep(2); open({str(sign)!r}, 'w')"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    started = time.monotonic()
    assert doctor.run_apart([sys.executable, "-c", code], limit=1)[0] == "it took longer than 1 s and was stopped"
    assert time.monotonic() - started < 30
    time.sleep(2.5)
    assert not sign.exists()


def test_a_damaged_torch_is_a_reason_in_one_line_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with caplog.at_level(logging.INFO, logger="wbcsr"):
        answer = doctor.try_out("eager", INFERENCE, limit=60)
    assert answer == {
        "runs": False,
        "reason": "it ended with exit status 1: ImportError: libcudart.so.13: cannot open shared object file; "
        "what it printed is in the log",
    }
    assert "Traceback" in caplog.text


class Broken(Eager):
    """A backend that compiles nothing and gives `self.value` for each pixel, or raises it."""

    def __init__(self, value: float | Exception) -> None:
        self.value = value

    def load(self, network: torch.nn.Module, program: Path, profile: Any) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return lambda batch: torch.full_like(network(batch), self.value)


class Compiled(Eager):
    """A backend that has to compile before it can load."""

    compiles = True

    def compile(self, network: torch.nn.Module, profile: Any, program: Path, settings: Any) -> None:
        program.write_text("compiled")

    def load(self, network: torch.nn.Module, program: Path, profile: Any) -> Any:
        assert program.read_text() == "compiled"
        return network


def test_a_backend_compiles_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "inductor", Compiled())
    assert trial.run_backend("inductor", INFERENCE)["runs"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_backend_that_gives_wrong_values_does_not_run(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "eager", Broken(value))
    answer = trial.run_backend("eager", INFERENCE)
    assert not answer["runs"]
    assert "its values are wrong" in answer["reason"]


def test_the_error_of_a_backend_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken(RuntimeError("CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA"))
    monkeypatch.setitem(BACKENDS, "eager", broken)
    path = tmp_path / "answer.json"
    assert trial.main("eager", json.dumps(INFERENCE), str(path)) == 1
    reason = "RuntimeError: CUDA error: no kernel image is available"
    assert json.loads(path.read_text()) == {"runs": False, "reason": reason}
    assert "Compile with TORCH_USE_CUDA_DSA" in capsys.readouterr().err
