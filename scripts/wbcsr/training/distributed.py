"""Training on one or several GPUs of a machine; for several, torchrun starts this module once per GPU."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, get_error_handler
from torch.distributed.run import parse_args
from torch.distributed.run import run as torchrun

from wbcsr import python_path
from wbcsr.errors import InputError, user_message
from wbcsr.files import write_bytes
from wbcsr.isolated import end_with_parent
from wbcsr.job import configure_logging
from wbcsr.training.ranks import Ranks

log = logging.getLogger(__name__)

Summary = TypeVar("Summary")

# The command that torchrun runs in each process; its argument is the folder.
PROGRAM = ["-m", "wbcsr.training.distributed"]
# The files in this folder.
_TASK, _SUMMARY, _ERROR = "task.pickle", "summary.pickle", "error.txt"


class Job(Protocol):
    """What a training needs to be distributed: its section of the configuration, and its threads."""

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def threads(self) -> int: ...


def run(
    train: Callable[[Any, Ranks | None], Summary],
    job: Job,
    section: str = "train",
    log_file: str | None = None,
    device_type: str = "cuda",
) -> Summary:
    """Call `train(job, ranks)` on as many devices as the setting `gpus` says; for one device, in this process.

    For several devices, each process has its own device and its share of every batch; the first process also logs to
    `log_file`. All of them end when this process ends. `section` is the name of the job's section of the configuration,
    for messages. `train` is a function of a module, which the other processes import. `device_type` is cuda (NCCL) or
    cpu (gloo, for tests without GPUs). With gloo, batch norm uses only the images of its own process.

    Raises InputError as `train` does, and if there are fewer GPUs than `gpus` or the batch is too small to be shared;
    RuntimeError if a process fails for another reason, which is then in the log.
    """
    gpus = job.settings["gpus"]
    if gpus == 1:
        return train(job, None)
    available = torch.cuda.device_count()
    if device_type == "cuda" and available < gpus:
        raise InputError(
            f"configuration: {section}.gpus is {gpus}, but this job sees {available or 'no'} "
            f"GPU{'s' * (available != 1)}; set it to {max(1, available)} or request more GPUs"
        )
    if job.settings["batch_size"] < 2 * gpus:
        raise InputError(
            f"configuration: {section}.batch_size {job.settings['batch_size']} leaves fewer than two images to each of "
            f"{gpus} GPUs; raise it to at least {2 * gpus} or lower {section}.gpus"
        )
    with tempfile.TemporaryDirectory(prefix="wbcsr-training-") as name:
        folder = Path(name)
        write_bytes(folder / _TASK, pickle.dumps((train, job, log_file, device_type)))
        command = ["--standalone", f"--nproc-per-node={gpus}", f"--log-dir={folder}", *PROGRAM, str(folder)]
        log.info("starting %d processes, one for each %s", gpus, "GPU" if device_type == "cuda" else "part of a batch")
        try:
            with _launching(threads=max(1, job.threads // gpus)):
                torchrun(parse_args(command))
        except SignalException as stopped:
            sys.exit(128 + stopped.sigval)
        except ChildFailedError as failed:
            said = folder / _ERROR
            if said.exists():
                raise InputError(said.read_text(encoding="utf-8")) from None
            raise RuntimeError(_describe(failed)) from None
        summary: Summary = pickle.loads((folder / _SUMMARY).read_bytes())
    return summary


def main() -> None:
    """Run one of the processes that torchrun starts; the job is in the folder given on the command line."""
    end_with_parent()
    folder, rank, count = Path(sys.argv[1]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    train, job, log_file, device_type = pickle.loads((folder / _TASK).read_bytes())
    configure_logging(log_file if rank == 0 else None)
    if rank > 0:
        # Their log would repeat that of the first process.
        for name in (None, "wbcsr"):
            logging.getLogger(name).setLevel(logging.ERROR)
    try:
        if device_type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
            dist.init_process_group("nccl", device_id=device)
        else:
            device = torch.device("cpu")
            dist.init_process_group("gloo")
        summary = train(job, Ranks(device, rank, count))
        if rank == 0:
            write_bytes(folder / _SUMMARY, pickle.dumps(summary))
        dist.destroy_process_group()
    except Exception as error:
        if line := user_message(error):
            (folder / _ERROR).write_text(line, encoding="utf-8")
        else:
            # torchrun passes the traceback on to `run`; printed here, the tracebacks of several processes would mix.
            get_error_handler().record_exception(error)
        sys.exit(1)


@contextmanager
def _launching(threads: int) -> Iterator[None]:
    """Set the environment that torchrun needs in this process, and restore it afterwards."""
    changes = {
        "PYTHONPATH": python_path(),
        "OMP_NUM_THREADS": str(threads),
    }
    before = {key: os.environ.get(key) for key in changes}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    os.environ.update(changes)
    # torchrun logs a failure in many lines; `run` reports it instead.
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _describe(failed: ChildFailedError) -> str:
    """Return the messages of all failed processes as one text."""
    said = []
    for rank, failure in sorted(failed.failures.items()):
        message = failure.message
        text = message["extraInfo"]["py_callstack"] if isinstance(message, dict) else message
        said.append(f"process {rank} of the training failed (exit status {failure.exitcode}): {text.strip()}")
    return "\n".join(said)


if __name__ == "__main__":
    main()
