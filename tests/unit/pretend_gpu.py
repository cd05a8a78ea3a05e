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

import torch

CAPABILITY = (8, 9)
MEMORY = 24 * 2**30
ANSWERS = {"current_device": 0, "get_device_capability": CAPABILITY, "mem_get_info": (MEMORY, MEMORY)}


def answering(value: Any) -> Callable[..., Any]:
    return lambda *_arguments, **_keywords: value


@contextmanager
def pretend_gpu() -> Iterator[None]:
    """Within the block, torch reports a GPU of compute capability 8.9 with 24 GiB of free memory.

    `torch.cuda.is_available()` remains False. Does nothing if there is a real GPU. Messages of Torch-TensorRT are
    hidden.
    """
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
