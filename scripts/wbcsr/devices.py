"""The GPUs that a job may use: as many as its rule requests, and no others."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from wbcsr.provenance import nvidia_smi

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def using_gpus(count: int) -> Iterator[list[str]]:
    """Restrict this process and its children to `count` GPUs, or fewer if fewer exist; yields their names.

    SLURM lists the devices that it allocated in CUDA_VISIBLE_DEVICES, and the job uses them. Without SLURM, or if it
    lists more than the job needs, the job takes GPUs that no other job of this workflow holds (of any user), from those
    in CUDA_VISIBLE_DEVICES or from all, and waits until they are free. Must be called before torch is imported.
    """
    named = os.environ.get(VISIBLE)
    seen = visible_gpus() if count else []
    with ExitStack() as held:
        given = seen
        if len(seen) < count and named is None and has_driver():
            log.warning("nvidia-smi lists %d of %d GPUs: this job may share GPUs with others", len(seen), count)
        if named is None or len(seen) > count or "SLURM_JOB_ID" not in os.environ:
            given = _take(seen, min(count, len(seen)), held)
        # Without nvidia-smi the list is empty although there may be GPUs; then torch finds them.
        if count == 0 or given:
            os.environ[VISIBLE] = ",".join(given)
        try:
            yield given
        finally:
            os.environ.pop(VISIBLE, None)
            if named is not None:
                os.environ[VISIBLE] = named


def has_driver() -> bool:
    """Whether NVIDIA's kernel module is loaded."""
    return Path("/proc/driver/nvidia/version").exists()


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, or else by nvidia-smi's UUID."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    # If nvidia-smi finds no GPU, or a failed one, it may print a message instead of a name.
    return [name for name in nvidia_smi("uuid") if name.startswith("GPU-")]


def _take(devices: list[str], count: int, held: ExitStack) -> list[str]:
    """Hold `count` free `devices` until `held` is closed or this process ends for any reason."""
    # One job may refer to a GPU by its number and another job by its UUID.
    lines = nvidia_smi("index,uuid") if any(map(str.isdecimal, devices)) else []
    uuids = {index: uuid for index, _, uuid in (line.partition(", ") for line in lines)}
    waiting = False
    while True:
        taken: list[str] = []
        with ExitStack() as stack:
            for device in devices:
                if len(taken) < count and _hold(uuids.get(device, device), stack):
                    taken.append(device)
            if len(taken) == count:
                held.enter_context(stack.pop_all())
                return taken
        if not waiting:
            log.info("waiting for %d of %d GPUs that other jobs hold", count, len(devices))
            waiting = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _hold(device: str, stack: ExitStack) -> bool:
    """Whether the device was free. It is held by a socket name, which Linux gives to only one process of a machine."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0wbcsr-gpu-{device}")
    except OSError as error:
        name.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    stack.enter_context(name)
    return True
