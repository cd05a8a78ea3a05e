"""What a provenance records about the machine. GPUs, nvidia-smi and /proc are fakes, so no test needs a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from wbcsr import provenance

KERNEL_MODULES = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023": "535.129.03",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (x@y)  Thu Jan 23": "570.86.15",
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.65  Release Build": "580.65",
}


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the only program on the PATH, which a test then writes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def hide_kernel_module(monkeypatch: pytest.MonkeyPatch, text: str | None = None) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: text is not None)
    monkeypatch.setattr(Path, "read_text", lambda path: text)


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("text", "version"), KERNEL_MODULES.items())
def test_the_driver_version_comes_from_the_kernel_module(
    text: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_kernel_module(monkeypatch, text + "\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
    assert provenance.driver() == version


def test_without_the_kernel_module_the_driver_version_comes_from_nvidia_smi(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(nvidia_smi, "echo 552.22; echo 552.22")
    hide_kernel_module(monkeypatch)
    assert provenance.driver() == "552.22"


@pytest.mark.parametrize("body", [None, "echo 'NVIDIA-SMI has failed'; exit 9"])
def test_a_missing_driver_is_not_an_error(body: str | None, nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if body:
        write_program(nvidia_smi, body)
    hide_kernel_module(monkeypatch)
    assert provenance.driver() is None


def test_published_settings_contain_no_folders_of_the_user() -> None:
    settings = {"archive": "/home/ada/cells.zip", "classes": ["a/b", "-"], "deep": [{"labels": "../ada/labels.csv"}]}
    expected = {"archive": "cells.zip", "classes": ["a/b", "-"], "deep": [{"labels": "labels.csv"}]}
    assert provenance.without_folders({**settings, "init": "data/own.pth"}) == {**expected, "init": "data/own.pth"}


def pretend_torch(monkeypatch: pytest.MonkeyPatch, available: bool) -> None:
    card = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0, total_memory=85_000_000_000)
    answers = {"is_available": available, "current_device": 0, "get_device_properties": card}
    cuda = SimpleNamespace(**{name: lambda *_, answer=answer: answer for name, answer in answers.items()})
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


def test_a_gpu_is_described_by_strings(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_torch(monkeypatch, available=True)
    monkeypatch.setattr(provenance, "driver", lambda: "570.86.15")
    described = {
        "name": "NVIDIA H100 80GB HBM3",
        "capability": "9.0",
        "driver": "570.86.15",
        "memory_gib": "79.2",
    }
    assert provenance.gpu() == provenance.machine()["gpu"] == described


def test_without_a_gpu_there_is_no_description(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_torch(monkeypatch, available=False)
    assert provenance.gpu() is None


def test_describing_the_machine_does_not_import_torch() -> None:
    code = "import sys; from wbcsr.provenance import machine; print(machine()['gpu'], 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["None", "False"]


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [("cuda", 0, 2.5), ("cuda", 1, 2.5), ("cuda:1", 2, 5.0), ("cpu", 1, 0.0), (None, 0, 0.0)],
)
def test_gpu_seconds_are_counted(
    device: str | None, gpus: int, expected: float, nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without nvidia-smi, a job on "cuda" cannot name a GPU, but has used one."""
    cuda = SimpleNamespace(max_memory_reserved=lambda: 3 * 2**20 if device else 0)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    cost = provenance.cost(2.5, device, gpus)
    assert (cost["wall_seconds"], cost["gpu_seconds"]) == (2.5, expected)
    assert cost["gpu_memory_mib"] == (3.0 if expected else None)


def test_there_is_no_gpu_memory_if_pytorch_used_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    cost = provenance.cost(1.0, "cuda", 1)
    assert (cost["gpu_seconds"], cost["gpu_memory_mib"]) == (1.0, None)
