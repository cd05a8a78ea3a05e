"""A test double of a GPU, for machines without one: Torch-TensorRT asks for a GPU when it is imported and compiles.

Nothing runs on this GPU. With it a network can be exported, lowered and built into an engine; loading, running and
numerics need a real one, which is what tests/gpu is for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch

from wbcsr.provenance import version

CAPABILITY = (8, 9)
MEMORY = 24 * 2**30
ANSWERS = {"current_device": 0, "get_device_capability": CAPABILITY, "mem_get_info": (MEMORY, MEMORY)}


def answering(value: Any) -> Callable[..., Any]:
    return lambda *_arguments, **_keywords: value


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """Have torch describe a GPU of compute capability 8.9 with 24 GiB, all free, within the block.

    `torch.cuda.is_available()` stays False. Does nothing where there is a real GPU. Torch-TensorRT is kept quiet; a
    test that needs it is skipped where it is not installed, or is for another version of torch.
    """
    found = version("torch-tensorrt-rtx") or version("torch-tensorrt") or "none"
    if found.split(".")[:2] != torch.__version__.split(".")[:2]:
        pytest.skip(f"torch is {torch.__version__} and Torch-TensorRT {found}: what it builds was not looked at")
    chatter = logging.getLogger("torch_tensorrt")
    level = chatter.level
    with ExitStack() as replaced:
        if not torch.cuda.is_available():
            for name, answer in ANSWERS.items():
                replaced.enter_context(mock.patch.object(torch.cuda, name, answering(answer)))
        chatter.setLevel(logging.ERROR)
        try:
            yield
        finally:
            chatter.setLevel(level)
