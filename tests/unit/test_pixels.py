"""Conversion between pixels and network tensors equals numpy and Pillow, with torch and with our kernels."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

import interpreted
import pixel_checks
from compile_only import compile_only
from wbcsr import pixels
from wbcsr.errors import InputError

REPOSITORY = Path(__file__).parents[2]
CAPABILITIES = (75, 90, 120)


@pytest.mark.parametrize("check", pixel_checks.CHECKS, ids=lambda check: check.__name__)
def test_the_torch_implementation(check: Callable[[ModuleType, str], None]) -> None:
    check(pixels, "cpu")


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [
        (240, 320, 224),
        (960, 1280, 224),
        (480, 640, 96),
        (7, 900, 64),
        (1000, 3, 40),
        # Sizes for which Pillow resizes rows first, and sizes for which it resizes columns first.
        (40, 30, 20),
        (41, 30, 20),
        (19, 10, 20),
        (21, 10, 20),
    ],
)
def test_resizing_equals_pillow(height: int, width: int, side: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels.to_square(torch.from_numpy(image)[None], side)[0].numpy(), expected)


def test_the_kernels_under_the_interpreter(tmp_path: Path) -> None:
    interpreted.run(pixel_checks, tmp_path)


IMAGES = torch.zeros(2, 4, 5, 3, dtype=torch.uint8)
OUTPUT = torch.zeros(2, 3, 4, 5)
ONES = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pixels.to_square(IMAGES.permute(0, 3, 1, 2), 2), "(2, 3, 4, 5) torch.uint8"),
        (lambda: pixels.to_square(IMAGES.float(), 2), "torch.float32"),
        (lambda: pixels.to_square(IMAGES[:, :0], 2), "(0, 5)"),
        (lambda: pixels.to_square(IMAGES, 0), "(0, 0)"),
        (lambda: pixels.to_pixels(OUTPUT, (5, 5)), "(4, 5), but at least (5, 5)"),
        (lambda: pixels.to_pixels(OUTPUT, (4, 0)), "(4, 0)"),
        (lambda: pixels.to_pixels(OUTPUT.double(), (4, 5)), "torch.float64"),
        (lambda: pixels.to_network(IMAGES, (4, 4), ONES, ONES, torch.float32, torch.contiguous_format), "(4, 4)"),
        (lambda: pixels.to_network(IMAGES, (4, 5), ONES, (1.0, 0.0, 1.0), torch.half, torch.channels_last), "0.0"),
        (lambda: pixels.to_network(IMAGES, (4, 5), ONES, ONES, torch.int8, torch.channels_last), "torch.int8"),
        (lambda: pixels.to_network(IMAGES, (4, 5), ONES, ONES, torch.half, torch.preserve_format), "preserve_format"),
        (lambda: pixels.to_pixels(OUTPUT.to("meta"), (4, 5)), "meta"),
    ],
)
def test_arguments_that_would_read_beyond_a_tensor_are_rejected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_cuda_tensors_do_not_fall_back_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "wbcsr.pixels.kernels", raising=False)
    monkeypatch.delattr(pixels, "kernels", raising=False)
    # A substitute for a tensor on a GPU: it has a device but no memory.
    with FakeTensorMode():
        images = torch.zeros(1, 4, 4, 3, dtype=torch.uint8, device="cuda")
        with pytest.raises(InputError, match="triton: is not installed"):
            pixels.to_square(images, 2)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], list[Any]]:
    return compile_only(monkeypatch, tmp_path)


# The store instruction for each kernel's result: four elements, or one where they are gathered one by one.
STORES = {
    ("to_network_kernel", "*fp32"): "v4.b32",
    ("to_network_kernel", "*fp16"): "v2.b32",
    ("to_network_kernel", "*bf16"): "v2.b32",
    ("to_pixels_kernel", "*u8"): "b32",
    ("resample_kernel", "*u8"): "b8",
}


def _launch_all(height: int, width: int) -> None:
    """Launch every kernel with every type and memory format."""
    from wbcsr.pixels import kernels

    images = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    for dtype in pixel_checks.DTYPES:
        for memory_format in pixel_checks.FORMATS:
            kernels.to_network(images, (height, width), ONES, ONES, dtype, memory_format)
        kernels.to_pixels(torch.zeros(2, 3, height, width, dtype=dtype), (height, width))
    kernels.to_square(images, height + 1)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kernel_compiles_for_each_compute_capability(
    capability: int, compiled: Callable[[int], list[Any]]
) -> None:
    """This includes bfloat16 on sm 75: the kernels need no instruction for it, and tensors may have this type there."""
    version = tuple(map(int, metadata.version("triton").split(".")[:2]))
    programs = compiled(capability)
    _launch_all(16, 32)
    names = [program.name for program in programs]
    assert [names.count(f"{name}_kernel") for name in ("to_network", "to_pixels", "resample")] == [6, 3, 2]
    for program in programs:
        ptx, binary = program.asm["ptx"], program.asm["cubin"]
        assert re.search(r"^\.target sm_(\d+)", ptx, re.M)[1] == str(capability)
        assert binary.startswith(b"\x7fELF")
        # Each operation is rounded separately to nearest (.rn), never fused, approximated or flushed to zero.
        assert not re.search(r"\bfma\.|\.approx|\.ftz|\.full", ptx)
        assert set(re.findall(r"\b(?:add|sub|mul|div)(\.\w+)?\.f32", ptx)) <= {".rn"}
        assert ("div.rn.f32" in ptx) == (program.name == "to_network_kernel")
        assert ("mul.rn.f32" in ptx) == ("add.rn.f32" in ptx) == (program.name == "to_pixels_kernel")
        # Adjacent elements are stored together, and no thread waits for another (Triton 3.6 uses shared memory first).
        assert set(re.findall(r"\bst\.global\.([\w.]+)", ptx)) == {
            STORES[program.name, program.src.signature["target"]]
        }
        assert "bar.sync" not in ptx or version < (3, 8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (17, 23)])
def test_every_kernel_compiles_for_sides_that_triton_specialises(
    height: int, width: int, compiled: Callable[[int], list[Any]]
) -> None:
    programs = compiled(90)
    _launch_all(height, width)
    assert all(program.asm["cubin"] for program in programs)
    assert {program.name for program in programs} == {"to_network_kernel", "to_pixels_kernel", "resample_kernel"}
