"""torchvision with what this project's packages miss in it, and without what none of them needs.

It is imported from here, so that nothing has it before: basicsr 1.4.2 imports a module that torchvision has renamed,
and torchvision 0.29 imports TorchDynamo, which takes as long as all else in it, for a question when it detects objects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

DYNAMO, UTILS = "torch._dynamo", "torch._dynamo.utils"


def is_compile_supported(device: str) -> bool:
    """TorchDynamo's own answer, for which it is imported."""
    from torch._dynamo import utils

    return bool(utils.is_compile_supported(device))


@contextmanager
def dynamo_later() -> Iterator[None]:
    """Have what asks TorchDynamo this question import it when it asks, unless it is there already.

    Importing ResNet-50 takes 1.4 s so, instead of 2.6 s (AMD EPYC), which each job pays.
    """
    if DYNAMO in sys.modules:
        yield
        return
    package, utils = ModuleType(DYNAMO), ModuleType(UTILS)
    package.__path__ = []
    utils.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    sys.modules |= {DYNAMO: package, UTILS: utils}
    try:
        yield
    finally:
        for name in (DYNAMO, UTILS):
            del sys.modules[name]


with dynamo_later():
    import torchvision
    from torchvision import models
    from torchvision.transforms import _functional_tensor

sys.modules.setdefault("torchvision.transforms.functional_tensor", _functional_tensor)

__all__ = ["models", "torchvision"]
