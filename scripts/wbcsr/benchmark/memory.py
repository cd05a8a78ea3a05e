"""How much of a GPU's memory a piece of work takes at its peak."""

from __future__ import annotations

import gc

import torch


class PeakMemory:
    """Peak of a GPU's memory from `restart` on: what PyTorch reserved, and what was taken beside it since the start.

    What CUDA graphs hold is reserved by PyTorch, and not among what it calls allocated.
    PyTorch counts its own memory alone. TensorRT and the libraries take theirs from the driver and keep it, which
    shows in the memory that is free; so does what other processes take meanwhile, which should be none.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            self._beside = self._beside_pytorch()

    def restart(self) -> None:
        """Forget the peak so far."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)

    def mib(self) -> float | None:
        """The peak in MiB; None on a CPU."""
        if self._device.type != "cuda":
            return None
        torch.cuda.synchronize(self._device)
        beside = max(0, self._beside_pytorch() - self._beside)
        return (torch.cuda.max_memory_reserved(self._device) + beside) / 2**20

    def _beside_pytorch(self) -> int:
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free - torch.cuda.memory_reserved(self._device)
