"""Small checks of what this machine can run; the doctor runs each in a process of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wbcsr import pixels
from wbcsr.engines.backend import example_for
from wbcsr.engines.backends import BACKENDS
from wbcsr.engines.capability import inference_precision, pick_device
from wbcsr.engines.profile import Profile
from wbcsr.engines.source import prepare
from wbcsr.errors import first_line

# The rounding error of half precision is about 0.001 here; a wrong result differs by about 1.
TOLERANCE = 0.01

Answer = dict[str, Any]


def survey(inference: Mapping[str, Any]) -> Answer:
    """Return the CPU's instruction sets, the GPUs (memory in GiB) and, if PyTorch can use none, the reason."""
    answer: Answer = {
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "bf16": {"AMX": torch.cpu._is_amx_tile_supported(), "AVX512-BF16": torch.cpu._is_avx512_bf16_supported()},
        "cuda": torch.version.cuda,
        "gpus": [],
    }
    if torch.version.cuda is None:
        return answer | {"no_gpu": "this PyTorch was built without CUDA; install envs/workflow.txt or envs/gpu.txt"}
    try:
        torch.cuda.init()
    except RuntimeError as error:
        return answer | {"no_gpu": first_line(error)}
    answer["gpus"] = [_gpu(index) for index in range(torch.cuda.device_count())]
    return answer


def _gpu(index: int) -> Answer:
    found = torch.cuda.get_device_properties(index)
    answer = {
        "name": found.name,
        "capability": f"{found.major}.{found.minor}",
        "memory_gib": round(found.total_memory / 2**30, 1),
    }
    try:
        free, _ = torch.cuda.mem_get_info(index)
    except RuntimeError as error:  # another process has exclusive use of this GPU
        return answer | {"free_gib": None, "busy": first_line(error)}
    return answer | {"free_gib": round(free / 2**30, 1)}


def run_backend(name: str, inference: Mapping[str, Any]) -> Answer:
    """Run a network with one convolution on the backend `name` and compare the output with fp32 on the CPU."""
    backend, device = BACKENDS[name], pick_device()
    reason = backend.unavailable(device)
    if reason:
        return {"runs": False, "reason": reason}
    precision = inference_precision("auto", device, exact_on_cpu=True)
    profile = Profile.fixed(batch=1, height=32, width=32)
    torch.manual_seed(0)
    original = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.2)).eval().requires_grad_(False)
    expected = original(example_for(original, profile, BACKENDS["eager"]))
    network = prepare(original, backend, device, precision)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.pt2"
        if backend.compiles:
            backend.compile(network, profile, program, backend.settings(inference, device, precision))
        run = backend.load(network, program, profile)
        with torch.inference_mode():
            output = run(example_for(network, profile, backend)).float().cpu()
    difference = float((output - expected).abs().max())
    if not difference <= TOLERANCE:  # NaN must fail as well
        return {"runs": False, "reason": f"it runs, but its values are wrong by {difference:.3g}; do not use it here"}
    return {
        "runs": True,
        "device": device.type,
        "precision": precision,
        "seconds": round(time.perf_counter() - started, 1),
    }


def run_kernels(inference: Mapping[str, Any]) -> Answer:
    """Compile one of this package's Triton kernels for the GPU and compare its output with the CPU, byte by byte."""
    device = pick_device()
    if device.type != "cuda":
        return {"runs": False, "reason": "they need an NVIDIA GPU; on a CPU, PyTorch computes the same pixels"}
    values = torch.rand((2, 3, 37, 41), generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    output = pixels.to_pixels(values.to(device), (36, 40)).cpu()
    if not torch.equal(output, pixels.to_pixels(values, (36, 40))):
        return {"runs": False, "reason": "they run, but their output is wrong; hide the GPU (CUDA_VISIBLE_DEVICES=)"}
    return {"runs": True, "device": device.type, "seconds": round(time.perf_counter() - started, 1)}


CHECKS: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
    "survey": survey,
    **{name: partial(run_backend, name) for name in BACKENDS},
    "kernels": run_kernels,
}
