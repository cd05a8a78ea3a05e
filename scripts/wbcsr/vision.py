"""torchvision with a module that basicsr 1.4.2 still imports by its old name, and without TorchDynamo.

torchvision 0.29 imports TorchDynamo, which takes longer than the rest of it, for one query in its detection operators.
Import torchvision from here only, so that no other import comes first.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

DYNAMO, UTILS = "torch._dynamo", "torch._dynamo.utils"


def is_compile_supported(device: str) -> bool:
    """Whether `torch.compile` can compile for a type of device (`cpu`, `cuda`): TorchDynamo's own answer."""
    from torch._dynamo import utils

    return bool(utils.is_compile_supported(device))


@contextmanager
def dynamo_later() -> Iterator[None]:
    """Give modules that are imported meanwhile this `is_compile_supported`, unless TorchDynamo is already imported.

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
