"""The kernel of the backend `triton` on a GPU; other tests of this folder run it as an engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import convolution_checks
from wbcsr.engines.backends import BACKENDS


@pytest.mark.gpu(verifies="that convolutions with our own kernel equal those of PyTorch on the GPU")
@pytest.mark.parametrize("check", convolution_checks.CHECKS, ids=lambda check: check.__name__)
def test_convolutions(check: Callable[[str], None]) -> None:
    reason = BACKENDS["triton"].unavailable(torch.device("cuda"))
    if reason:
        pytest.skip(f"the kernel of the backend triton was not verified: {reason}")
    check("cuda")
