"""`doctor`: what it reports about this machine; a check that fails, hangs or lacks something does not stop it."""

from __future__ import annotations

import copy
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from wbcsr.engines import capability_checks, doctor
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.pytorch import Eager

INFERENCE = {"workspace_gib": None, "optimization_level": 3}

# An invented GPU node, because no test machine is one.
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
    """The report on this machine, as in the JSON file; all checks are real, except that inductor is skipped as slow."""
    path = tmp_path_factory.mktemp("doctor") / "doctor.json"
    with pytest.MonkeyPatch.context() as without_inductor:
        without_inductor.setattr(doctor, "BACKENDS", ("eager", "tensorrt"))
        doctor.diagnose(INFERENCE, path)
    return json.loads(path.read_text())


def row(name: str, found: dict[str, Any]) -> str:
    """The entry `name` of the table."""
    return next(line[len(name) :].strip() for line in doctor.table(found) if line.startswith(f"{name} "))


def test_doctor_tries_every_backend() -> None:
    assert set(doctor.BACKENDS) == set(BACKENDS)


def test_pytorch_runs_here(found: dict[str, Any]) -> None:
    assert found["backends"]["eager"]["runs"]
    assert row("Backend eager", found).startswith("runs (")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the report without a GPU was not tested: this machine has one")
def test_without_a_gpu_the_report_says_so_and_explains_the_consequences(found: dict[str, Any]) -> None:
    assert found["torch"]["gpus"] == []
    assert "none that PyTorch can use: " in row("GPU", found)
    assert row("Backend tensorrt", found).startswith("DOES NOT RUN: tensorrt needs an NVIDIA GPU")
    assert row("Triton kernels", found).startswith("DOES NOT RUN: they need an NVIDIA GPU; on a CPU")


def test_the_processor_is_described(found: dict[str, Any]) -> None:
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
        ("torch-tensorrt", "not installed (torch-tensorrt-rtx is installed, but it can only check engines)"),
        ("tensorrt", "not installed"),
        ("C++ compiler", "none; inductor needs one (Debian: g++)"),
        ("Free: temporary files", "0.5 GiB"),
        ("Backend eager", "runs (cuda fp16; built and run once in 1.5 s)"),
        (
            "Backend tensorrt",
            "DOES NOT RUN: the package torch-tensorrt is not installed; install envs/gpu.txt",
        ),
        ("Triton kernels", "runs (cuda; built and run once in 2.5 s)"),
    ],
)
def test_the_table_of_a_gpu_node(name: str, text: str) -> None:
    assert row(name, NODE) == text


def test_a_gpu_used_by_another_process_is_listed() -> None:
    node = copy.deepcopy(NODE)
    node["torch"]["gpus"][0] |= {"free_gib": None, "busy": "CUDA error: all CUDA-capable devices are busy"}
    assert row("GPU", node).endswith("79.1 GiB, busy: CUDA error: all CUDA-capable devices are busy")


def test_if_torch_cannot_be_imported_the_rest_is_still_reported() -> None:
    node = {**NODE, "torch": {"runs": False, "reason": "it ended with exit status 1; its output is in the log"}}
    assert row("GPU", node) == "none that PyTorch can use: it ended with exit status 1; its output is in the log"
    assert row("Processor", node) == "Zuse Z3, cores: 16, 125.5 GiB"
    assert row("Backend eager", node)


def test_an_empty_path_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "check", lambda *_: {"runs": False, "reason": "not tried"})
    found = doctor.examine(INFERENCE)
    assert (found["nvidia_smi"], found["compiler"]) == ([], None)
    assert row("C++ compiler", found).startswith("none")


def test_a_check_that_takes_too_long_is_reported() -> None:
    answer = doctor.check("eager", INFERENCE, timeout_s=0.1)
    assert answer == {
        "runs": False,
        "reason": "it took longer than 0.1 s and was stopped; its output is in the log",
    }


def test_a_damaged_torch_gives_one_line_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason = "libcudart.so.13: cannot open shared object file"
    (tmp_path / "torch.py").write_text(f"print('here'); raise ImportError({reason!r})")
    monkeypatch.syspath_prepend(tmp_path)
    with caplog.at_level(logging.INFO, logger="wbcsr"):
        answer = doctor.check("eager", INFERENCE, timeout_s=60)
    assert answer == {"runs": False, "reason": f"ImportError: {reason}; its output is in the log"}
    assert "here" in caplog.text
    assert "capability_checks" in caplog.text  # the traceback


class Broken(Eager):
    """A backend that compiles nothing and returns `self.value` for each pixel, or raises it."""

    def __init__(self, value: float | Exception) -> None:
        self.value = value

    def load(self, network: torch.nn.Module, program: Path, profile: Any) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return lambda batch: torch.full_like(network(batch), self.value)


class Compiled(Eager):
    """A backend that must compile before it can load."""

    compiles = True

    def compile(self, network: torch.nn.Module, profile: Any, program: Path, settings: Any) -> None:
        program.write_text("compiled")

    def load(self, network: torch.nn.Module, program: Path, profile: Any) -> Any:
        assert program.read_text() == "compiled"
        return network


def test_a_backend_compiles_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "inductor", Compiled())
    assert capability_checks.run_backend("inductor", INFERENCE)["runs"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_backend_that_gives_wrong_values_does_not_run(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "eager", Broken(value))
    answer = capability_checks.run_backend("eager", INFERENCE)
    assert not answer["runs"]
    assert "its values are wrong" in answer["reason"]
