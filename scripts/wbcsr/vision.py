"""torchvision with a module that basicsr 1.4.2 still imports by its old name, and without TorchDynamo.

torchvision 0.29 imports TorchDynamo for one query in its detection operators, and this import takes longer than all
others. Import torchvision only from this module, so that no other import of it comes first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

DYNAMO, UTILS = "torch._dynamo", "torch._dynamo.utils"


def is_compile_supported(device: str) -> bool:
    """Whether `torch.compile` supports a type of device (`cpu`, `cuda`); the answer is TorchDynamo's own."""
    from torch._dynamo import utils

    return bool(utils.is_compile_supported(device))


@contextmanager
def dynamo_later() -> Iterator[None]:
    """Give this `is_compile_supported` to modules imported in the block, unless TorchDynamo is already imported.

    On an AMD EPYC, each job then imports torch and torchvision in 1.4 s instead of 2.6 s.
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
