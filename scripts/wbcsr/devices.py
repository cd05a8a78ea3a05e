"""The GPUs that a job may use: as many as its rule requests, and no others."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from wbcsr.errors import InputError
from wbcsr.provenance import nvidia_smi

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
# How many jobs may share a GPU. A job of a small study uses it for a fraction of its time: the rest is loading.
SHARING = "WBCSR_JOBS_PER_GPU"
_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def using_gpus(count: int) -> Iterator[dict[str, str]]:
    """Restrict this process and its children to `count` GPUs, or fewer if fewer exist; yields their names and models.

    A name is that in CUDA_VISIBLE_DEVICES, or else nvidia-smi's UUID; the model is empty where it is not known.

    SLURM lists the devices that it allocated in CUDA_VISIBLE_DEVICES, and the job uses them. Without SLURM, or if it
    lists more than the job needs, the job takes GPUs that no other job of this workflow holds (of any user), from those
    in CUDA_VISIBLE_DEVICES or from all, and waits until they are free. If WBCSR_JOBS_PER_GPU is a number above 1, that
    many jobs may hold a GPU, and the one with the fewest is taken. Must be called before torch is imported. Raises
    InputError if WBCSR_JOBS_PER_GPU is not a positive number.
    """
    named = os.environ.get(VISIBLE)
    known = _known() if count else {}
    seen = _visible(known) if count else []
    with ExitStack() as held:
        given = seen
        if len(seen) < count and named is None and has_driver():
            log.warning("nvidia-smi lists %d of %d GPUs: this job may share GPUs with others", len(seen), count)
        if named is None or len(seen) > count or "SLURM_JOB_ID" not in os.environ:
            given = _take(seen, min(count, len(seen)), known, held)
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


def _take(devices: list[str], count: int, known: Mapping[str, _Gpu], held: ExitStack) -> list[str]:
    """Hold `count` free `devices` until `held` is closed or this process ends, for any reason."""
    waiting = False
    # One job may name a GPU by its number and another one by its UUID.
    uuids = {device: known[device].uuid if device in known else device for device in devices}
    places = [
        (device, f"{uuid}:{place}" if place else uuid)
        for place in range(_jobs_per_gpu())
        for device, uuid in uuids.items()
    ]
    while True:
        taken: list[str] = []
        with ExitStack() as stack:
            for device, place in places:
                if len(taken) < count and device not in taken and _hold(place, stack):
                    taken.append(device)
            if len(taken) == count:
                held.enter_context(stack.pop_all())
                return taken
        if not waiting:
            log.info("waiting for %d of %d GPUs that other jobs hold", count, len(devices))
            waiting = True
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _jobs_per_gpu() -> int:
    given = os.environ.get(SHARING, "1")
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"{SHARING} is {given!r}; set it to the number of jobs that may share a GPU, or unset it")
    return int(given)


def _hold(place: str, stack: ExitStack) -> bool:
    """Whether the place was free. It is held by a socket name, which Linux gives to only one process of a machine."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0wbcsr-gpu-{place}")
    except OSError as error:
        name.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    stack.enter_context(name)
    return True
