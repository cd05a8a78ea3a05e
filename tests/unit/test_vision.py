"""torchvision without TorchDynamo: it is imported when it is needed, as if torchvision had imported it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"

ASKED = """
import sys
{first}
from wbcsr.vision import torchvision
print("torch._dynamo" in sys.modules)
import torch
boxes, image = torch.tensor([[0.0, 0, 0, 4, 4]]), torch.arange(16.0).reshape(1, 1, 4, 4)
print(torchvision.ops.roi_align(image, [boxes[:, 1:]], 2).shape[1:])
print(torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu"))
import torch._dynamo.utils
print(torch._dynamo.utils.is_compile_supported("cpu"), hasattr(torch._dynamo, "optimize"))
print(torch.compile(lambda x: x + 1, backend="eager")(boxes).sum().item())
"""


def test_dynamo_is_imported_completely_when_it_is_needed() -> None:
    for first, there in (("", "False"), ("import torch._dynamo", "True")):
        printed = subprocess.run(
            [sys.executable, "-c", ASKED.format(first=first)],
            cwd=SCRIPTS,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        ).stdout.splitlines()
        assert printed == [there, "torch.Size([1, 2, 2])", printed[2], f"{printed[2]} True", "13.0"], printed
        assert printed[2] in ("True", "False")
