"""Compile the kernels that a test launches for GPUs that are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class StandInDriver:
    """Replaces CUDA's driver on machines without a GPU: it only reports the architecture to compile for."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return self.capability

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[[int], list[Any]]:
    """A function from a compute capability to a list that gets the program of each launch; nothing is run."""
    import triton
    from triton.compiler import ASTSource
    from triton.runtime.driver import driver

    programs: list[Any] = []

    def compile_it(fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        source = ASTSource(fn.jit_function, compile["signature"], compile["constants"], compile["configs"][0])
        options = {name: compile[name] for name in ("num_warps", "enable_fp_fusion")}
        target = driver.active.get_current_target()
        programs.append(triton.compile(source, target=target, options=options))
        return True

    def start(capability: int) -> list[Any]:
        monkeypatch.setattr(driver, "_active", StandInDriver(capability))
        return programs

    monkeypatch.setenv("TRITON_CACHE_DIR", str(cache))
    monkeypatch.setattr(triton.knobs.runtime, "jit_cache_hook", compile_it)
    return start
