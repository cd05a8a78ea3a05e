"""The interface between a Snakemake script and the library: log, threads, errors, provenance."""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wbcsr import provenance
from wbcsr.claim import claiming
from wbcsr.devices import VISIBLE, using_gpus
from wbcsr.errors import user_message
from wbcsr.files import scratch_folder, write_json
from wbcsr.own_packages import require_own_packages
from wbcsr.slurm import gpus_requested

log = logging.getLogger("wbcsr")


class _LogFile(logging.FileHandler):
    """A log file that raises no second error if the disk is full; stderr has the same lines."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is None or user_message(error) is None:
            super().handleError(record)


class _Formatter(logging.Formatter):
    """Formatter of log lines; a warning begins with the word "warning"."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno == logging.WARNING:
            record.message = f"warning: {record.message}"
        return super().formatMessage(record)


def configure_logging(log_file: str | None) -> None:
    """Send the log to stderr and to the rule's log file, if it has one; only the file gets details (`log.debug`).

    Messages of other packages below the level of a warning are not logged.
    """
    screen = logging.StreamHandler(sys.stderr)
    screen.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [screen]
    if log_file:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(log_file, mode="a", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=handlers, force=True)
    log.setLevel(logging.DEBUG)
    logging.captureWarnings(True)


def keep_large_blocks() -> None:
    """Make the C library keep freed memory blocks instead of returning each to the system.

    On a CPU, a network allocates and frees hundreds of megabytes per layer. Without this, page faults took a sixth of
    the time (x4plus at 160×120 on two cores: 5.5 s without, 4.7 s with it). Does nothing if the C library is not glibc.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        mmap_max, trim_threshold = -4, -1  # names of the options in malloc.h
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


@contextmanager
def job(snakemake: Any) -> Iterator[dict[str, Any]]:
    """Run the body of a script; yields a dictionary for facts to record (chosen backend, images/s …).

    The job sees as many GPUs as its rule requests, and its log begins with machine and versions. It holds the claim to
    its outputs (`wbcsr.claim`). The hashes of its inputs are compared with those that the writing jobs recorded, so
    that no damaged file is used. An error that a user can correct (see `errors.user_message`) becomes one line and exit
    status 1; any other exception is logged with its traceback. If the body ends without an error, the rule's
    `provenance` output (if it declares one) is written: rule, wildcards, parameters, hashes of inputs and outputs,
    versions, machine, time, cost, and the facts that the body set.
    """
    # Numerical libraries read these variables once, at import. Waiting threads must not spin for long: with the
    # default, two jobs on shared cores took three times as long as one after the other. With 1000 iterations, neither
    # is slowed down.
    os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    keep_large_blocks()
    facts: dict[str, Any] = {}
    try:
        configure_logging(snakemake.log[0] if snakemake.log else None)
        require_own_packages()
        # Compiler caches per user on the node's own disk: home folders are often on a network file system, slow or
        # full.
        for variable, folder in (("TORCHINDUCTOR_CACHE_DIR", "inductor"), ("TRITON_CACHE_DIR", "triton")):
            os.environ.setdefault(variable, str(scratch_folder() / folder))
        jobs_per_gpu = snakemake.resources.get("jobs_per_gpu", 1)
        with claiming(snakemake.output[0]), using_gpus(gpus_requested(snakemake.resources), jobs_per_gpu) as gpus:
            # The clock starts here, because the time spent waiting for a GPU does not count as GPU time.
            started, clock = datetime.now(UTC), time.perf_counter()
            _log_where(snakemake, gpus)
            inputs = provenance.hashes([str(path) for path in snakemake.input])
            provenance.check_inputs(inputs)
            yield facts
            target = snakemake.output.get("provenance")
            if target:
                seconds = time.perf_counter() - clock
                record = {
                    "rule": snakemake.rule,
                    "wildcards": dict(snakemake.wildcards.items()),
                    "parameters": provenance.without_folders(dict(snakemake.params.items())),
                    "inputs_sha256": inputs,
                    "outputs_sha256": provenance.hashes([str(path) for path in snakemake.output if path != target]),
                    "versions": provenance.versions(),
                    "machine": provenance.machine(),
                    "threads": snakemake.threads,
                    "started": started.isoformat(timespec="seconds"),
                    "seconds": round(seconds, 2),
                    "cost": provenance.cost(seconds, facts.get("device"), len(gpus)),
                    **facts,
                }
                write_json(target, record)
    except Exception as error:
        if line := user_message(error):
            log.error("error: %s", line)
        else:
            log.exception("%s failed", snakemake.rule)
        sys.exit(1)


def _log_where(snakemake: Any, gpus: Mapping[str, str]) -> None:
    """Begin a job's log with the job, the node, its `gpus` (name and model) and the versions."""
    wildcards = ", ".join(f"{name} {value}" for name, value in snakemake.wildcards.items())
    scheduler = os.environ.get("SLURM_JOB_ID")
    where = f"node {socket.gethostname()}" + (f", SLURM job {scheduler}" if scheduler else "")
    log.info("%s%s on %s, %d threads", snakemake.rule, f" ({wildcards})" if wildcards else "", where, snakemake.threads)
    if gpus_requested(snakemake.resources):
        names = ", ".join(filter(None, gpus.values()))
        log.info("GPUs: %s=%s (%s)", VISIBLE, os.environ.get(VISIBLE, "not set"), names or "nvidia-smi names none")
    else:
        log.info("GPUs: none requested, none visible")
    log.debug("versions: %s", ", ".join(f"{name} {version}" for name, version in provenance.versions().items()))
