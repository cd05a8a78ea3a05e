"""The processes that train one model together, each on its own device."""

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

    `weight` is the factor of their mean loss, so that the mean over all processes equals the mean loss of the batch.
    `counted` is false if another process counts the same images.
    """

    where: slice
    weight: float
    counted: bool


@dataclass(frozen=True)
class Ranks:
    """This process, number `rank` (from 0) of `count`, and its device; a single process needs no process group."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and log."""
        return self.rank == 0

    def part(self, images: int) -> Part:
        """Return this process's part of a batch of `images`; the sizes of the parts differ by at most one image.

        If a batch has fewer than two images per process (batch norm needs two), every process works on the whole batch;
        the mean gradient is the same.
        """
        if images < 2 * self.count:
            return Part(slice(0, images), 1.0, self.is_first)
        start, end = (images * number // self.count for number in (self.rank, self.rank + 1))
        return Part(slice(start, end), self.count * (end - start) / images, True)

    def synchronise_norms(self, model: nn.Module) -> nn.Module:
        """Let batch norms on several GPUs use the whole batch, as on one GPU; torch does not support this on a CPU."""
        if self.count > 1 and self.device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return model

    def average_gradients(self, model: nn.Module) -> nn.Module:
        """Wrap `model` so that its gradients are averaged over the processes; the tensors are shared with `model`."""
        if self.count == 1:
            return model
        # Running means and variances are not synchronised: those of the first process are kept.
        exchange: dict[str, Any] = {_exchange(): False}
        return DistributedDataParallel(
            model, device_ids=[self.device] if self.device.type == "cuda" else None, **exchange
        )

    def sum(self, value: Tensor) -> Tensor:
        """Return, in each process, the sum of `value` over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(value)
        return value


def _exchange() -> str:
    """What this torch calls the exchange of running means and variances before each step."""
    name = "forward_sync_buffers"
    return name if name in inspect.signature(DistributedDataParallel).parameters else "broadcast_buffers"
