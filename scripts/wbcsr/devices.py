"""The GPUs that a job may use: as many as its rule requests, and no others."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wbcsr.provenance import nvidia_smi

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def using_gpus(count: int, jobs_per_gpu: int = 1) -> Iterator[dict[str, str]]:
    """Restrict this process and its children to `count` GPUs, or fewer if fewer exist; yields their names and models.

    A name is that in CUDA_VISIBLE_DEVICES, or else nvidia-smi's UUID; the model is empty where it is not known.

    SLURM lists the devices that it allocated in CUDA_VISIBLE_DEVICES, and the job uses them. Without SLURM, or if it
    lists more than the job needs, the job takes GPUs that no other job of this workflow holds (of any user), from those
    in CUDA_VISIBLE_DEVICES or from all, and waits until they are free. At most `jobs_per_gpu` jobs hold the same GPU; a
    job takes the GPU that fewest others hold. Must be called before torch is imported.
    """
    named = os.environ.get(VISIBLE)
    known = _known() if count else {}
    seen = _visible(known) if count else []
    with ExitStack() as held:
        given = seen
        if len(seen) < count and named is None and has_driver():
            log.warning("nvidia-smi lists %d of %d GPUs: this job may share GPUs with others", len(seen), count)
        if named is None or len(seen) > count or "SLURM_JOB_ID" not in os.environ:
            given = _take(seen, min(count, len(seen)), jobs_per_gpu, known, held)
        # Without nvidia-smi the list is empty although there may be GPUs; then torch finds them.
        if count == 0 or given:
            os.environ[VISIBLE] = ",".join(given)
        try:
            yield {name: known[name].model if name in known else "" for name in given}
        finally:
            os.environ.pop(VISIBLE, None)
            if named is not None:
                os.environ[VISIBLE] = named


def has_driver() -> bool:
    """Whether NVIDIA's kernel module is loaded."""
    return Path("/proc/driver/nvidia/version").exists()


@dataclass(frozen=True)
class _Gpu:
    uuid: str
    model: str


def _known() -> dict[str, _Gpu]:
    """The GPUs that nvidia-smi lists, each by its number and by its UUID. It may take a second, so it is asked once."""
    # If nvidia-smi finds no GPU, or a failed one, it may print a message instead.
    lines = [line.split(", ", 2) for line in nvidia_smi("index,uuid,name")]
    gpus = [(line[0], _Gpu(*line[1:])) for line in lines if len(line) == 3 and line[1].startswith("GPU-")]
    return dict(gpus) | {gpu.uuid: gpu for _, gpu in gpus}


def _visible(known: Mapping[str, _Gpu]) -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, or else all that are known."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return list(dict.fromkeys(gpu.uuid for gpu in known.values()))


def _take(devices: list[str], count: int, jobs_per_gpu: int, known: Mapping[str, _Gpu], held: ExitStack) -> list[str]:
    """Hold `count` free `devices` until `held` is closed or this process ends, for any reason."""
    waiting = False
    while True:
        taken: list[str] = []
        with ExitStack() as stack:
            for place, device in itertools.product(range(jobs_per_gpu), devices):
                # One job may name a GPU by its number and another one by its UUID.
                uuid = known[device].uuid if device in known else device
                if len(taken) < count and device not in taken and _hold(uuid, place, stack):
                    taken.append(device)
            if len(taken) == count:
                held.enter_context(stack.pop_all())
                return taken
        if not waiting:
            log.info("waiting for %d of %d GPUs that other jobs hold", count, len(devices))
            waiting = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _hold(device: str, place: int, stack: ExitStack) -> bool:
    """Whether this place of the device was free; a device has as many places as jobs may share it.

    It is held by a socket name, which Linux gives to only one process of a machine.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0wbcsr-gpu-{device}" + (f"-{place}" if place else ""))
    except OSError as error:
        name.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    stack.enter_context(name)
    return True
