"""The losses of fine-tuning, and the shrinking of the network's output to the size of the photograph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from wbcsr.finetune import RATIO, SCALE
from wbcsr.training.ranks import Part, Ranks
from wbcsr.training.schedule import set_learning_rate
from wbcsr.vision import models
from wbcsr.weights.lpips import MEAN, STD
from wbcsr.weights.tensors import fill, read_tensors

# The layers before whose ReLU features are compared, with their weights (Real-ESRGAN's options).
VGG_LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}


class Shrink(nn.Module):
    """Shrinks a network's output (n, 3, H, W) to `RATIO` / `SCALE` of its size with a bicubic kernel (a = -0.5).

    The kernel is widened, so that nothing aliases, as Pillow does. Pixels near the edge, where the kernel would extend
    beyond the image, are left out: `like` cuts the photograph in the same way. A convolution with fixed weights has a
    deterministic gradient on a GPU, which torch's own interpolation has not.
    """

    factor = SCALE // RATIO
    # Left out at each edge, in pixels of the result.
    edge = 2

    def __init__(self) -> None:
        super().__init__()
        places = (torch.arange(4 * self.factor) + 0.5) / self.factor - 2
        kernel = _cubic(places.double())
        kernel = (kernel / kernel.sum()).float()
        self.register_buffer("kernel", torch.outer(kernel, kernel).expand(3, 1, -1, -1).contiguous(), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """The shrunk images without their edge."""
        # The kernel of a result's pixel begins 1.5 pixels of the result before it.
        start = self.edge * self.factor - 3 * self.factor // 2
        end = images.shape[-1] - start
        inner = images[..., start : images.shape[-2] - start, start:end]
        return functional.conv2d(inner, self.get_buffer("kernel").to(images.dtype), stride=self.factor, groups=3)

    def like(self, photographs: Tensor) -> Tensor:
        """`photographs` without the edge."""
        return photographs[..., self.edge : -self.edge, self.edge : -self.edge]


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel (1981) with a = -0.5."""
    a, x = -0.5, x.abs()
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


class Perceptual(nn.Module):
    """The mean absolute difference of VGG-19 features (Johnson et al. 2016; layers and weights of Real-ESRGAN).

    `path` is torchvision's file of vgg19's ImageNet weights. Raises InputError if it has other tensors.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        with torch.device("meta"):  # `fill` replaces these tensors
            self.layers = models.vgg19().features[: max(VGG_LAYERS) + 1]
        wanted = {f"features.{name}": name for name in self.layers.state_dict()}
        tensors = {wanted[name]: tensor for name, tensor in read_tensors(path).items() if name in wanted}
        remedy = "use torchvision's vgg19-dcbb9e9d.pth (finetune.perceptual_weights)"
        fill(self.layers, tensors, path, "VGG-19", remedy)
        self.layers.eval().requires_grad_(False)
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, truth: Tensor) -> Tensor:
        """The loss of images (n, 3, H, W) from 0 to 1, a number."""
        images, truth = ((each - self.get_buffer("mean")) / self.get_buffer("std") for each in (images, truth))
        loss = images.new_zeros(())
        for number, layer in enumerate(self.layers):
            images, truth = layer(images), layer(truth)
            if number in VGG_LAYERS:
                loss = loss + VGG_LAYERS[number] * functional.l1_loss(images, truth)
        return loss


# The discriminator halves its input three times.
MULTIPLE = 8


class Adversarial:
    """Real-ESRGAN's adversarial loss: realesrgan's U-Net discriminator with spectral normalisation, vanilla GAN loss.

    `weight` is that of the loss, `seed` that of the discriminator's initial weights. Real and fake are judged pixel by
    pixel.
    """

    def __init__(self, weight: float, seed: int, ranks: Ranks) -> None:
        from realesrgan.archs.discriminator_arch import UNetDiscriminatorSN

        self.weight = weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = UNetDiscriminatorSN(3)
        self.network = network.to(ranks.device).train()
        self.optimizer = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99), fused=True)
        self.run = ranks.average_gradients(self.network)

    def for_network(self, output: Tensor) -> Tensor:
        """The weighted loss of the network: its output (n, 3, H, W) should pass for photographs."""
        self.network.requires_grad_(False)
        judged = self.network(_whole(output))
        self.network.requires_grad_(True)
        return self.weight * functional.binary_cross_entropy_with_logits(judged, torch.ones_like(judged))

    def train_step(self, output: Tensor, truth: Tensor, part: Part, rate: float) -> None:
        """Train the discriminator to tell `output` from `truth`, both without gradients."""
        set_learning_rate(self.optimizer, rate)
        judged = self.run(_whole(torch.cat([truth, output])))
        wanted = torch.zeros_like(judged)
        wanted[: len(truth)] = 1
        self.optimizer.zero_grad()
        (2 * functional.binary_cross_entropy_with_logits(judged, wanted) * part.weight).backward()
        self.optimizer.step()

    def stateful(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"discriminator": self.network, "discriminator_optimizer": self.optimizer}


def _whole(images: Tensor) -> Tensor:
    """Images without the last rows and columns that exceed a multiple of `MULTIPLE`."""
    height, width = (side - side % MULTIPLE for side in images.shape[-2:])
    return images[..., :height, :width]
