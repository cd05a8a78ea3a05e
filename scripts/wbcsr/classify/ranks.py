"""The processes that train one model together, each on its device."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Part:
    """The images of a batch that one process works on.

    `weight` is what the mean loss over them is multiplied by, so that the mean over all processes is the mean loss of
    the batch; `counted` is false where another process counts the same images.
    """

    where: slice
    weight: float
    counted: bool


@dataclass(frozen=True)
class Ranks:
    """This process, the `rank`th (from 0) of `count`, and its device; alone it needs no process group."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    def part(self, images: int) -> Part:
        """This process's part of a batch of `images`; the parts differ by one image at most.

        A batch too short to give two images to each process (one alone cannot be normalised) is each one's as a whole,
        which leaves the mean gradient what it is.
        """
        if images < 2 * self.count:
            return Part(slice(0, images), 1.0, self.is_first)
        start, end = (images * number // self.count for number in (self.rank, self.rank + 1))
        return Part(slice(start, end), self.count * (end - start) / images, True)

    def synchronise_norms(self, model: nn.Module) -> nn.Module:
        """On several GPUs, let batch norms see the whole batch, as on one; on a CPU torch cannot."""
        if self.count > 1 and self.device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def average_gradients(self, model: nn.Module) -> nn.Module:
        """`model` with gradients that become the mean over the processes; its tensors stay those of `model`."""
        if self.count == 1:
            return model
        # Running means and variances need no exchange: the first process's are kept.
        exchange: dict[str, Any] = {_exchange(): False}
        return DistributedDataParallel(
            model, device_ids=[self.device] if self.device.type == "cuda" else None, **exchange
        )

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over the processes, in each of them."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value


def _exchange() -> str:
    """What this torch calls the exchange of running means and variances before each step."""
    name = "forward_sync_buffers"
    return name if name in inspect.signature(DistributedDataParallel).parameters else "broadcast_buffers"
