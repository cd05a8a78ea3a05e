"""The learning rate of each step."""

from __future__ import annotations

import math

import torch


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Return the learning rate of step `step` (from 0) of `steps`: linear warmup, then cosine decay to 0.

    `warmup` is the fraction of steps with rising rate. The rate is taken at the middle of the step, so that it is never
    0. Goyal et al. 2017; Loshchilov and Hutter 2017.
    """
    done, rise = (step + 0.5) / steps, warmup
    if done < rise:
        return peak * done / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let an optimizer use this learning rate for all its parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate
