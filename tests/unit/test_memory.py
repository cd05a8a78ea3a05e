"""Errors that mean too little GPU memory are recognised. The errors of the GPU are simulated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wbcsr.engines import memory
from wbcsr.engines.profile import Profile
from wbcsr.engines.pytorch import Eager
from wbcsr.errors import user_message

CUDNN = "GET was unable to find an engine to execute this computation"


@pytest.mark.parametrize(
    ("text", "refused", "lack"),
    [
        (CUDNN, 1, True),
        (CUDNN, 0, False),  # a computation that cuDNN does not support
        ("CUDA error: out of memory\nmore lines", 0, True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", 0, True),
        ("mat1 and mat2 shapes cannot be multiplied", 1, False),
    ],
)
def test_which_errors_mean_too_little_memory(
    text: str, refused: int, lack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"num_ooms": refused})

    def network(batch: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(text)

    run = Eager().load(network, Path(), Profile.fixed(1, 4, 4))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError) as raised:
        run(torch.zeros(1, 3, 4, 4))
    assert isinstance(raised.value, torch.OutOfMemoryError) == lack
    assert str(raised.value) == (text.splitlines()[0] if lack else text)
    message = user_message(raised.value)
    assert (message is not None) == lack
    assert not lack or "train.batch_size" in str(message)


def test_no_allocation_is_refused_without_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: the count without one was not tested")
    assert memory.failed_allocations() == 0
