"""Recognise errors that mean too little GPU memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wbcsr.errors import first_line

# cuDNN's message if none of its algorithms fits into the memory; PyTorch has then counted refused allocations. The
# message is the same for a computation that cuDNN does not support.
_NO_ENGINE = "unable to find an engine"
# Messages of CUDA and cuBLAS about memory that PyTorch does not allocate.
_FAILED = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@contextmanager
def detect_out_of_memory() -> Iterator[None]:
    """Raise torch.OutOfMemoryError for other errors that mean that the GPU's memory does not suffice."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if any(words in text for words in _FAILED) or (_NO_ENGINE in text and failed_allocations()):
            raise torch.OutOfMemoryError(first_line(error)) from error
        raise


def failed_allocations(device: torch.device | None = None) -> int:
    """How many allocations the GPU (by default the current one) has refused to PyTorch in this process."""
    return torch.cuda.memory_stats(device).get("num_ooms", 0)
