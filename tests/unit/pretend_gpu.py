"""A test double of a GPU, for machines without one: Torch-TensorRT needs a GPU for its import and for compiling.

Nothing runs on this GPU. With it a network can be exported, lowered and built into an engine. Loading, running and
numerical checks need a real GPU; see tests/gpu.
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
    """Within the block, torch reports a GPU of compute capability 8.9 with 24 GiB of free memory.

    `torch.cuda.is_available()` remains False. Does nothing if there is a real GPU. Messages of Torch-TensorRT are
    hidden. A test is skipped if Torch-TensorRT is not installed or belongs to another version of torch.
    """
    found = version("torch-tensorrt-rtx") or version("torch-tensorrt") or "none"
    if found.split(".")[:2] != torch.__version__.split(".")[:2]:
        pytest.skip(f"torch is {torch.__version__} and Torch-TensorRT {found}: its engines were not tested")
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
