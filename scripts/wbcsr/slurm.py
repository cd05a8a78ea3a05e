"""What jobs request from SLURM, and options of Snakemake's SLURM executor that do not work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from wbcsr.errors import InputError


def gpus_requested(resources: Mapping[str, Any]) -> int:
    """The number of GPUs in a job's resources: `gpu: 2` or `gres: gpu:h100:2`."""
    return int(resources.get("gpu", 0)) or _in_gres(resources)[1]


def model_requested(given: Mapping[str, Any]) -> Any:
    """The GPU model in a rule's resources as a profile writes them, `gpu_model: h100` or `gres: gpu:h100:1`, or None.

    Raises InputError if the job would request the GPUs of `gres` in addition to those of the rule's key `gpu`.
    """
    model, count = _in_gres(given)
    if count and str(given.get("gpu")) != "0":
        raise InputError(
            f"profile: set-resources has gres: {given['gres']}, and SLURM would add the GPUs of the rule's own gpu; "
            "write gpu: 0 beside gres"
        )
    return given.get("gpu_model") or model


def refuse_arrays(executor_settings: Any) -> None:
    """Raise InputError if Snakemake would submit job arrays.

    In version 2.8.0 of its SLURM executor, a rule with more jobs than the option `--jobs` waits forever for the rest of
    its array, and the end of one array job can remove the good outputs of another.
    """
    if getattr(executor_settings, "array_jobs", None):
        raise InputError(
            "profile: slurm-array-jobs does not work with Snakemake's SLURM executor 2.8.0: it waits forever for jobs "
            "that it does not submit; remove it (the profile's groups already make few SLURM jobs of many)"
        )


def _in_gres(resources: Mapping[str, Any]) -> tuple[str | None, int]:
    """Model and number of the GPUs in `gres`: name, name:number, name:model or name:model:number."""
    gres = str(resources.get("gres", "")).strip("'\"")
    found = re.fullmatch(r"gpu(?::(?!\d+$)([^:]+))?(?::(\d+))?", gres)
    return (found[1], int(found[2] or 1)) if found else (None, 0)
