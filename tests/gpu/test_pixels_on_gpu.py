"""The compiled kernels on a GPU: the checks that also run under the interpreter, and some that need a GPU."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pixel_checks
from wbcsr import pixels

pytestmark = pytest.mark.gpu(verifies="that the compiled pixel kernels equal numpy and Pillow on a GPU")

IMAGENET = pixel_checks.IMAGENET


@pytest.mark.parametrize("check", pixel_checks.CHECKS, ids=lambda check: check.__name__)
def test_the_compiled_kernels(check: Callable[[ModuleType, str], None]) -> None:
    check(pixels, "cuda")


@pytest.mark.parametrize(("height", "width"), [(240, 320), (960, 1280), (3000, 40)])
def test_resizing_images_of_real_size_equals_pillow(height: int, width: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
    resized = [Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR) for image in images]
    found = pixels.to_square(torch.from_numpy(images).cuda(), 224)
    np.testing.assert_array_equal(found.cpu().numpy(), np.stack([np.asarray(image) for image in resized]))


def _whole_way(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image → input of the network → pixels → the classifier's size."""
    height, width = images.shape[1:3]
    entered = pixels.to_network(
        images, (height + 3, width + 5), (0.0,) * 3, (255.0,) * 3, torch.float16, torch.channels_last
    )
    left = pixels.to_pixels(entered, (height, width))
    return entered, left, pixels.to_square(left, 24)


def test_kernels_do_not_wait_for_the_gpu() -> None:
    images = torch.randint(0, 256, (2, 40, 50, 3), dtype=torch.uint8, device="cuda")
    _whole_way(images)
    torch.cuda.set_sync_debug_mode("error")
    try:
        _whole_way(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_replays_the_kernels() -> None:
    images = torch.zeros(2, 40, 50, 3, dtype=torch.uint8, device="cuda")
    _whole_way(images)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = _whole_way(images)
    images.random_(0, 256)
    graph.replay()
    for found, expected in zip(captured, _whole_way(images.cpu()), strict=True):
        assert torch.equal(found.cpu(), expected)


def test_a_result_of_more_than_2_to_the_31_elements() -> None:
    """The last image of a batch whose images all share the same memory."""
    height, width = 1500, 2000
    number = 2**31 // (3 * height * width) + 1
    image = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    inverse = (image.permute(0, 3, 1, 2) / 255).cuda().expand(number, 3, height, width)
    assert torch.equal(pixels.to_pixels(inverse, (height, width))[-1].cpu(), image[0])
    half = pixels.to_network(
        image.cuda().expand(number, height, width, 3),
        (height, width),
        *IMAGENET,
        torch.float16,
        torch.contiguous_format,
    )
    expected = pixels.to_network(image, (height, width), *IMAGENET, torch.float16, torch.contiguous_format)
    assert torch.equal(half[-1].cpu(), expected[0])


@pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="not verified: that a kernel runs on its tensor's GPU; needs two GPUs"
)
def test_kernels_run_on_the_gpu_of_their_tensor() -> None:
    images = torch.randint(0, 256, (2, 9, 11, 3), dtype=torch.uint8)
    for found, expected in zip(_whole_way(images.to("cuda:1")), _whole_way(images), strict=True):
        assert found.device == torch.device("cuda:1")
        assert torch.equal(found.cpu(), expected)
